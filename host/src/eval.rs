//! Evaluation: answering, scoring, the accuracy matrix and what is computed from it.

pub mod answering;
pub mod blind;
pub mod file;
pub mod logits;
pub mod matrix;
pub mod measure;
pub mod metrics;
pub mod python;
pub mod questions;
pub mod scorer;
