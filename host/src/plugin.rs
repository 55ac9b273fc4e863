//! Plugins: found, verified, loaded, wrapped.
