//! Everything an author of a coin-host plugin sees.
//!
//! A plugin is one shared library. It does not link libtorch: a [`Tensor`] is a handle to what the host owns and each operation is a
//! call to the host, so autograd, device and dtype are the host's, and one binary works with any build of it.
//!
//! A method is an [`Adapter`], which changes what linears of the model compute, or a [`Strategy`], which takes part in training, or
//! both. This is a whole plugin, LoRA (Hu et al. 2021, arXiv 2106.09685):
//!
//! ```
//! use coin_plugin_api::{Adapter, Method, Registry, Result, Step, Tensor, export_plugin, nn};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Config {
//!     r: i64,
//!     lora_alpha: f64,
//!     target_modules: Vec<String>,
//! }
//!
//! impl Default for Config {
//!     fn default() -> Self {
//!         Config { r: 8, lora_alpha: 16.0, target_modules: vec!["all-linear".into()] }
//!     }
//! }
//!
//! struct Lora {
//!     scaling: f64,
//! }
//!
//! impl Adapter for Lora {
//!     fn adapt(&self, _site: usize, input: &Tensor, output: &Tensor, parameters: &[Tensor], _step: &Step) -> Result<Tensor> {
//!         output.add(&nn::low_rank(input, &parameters[0], &parameters[1], self.scaling)?)
//!     }
//! }
//!
//! fn build(config: Config, registry: &Registry) -> Result<Method> {
//!     for site in registry.target_sites(&config.target_modules)? {
//!         nn::register_low_rank(registry, &site, config.r)?;
//!     }
//!     Ok(Method::adapter(Lora { scaling: config.lora_alpha / config.r as f64 }))
//! }
//!
//! export_plugin! { name: "lora", method: build, needs: [] }
//! # fn main() {}
//! ```
//!
//! A dataset is a [`Dataset`]: it reads records from a lab's own files.
//!
//! Modules: [`nn`] has building blocks that methods share; [`state`] turns a strategy's state into bytes;
//! [`testing`] is a host for unit tests; [`abi`] is the frozen border beneath, which authors do not use.

#![deny(missing_docs)]

pub mod abi;
mod adapter;
mod bridge;
mod dataset;
mod description;
mod error;
mod export;
mod guard;
pub mod nn;
mod reader;
mod registry;
mod services;
pub mod state;
mod step;
mod strategy;
mod tensor;
#[cfg(feature = "testing")]
pub mod testing;

#[doc(hidden)]
pub use abi_stable;

pub use abi::{API_VERSION, ApiVersion, DType, ErrorCode, Operation, operations};
pub use adapter::{Adapter, Prefix, PrefixPlace};
pub use dataset::{Dataset, DatasetDescription, Record, Split, TURN};
pub use description::{Description, Need};
pub use error::{Error, Result};
pub use export::{Config, Method, OpenDataset};
#[doc(hidden)]
pub use export::{NoConfig, attach, build_method, defaults, describe, no_dataset, no_method, open_dataset};
pub use reader::from_toml;
pub use registry::{Init, Model, ParameterId, Part, Registration, Registry, Site};
pub use services::{Batch, Level, ParameterInfo, Parameters, ReplayBuffer, SampleRef, Slot, Stage, log};
pub use step::{PassPhase, Row, Step};
pub use strategy::{Phase, Strategy, Term};
pub use tensor::{Argument, NoGrad, Tensor, call_op};
