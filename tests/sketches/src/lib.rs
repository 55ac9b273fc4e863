//! Holds no code: the plugins are the examples of this package.
