//! What Python 3.11 does to text, numbers and JSON, as far as CoIN's scripts use it: their figures depend on it to the last character.
//!
//! Rust's own functions follow a newer Unicode and other grammars. Every function here was compared with CPython 3.11.7 over all
//! code points or on random input; the tests hold checksums of its answers.

pub mod json;
pub mod number;
mod tables;
pub mod text;

pub use json::Json;
