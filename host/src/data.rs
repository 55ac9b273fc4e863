//! Samples: from records to batches.
