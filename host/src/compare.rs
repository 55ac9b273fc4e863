//! The grid: methods x orders x seeds, run in worker processes, gathered into one result.

pub mod adapter;
pub mod agreement;
pub mod arguments;
pub mod cell_run;
pub mod check;
mod clock;
pub mod content;
pub mod environment;
pub mod estimate;
pub mod event;
pub mod gather;
pub mod handover;
mod kept_stage;
pub mod manifest;
pub mod memory;
pub mod merged;
pub mod message;
mod metrics_file;
pub mod outlook;
pub mod plan;
pub mod process;
pub mod product;
pub mod progress;
pub mod protocol;
mod recipe;
pub mod run;
pub mod sums;
mod test_records;
pub mod work_units;
pub mod worker;
pub mod world;

pub use check::{Refused, check};
pub use run::run;
