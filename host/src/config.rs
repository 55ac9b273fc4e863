//! The run configuration. A file is read into a tree whose every value knows where it comes from, options of the command
//! line are written over it, each key is held against the table in [`schema`], and the result is resolved in one step
//! ([`RawConfig`](raw::RawConfig) to [`RunConfig`]): from there on no default is left to be filled in.

mod check;
pub mod difference;
pub mod error;
pub mod explain;
mod flat;
pub mod instruction;
pub mod judge;
pub mod listing;
mod load;
pub(crate) mod nearest;
pub mod orders;
pub mod origin;
mod overrides;
pub mod plugin_key;
pub mod raw;
mod resolve;
pub mod resolved;
pub mod schema;
mod stack;
mod tree;

pub use error::ConfigError;
pub use instruction::Instruction;
pub use judge::Judge;
pub use load::{Loaded, QUICKSTART, Request, load};
pub use origin::{Origin, Origins};
pub(crate) use resolved::FLOAT16;
pub use resolved::{
    Backbone, Device, Dtype, Evaluation, Location, Method, Order, Plugins, Protocol, Reference,
    ReferenceKind, RunConfig, Scheduler, Shape, StackEntry, Task, Training, Trust,
};

#[cfg(test)]
mod tests;
