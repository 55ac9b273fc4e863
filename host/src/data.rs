//! Samples: from records to batches.

pub mod image;
