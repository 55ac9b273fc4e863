//! Training: the loop over a task stream.
//!
//! [`stage`] reads like the algorithm; [`cell`] is the state it works on, [`forward`] runs the model with the method in place (`tape` where
//! layers are computed twice), and the two service modules answer what plugins ask.

mod adapter_services;
pub mod build;
pub mod cell;
pub mod checkpoint;
mod client;
mod describe;
pub mod forward;
mod kept_batches;
pub mod optimizer;
pub mod parameters;
pub mod peft;
pub mod plan;
pub mod pretrain;
pub mod replay;
pub mod schedule;
pub mod stage;
pub mod strategy_services;
mod tape;
