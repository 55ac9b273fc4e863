//! `export_plugin!`: from an author's functions to the root module of the library.

use abi_stable::std_types::{ROption, RStr, RString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi::{API_VERSION, ApiResult, Context, DatasetBox, HostRef, RawMethod};
use crate::adapter::Adapter;
use crate::dataset::Dataset;
use crate::description::{Description, Need};
use crate::error::{Error, Result};
use crate::guard::{guard, install_hook};
use crate::registry::Registry;
use crate::strategy::Strategy;
use crate::{bridge, tensor};

/// The configuration of a method: its keys as they stand in a stack entry of a run, with defaults. Derive serde's traits with
/// `#[serde(default, deny_unknown_fields)]`.
pub trait Config: Serialize + DeserializeOwned + Default {}

impl<C: Serialize + DeserializeOwned + Default> Config for C {}

/// What a method consists of, for one cell.
#[derive(Default)]
pub struct Method {
    pub(crate) adapter: Option<Box<dyn Adapter>>,
    pub(crate) strategy: Option<Box<dyn Strategy>>,
}

impl Method {
    /// A method that changes the model.
    pub fn adapter(adapter: impl Adapter) -> Method {
        Method { adapter: Some(Box::new(adapter)), strategy: None }
    }

    /// A method that takes part in training.
    pub fn strategy(strategy: impl Strategy) -> Method {
        Method { adapter: None, strategy: Some(Box::new(strategy)) }
    }

    /// A method that does both.
    pub fn both(adapter: impl Adapter, strategy: impl Strategy) -> Method {
        Method { adapter: Some(Box::new(adapter)), strategy: Some(Box::new(strategy)) }
    }
}

/// What `export_plugin!` gathers about a plugin with a method.
#[doc(hidden)]
pub fn describe<C: Config>(
    name: &str,
    version: &str,
    method: Option<fn(C, &Registry) -> Result<Method>>,
    needs: &[Need],
    datasets: &[&str],
) -> ApiResult<RString> {
    guard(|| {
        let defaults = match method {
            Some(_) => toml::Table::try_from(C::default()).map_err(|error| Error::config(error.to_string()))?,
            None => toml::Table::new(),
        };
        let description = Description {
            name: name.to_string(),
            version: version.to_string(),
            api: API_VERSION.to_string(),
            method: method.is_some(),
            datasets: datasets.iter().map(|name| (*name).to_string()).collect(),
            needs: needs.to_vec(),
            defaults,
        };
        toml::to_string(&description).map(RString::from).map_err(|error| Error::config(error.to_string()))
    })
}

/// Receives the host.
#[doc(hidden)]
pub fn attach(host: HostRef) -> ApiResult<()> {
    install_hook();
    guard(|| {
        tensor::attach(host);
        Ok(())
    })
}

/// Parses a configuration and builds the method.
#[doc(hidden)]
pub fn build_method<C: Config>(
    build: Option<fn(C, &Registry) -> Result<Method>>,
    config: RStr<'_>,
    context: Context,
) -> ApiResult<RawMethod> {
    guard(|| {
        let Some(build) = build else { return Err(Error::config("this plugin has datasets, but no method")) };
        let config: C = toml::from_str(config.as_str())?;
        let method = build(config, &Registry::new(context))?;
        if method.adapter.is_none() && method.strategy.is_none() {
            return Err(Error::new("the method has neither an adapter nor a strategy"));
        }
        Ok(RawMethod {
            adapter: method.adapter.map_or(ROption::RNone, |adapter| ROption::RSome(bridge::adapter(adapter))),
            strategy: method.strategy.map_or(ROption::RNone, |strategy| ROption::RSome(bridge::strategy(strategy))),
        })
    })
}

/// Opens a dataset by its name in the plugin.
pub type OpenDataset = fn(root: &std::path::Path, config: &str) -> Result<Box<dyn Dataset>>;

/// Finds a dataset by name and opens it.
#[doc(hidden)]
pub fn open_dataset(datasets: &[(&str, OpenDataset)], name: RStr<'_>, root: RStr<'_>, config: RStr<'_>) -> ApiResult<DatasetBox> {
    guard(|| {
        let Some((_, open)) = datasets.iter().find(|(known, _)| *known == name.as_str()) else {
            let known: Vec<&str> = datasets.iter().map(|(known, _)| *known).collect();
            return Err(Error::config(format!(
                "no dataset `{name}` in this plugin\nhint: it has {}",
                if known.is_empty() { String::from("none") } else { known.join(", ") }
            )));
        };
        open(std::path::Path::new(root.as_str()), config.as_str()).map(bridge::dataset)
    })
}

/// The configuration type of plugins without a method.
#[doc(hidden)]
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub struct NoConfig {}

/// Exports the root module of a plugin. Once per library, at the top of `lib.rs`.
///
/// ```ignore
/// export_plugin! {
///     name: "lora",
///     method: build,                              // fn(Config, &Registry) -> Result<Method>
///     needs: [],                                  // of `Need`
/// }
/// export_plugin! {
///     name: "coin-datasets",
///     datasets: { "scienceqa" => scienceqa::open }, // fn(&Path, &str) -> Result<Box<dyn Dataset>>
/// }
/// ```
#[macro_export]
macro_rules! export_plugin {
    (name: $name:literal, method: $build:path, needs: [$($need:ident),* $(,)?] $(,)?) => {
        $crate::export_plugin!(@export $name, Some($build), [$($crate::Need::$need),*], []);
    };
    (name: $name:literal, datasets: { $($dataset:literal => $open:path),+ $(,)? } $(,)?) => {
        $crate::export_plugin!(@export $name, None::<fn($crate::NoConfig, &$crate::Registry) -> $crate::Result<$crate::Method>>, [], [$(($dataset, $open)),+]);
    };
    (@export $name:literal, $build:expr, [$($need:expr),*], [$(($dataset:literal, $open:path)),*]) => {
        // A plugin that aborts on panic cannot be guarded.
        #[cfg(panic = "abort")]
        compile_error!("a coin-host plugin must be built with panic = \"unwind\"");

        const _: () = {
            use $crate::abi_stable;
            use abi_stable::prefix_type::PrefixTypeTrait as _;
            use abi_stable::std_types::{RStr, RString};

            extern "C" fn describe() -> $crate::abi::ApiResult<RString> {
                $crate::describe($name, env!("CARGO_PKG_VERSION"), $build, &[$($need),*], &[$($dataset),*])
            }

            extern "C" fn attach(host: $crate::abi::HostRef) -> $crate::abi::ApiResult<()> {
                $crate::attach(host)
            }

            extern "C" fn build_method(config: RStr<'_>, context: $crate::abi::Context) -> $crate::abi::ApiResult<$crate::abi::RawMethod> {
                $crate::build_method($build, config, context)
            }

            extern "C" fn open_dataset(
                name: RStr<'_>,
                root: RStr<'_>,
                config: RStr<'_>,
            ) -> $crate::abi::ApiResult<$crate::abi::DatasetBox> {
                let datasets: &[(&str, $crate::OpenDataset)] = &[$(($dataset, $open)),*];
                $crate::open_dataset(datasets, name, root, config)
            }

            fn root_module() -> $crate::abi::PluginRef {
                $crate::abi::Plugin { api_version: $crate::abi::API_VERSION, describe, attach, build_method, open_dataset }.leak_into_prefix()
            }

            extern "C" fn load_root_module() -> abi_stable::library::RootModuleResult {
                abi_stable::library::__call_root_module_loader(root_module)
            }

            // The name that abi_stable's loader looks up.
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals, reason = "abi_stable fixes the name")]
            pub static _1as_0lib_1header_0root_bmodule_bloader: abi_stable::library::LibHeader =
                $crate::abi::load::header(load_root_module);
        };
    };
}
