//! Training: the loop over a task stream.

pub mod optimizer;
pub mod pretrain;
pub mod schedule;
