//! The table that plugins are attached with: an entry point for each row of the operation table, and the groups of services.

use std::sync::OnceLock;

use abi_stable::prefix_type::PrefixTypeTrait as _;
use coin_plugin_api::abi::{self, ApiResult, HostRef};
#[allow(clippy::wildcard_imports, reason = "the operation table names its types without a path")]
use coin_plugin_api::abi::{
    DType, Ints, RawTensor, RawTensorList, RawTensorPair, RawTensorTriple, RawTensors,
};

use super::entry::{Describe, Incoming, describe, operation};
use super::{core_entry, service_entry};

/// Everything this host offers to plugins. Built once.
pub fn host() -> HostRef {
    static HOST: OnceLock<HostRef> = OnceLock::new();
    *HOST.get_or_init(|| {
        abi::Host {
            api_version: abi::API_VERSION,
            core: core_entry::core(),
            math: math(),
            compare: compare(),
            linear: linear(),
            reduce: reduce(),
            shape: shape(),
            index: index(),
            nn: nn(),
            create: create(),
            registry: service_entry::registry(),
            stage: service_entry::stage(),
            step: service_entry::step(),
            replay: service_entry::replay(),
            random: service_entry::random(),
            log: service_entry::log(),
            draft: service_entry::draft(),
        }
        .leak_into_prefix()
    })
}

/// Hands an opened argument to the function of an operation.
macro_rules! pass {
    (RawTensor, $value:ident) => {
        &$value
    };
    (RawTensors, $value:ident) => {
        &$value
    };
    ($Other:ident, $value:ident) => {
        $value
    };
}

/// Makes the entry points of a group, each of which calls the function of that name in the module of the group.
macro_rules! define_host_group {
    (
        group $Group:ident, $Ref:ident, $Prefix:ident, $name:ident;
        $( $(#[doc = $doc:literal])+ fn $op:ident ( $($argument:ident : $Type:ident),* ) -> $Return:ident; )*
        last
        $(#[doc = $last_doc:literal])+ fn $last_op:ident ( $($last_argument:ident : $LastType:ident),* ) -> $LastReturn:ident;
        $( later $(#[doc = $later_doc:literal])+ fn $later_op:ident ( $($later_argument:ident : $LaterType:ident),* ) -> $LaterReturn:ident; )*
    ) => {
        fn $name() -> abi::$Ref {
            $( entry_point!($name, $op($($argument: $Type),*) -> $Return); )*
            entry_point!($name, $last_op($($last_argument: $LastType),*) -> $LastReturn);
            $( entry_point!($name, $later_op($($later_argument: $LaterType),*) -> $LaterReturn); )*
            abi::$Group { $($op,)* $last_op, $($later_op,)* }.leak_into_prefix()
        }
    };
}

macro_rules! entry_point {
    ($group:ident, $op:ident ( $($argument:ident : $Type:ident),* ) -> $Return:ident) => {
        extern "C" fn $op($($argument: $Type),*) -> ApiResult<$Return> {
            operation(
                stringify!($op),
                || describe(&[$((stringify!($argument), &$argument as &dyn Describe)),*]),
                || {
                    $( let $argument = $argument.open()?; )*
                    Ok(super::$group::$op($(pass!($Type, $argument)),*)?)
                },
            )
        }
    };
}

coin_plugin_api::math_ops!(define_host_group);
coin_plugin_api::compare_ops!(define_host_group);
coin_plugin_api::linear_ops!(define_host_group);
coin_plugin_api::reduce_ops!(define_host_group);
coin_plugin_api::shape_ops!(define_host_group);
coin_plugin_api::index_ops!(define_host_group);
coin_plugin_api::nn_ops!(define_host_group);
coin_plugin_api::create_ops!(define_host_group);
