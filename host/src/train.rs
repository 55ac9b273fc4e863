//! Training: the loop over a task stream.
