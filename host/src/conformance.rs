//! Whether a plugin keeps its part of the bargain: `coin-host plugin check`.
//!
//! A suite of small checks over the engine that trains and answers for real, on a tiny backbone with random weights and questions made
//! here. [`check`] names them, [`run`] has them done by a process of its own, [`child`], so that a plugin that crashes, hangs or fills
//! the memory is reported like any other fault. Each other module holds the checks of one subject.

mod answers;
pub mod check;
pub mod child;
mod configuration;
mod dataset;
mod failure;
mod memory;
mod precision;
mod process;
mod resume;
pub mod run;
mod seed;
mod stacking;
pub mod subject;
mod testbed;
mod training;
mod trial;

pub use check::{Check, Outcome, Verdict};
pub use run::{Limits, Report, run};
pub use subject::Subject;
