//! The host side of the plugin border: handles and tensors, the entry points of every operation and service, and the table of them
//! that a plugin is attached with.

mod call_op;
mod compare;
mod context;
mod core_entry;
mod create;
mod dtype;
mod entry;
pub mod failing;
mod handle;
mod index;
mod linear;
mod log;
mod math;
mod nn;
mod random;
mod reduce;
mod schema;
mod service_entry;
pub mod services;
mod shape;
mod table;

pub use context::{enter, with};
pub use create::{compute_device, set_compute_device};
pub use handle::{HandleCount, lend, live_handles, set_grad_enabled, take, take_optional};
pub use log::set_log_sink;
pub(crate) use log::set_log_speaker;
pub use reduce::all_finite;
pub use services::{Services, Unavailable};
pub use table::host;

#[cfg(test)]
pub(crate) mod tests;
