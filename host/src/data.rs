//! Samples: from records to batches.

pub mod collate;
pub mod image;
pub mod prompt;
pub mod source;
pub mod task;
