//! The frozen border between host and plugin: handles, plain data, groups of functions, object types and the root module.
//!
//! Authors of plugins do not use this module; everything they need is at the top of the crate. Two conventions hold for every
//! function here: **arguments are borrowed, results are owned** by whoever receives them; and nothing unwinds across the border
//! (both sides catch panics and return [`ApiError`]).
//!
//! A group is a prefix type: fields are only ever added at its end (at most 64 in all), so that older and newer plugins and hosts
//! understand each other. `docs/abi-policy.md` has the rules.

#![allow(non_local_definitions, reason = "abi_stable 0.11's sabi_trait expands to such impls")]

#[macro_use]
mod op_table;
mod core;
mod data;
mod error;
mod handle;
mod objects;
mod ops;
mod plugin;
#[cfg(feature = "testing")]
pub(crate) mod recording;
mod services;

pub mod load;

pub use self::core::{CoreOps, CoreOpsRef};
pub use data::*;
pub use error::{ApiError, ApiResult, ErrorCode};
pub use handle::{
    Bytes, Context, DType, Floats, Ints, RawTensor, RawTensorList, RawTensorPair, RawTensorTriple,
    RawTensors, Text,
};
pub use objects::{
    AdapterBox, DatasetBox, RawAdapter, RawAdapter_TO, RawDataset, RawDataset_TO, RawStrategy,
    RawStrategy_TO, StrategyBox,
};
pub use ops::*;
pub use plugin::{Host, HostRef, Plugin, PluginRef, RawMethod};
pub use services::*;

/// The version of the border as `(major, minor)`. Hosts load plugins of the same major version, older and newer minor ones alike.
pub const API_VERSION: ApiVersion =
    ApiVersion { major: 1, minor: if cfg!(feature = "growth") { 1 } else { 0 } };
