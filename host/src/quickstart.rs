//! The embedded quickstart: eight stand-in tasks in CoIN's layout, composed from vendored pictures, and the caption
//! stream from which the tiny backbone is pre-trained. Scores on them are never ScienceQA, GQA, .. scores.
//!
//! Everything is a pure function of the vendored files and of the generator's version: no clock, no thread count, no path.

pub mod canvas;
pub mod captions;
pub mod catalogue;
pub mod layout;
pub mod scene;
pub mod tasks;
pub mod vocabulary;

pub use layout::{content_hash, generate};

#[cfg(test)]
mod tests;
