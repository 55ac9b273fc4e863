//! The root module of a plugin and what the host hands to it.

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{ROption, RStr, RString};

use super::core::CoreOpsRef;
use super::data::ApiVersion;
use super::error::ApiResult;
use super::handle::Context;
use super::objects::{AdapterBox, DatasetBox, StrategyBox};
use super::ops::{
    CompareOpsRef, CreateOpsRef, IndexOpsRef, LinearOpsRef, MathOpsRef, NnOpsRef, ReduceOpsRef, ShapeOpsRef,
};
use super::services::{
    DraftServicesRef, LogServicesRef, RandomServicesRef, RegistryServicesRef, ReplayServicesRef,
    StageServicesRef, StepServicesRef,
};

/// Everything the host offers to a plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostRef, prefix_fields = HostPrefix)))]
pub struct Host {
    /// The version of the border that the host speaks.
    pub api_version: ApiVersion,
    /// Handles and values.
    pub core: CoreOpsRef,
    /// Element-wise arithmetic.
    pub math: MathOpsRef,
    /// Comparison.
    pub compare: CompareOpsRef,
    /// Products and decompositions.
    pub linear: LinearOpsRef,
    /// Reductions.
    pub reduce: ReduceOpsRef,
    /// Shapes and copies.
    pub shape: ShapeOpsRef,
    /// Indexing and order.
    pub index: IndexOpsRef,
    /// Layers and losses.
    pub nn: NnOpsRef,
    /// New tensors.
    pub create: CreateOpsRef,
    /// Model and tensors of the cell.
    pub registry: RegistryServicesRef,
    /// The stage.
    pub stage: StageServicesRef,
    /// The forward pass.
    pub step: StepServicesRef,
    /// The replay buffer.
    pub replay: ReplayServicesRef,
    /// Random draws.
    pub random: RandomServicesRef,
    /// Messages.
    pub log: LogServicesRef,
    /// Services without promise.
    #[sabi(last_prefix_field)]
    pub draft: DraftServicesRef,
}

/// What a method plugin built for one cell.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawMethod {
    /// Changes the model.
    pub adapter: ROption<AdapterBox>,
    /// Takes part in training.
    pub strategy: ROption<StrategyBox>,
}

/// The root module that a plugin exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef, prefix_fields = PluginPrefix)))]
#[sabi(missing_field(panic))]
pub struct Plugin {
    /// The version of the border it was built with.
    pub api_version: ApiVersion,
    /// Name, version, kinds, needs and default configuration, as TOML (see [`Description`](crate::Description)).
    pub describe: extern "C" fn() -> ApiResult<RString>,
    /// Receives the host. Called once before anything else but `describe`; calling again changes nothing.
    pub attach: extern "C" fn(HostRef) -> ApiResult<()>,
    /// Builds a method for a cell from its configuration (TOML).
    pub build_method: extern "C" fn(RStr<'_>, Context) -> ApiResult<RawMethod>,
    /// Opens a dataset: its name in the plugin, root folder, configuration (TOML).
    #[sabi(last_prefix_field)]
    pub open_dataset: extern "C" fn(RStr<'_>, RStr<'_>, RStr<'_>) -> ApiResult<DatasetBox>,
}

impl RootModule for PluginRef {
    abi_stable::declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "coin_plugin";
    const NAME: &'static str = "coin_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
