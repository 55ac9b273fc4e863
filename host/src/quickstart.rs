//! The embedded quickstart: stand-in tasks made from vendored pictures.
