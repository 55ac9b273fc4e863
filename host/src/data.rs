//! Samples: from records to batches.

pub mod bad_input;
pub mod collate;
pub mod conversation;
pub mod feature_cache;
pub mod header;
pub mod image;
pub mod instruction;
mod jpeg;
pub mod lengths;
pub mod manifest;
pub mod pictures;
pub mod preprocessor;
pub mod preview;
pub mod prompt;
pub mod release;
pub mod resize;
pub mod source;
pub mod task;
pub mod verify;
