//! Samples: from records to batches.

pub mod bad_input;
pub mod collate;
pub mod conversation;
pub mod image;
pub mod preprocessor;
pub mod prompt;
pub mod resize;
pub mod source;
pub mod task;
