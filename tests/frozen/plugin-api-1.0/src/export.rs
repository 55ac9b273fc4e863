//! `export_plugin!`: from an author's functions to the root module of the library.

use abi_stable::std_types::{ROption, RStr, RString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi::{API_VERSION, ApiResult, Context, DatasetBox, HostRef, RawMethod};
use crate::adapter::Adapter;
use crate::dataset::Dataset;
use crate::description::Need;
use crate::error::{Error, Result};
use crate::guard::{guard, install_hook};
use crate::reader::from_toml;
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

/// A [`Description`](crate::Description) as TOML. `defaults` gives its last table.
#[doc(hidden)]
pub fn describe(
    name: &str,
    version: &str,
    method: bool,
    needs: &[Need],
    datasets: &[&str],
    defaults: impl FnOnce() -> Result<String>,
) -> ApiResult<RString> {
    guard(|| {
        // Names hold no character that TOML writes in another way than Rust.
        let needs: Vec<&str> = needs.iter().map(|need| need.name()).collect();
        let about = format!(
            "name = {name:?}\nversion = {version:?}\napi = \"{API_VERSION}\"\nmethod = {method}\ndatasets = {datasets:?}\nneeds = {needs:?}\n"
        );
        Ok((about + &defaults()?).into())
    })
}

/// The table with the default configuration of a method.
#[doc(hidden)]
pub fn defaults<C: Config>(_build: fn(C, &Registry) -> Result<Method>) -> Result<String> {
    #[derive(Serialize)]
    struct Defaults<C> {
        defaults: C,
    }
    toml::to_string(&Defaults { defaults: C::default() }).map_err(|error| Error::config(error.to_string()))
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
    build: fn(C, &Registry) -> Result<Method>,
    config: RStr<'_>,
    context: Context,
) -> ApiResult<RawMethod> {
    guard(|| {
        let config: C = from_toml(config.as_str())?;
        let method = build(config, &Registry::new(context))?;
        if method.adapter.is_none() && method.strategy.is_none() {
            return Err(Error::new("the method has neither an adapter nor a strategy"));
        }
        Ok(RawMethod {
            adapter: method
                .adapter
                .map_or(ROption::RNone, |adapter| ROption::RSome(bridge::adapter(adapter))),
            strategy: method
                .strategy
                .map_or(ROption::RNone, |strategy| ROption::RSome(bridge::strategy(strategy))),
        })
    })
}

/// Stands in for [`build_method`], so that a plugin with datasets alone does not carry what methods need.
#[doc(hidden)]
pub fn no_method() -> ApiResult<RawMethod> {
    guard(|| Err(Error::config("this plugin has datasets, but no method")))
}

/// Stands in for [`open_dataset`], so that a plugin with a method alone does not carry what datasets need.
#[doc(hidden)]
pub fn no_dataset(name: RStr<'_>) -> ApiResult<DatasetBox> {
    guard(|| {
        Err(Error::config(format!(
            "no dataset `{name}` in this plugin\nhint: it has a method, but no dataset"
        )))
    })
}

/// Opens a dataset by its name in the plugin.
pub type OpenDataset = fn(root: &std::path::Path, config: &str) -> Result<Box<dyn Dataset>>;

/// Finds a dataset by name and opens it.
#[doc(hidden)]
pub fn open_dataset(
    datasets: &[(&str, OpenDataset)],
    name: RStr<'_>,
    root: RStr<'_>,
    config: RStr<'_>,
) -> ApiResult<DatasetBox> {
    guard(|| {
        let Some((_, open)) = datasets.iter().find(|(known, _)| *known == name.as_str()) else {
            let known: Vec<&str> = datasets.iter().map(|(known, _)| *known).collect();
            return Err(Error::config(format!(
                "no dataset `{name}` in this plugin\nhint: it has {}",
                known.join(", ")
            )));
        };
        open(std::path::Path::new(root.as_str()), config.as_str()).map(bridge::dataset)
    })
}

/// The configuration of a method that has no keys.
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
///     datasets: { "scienceqa" => scienceqa::open }, // `OpenDataset`, or a closure like it
/// }
/// ```
#[macro_export]
macro_rules! export_plugin {
    (name: $name:literal, method: $build:path, needs: [$($need:ident),* $(,)?] $(,)?) => {
        $crate::export_plugin! {
            @export $name, true, [$($crate::Need::$need),*], [], || $crate::defaults($build),
            |config, context| $crate::build_method($build, config, context),
            |name, _root, _config| $crate::no_dataset(name)
        }
    };
    (name: $name:literal, datasets: { $($dataset:literal => $open:expr),+ $(,)? } $(,)?) => {
        $crate::export_plugin! {
            @export $name, false, [], [$($dataset),+], || Ok(String::from("[defaults]\n")),
            |_config, _context| $crate::no_method(),
            |name, root, config| {
                let datasets: &[(&str, $crate::OpenDataset)] = &[$(($dataset, $open)),*];
                $crate::open_dataset(datasets, name, root, config)
            }
        }
    };
    (
        @export $name:literal, $method:literal, [$($need:expr),*], [$($dataset:literal),*], $defaults:expr,
        |$config:pat_param, $context:pat_param| $build_method:expr,
        |$dataset_name:pat_param, $root:pat_param, $dataset_config:pat_param| $open_dataset:expr
    ) => {
        // A plugin that aborts on panic cannot be guarded.
        #[cfg(panic = "abort")]
        compile_error!("a coin-host plugin must be built with panic = \"unwind\"");

        const _: () = {
            use $crate::abi_stable;
            use abi_stable::prefix_type::PrefixTypeTrait as _;
            use abi_stable::std_types::{RStr, RString};

            extern "C" fn describe() -> $crate::abi::ApiResult<RString> {
                $crate::describe($name, env!("CARGO_PKG_VERSION"), $method, &[$($need),*], &[$($dataset),*], $defaults)
            }

            extern "C" fn attach(host: $crate::abi::HostRef) -> $crate::abi::ApiResult<()> {
                $crate::attach(host)
            }

            extern "C" fn build_method($config: RStr<'_>, $context: $crate::abi::Context) -> $crate::abi::ApiResult<$crate::abi::RawMethod> {
                $build_method
            }

            extern "C" fn open_dataset(
                $dataset_name: RStr<'_>,
                $root: RStr<'_>,
                $dataset_config: RStr<'_>,
            ) -> $crate::abi::ApiResult<$crate::abi::DatasetBox> {
                $open_dataset
            }

            fn root_module() -> $crate::abi::PluginRef {
                $crate::abi::Plugin { api_version: $crate::abi::API_VERSION, describe, attach, build_method, open_dataset }.leak_into_prefix()
            }

            $crate::export_header! { root_module }
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Description;

    #[derive(Default, serde::Serialize, serde::Deserialize)]
    struct Settings {
        r: i64,
        text: String,
        inner: std::collections::BTreeMap<String, f64>,
    }

    fn build(_settings: Settings, _registry: &Registry) -> Result<Method> {
        Err(Error::new("never built"))
    }

    #[test]
    fn a_description_is_what_was_exported() {
        let read = |text: ApiResult<RString>| {
            let text = text.into_result().expect("described");
            toml::from_str::<Description>(text.as_str()).unwrap_or_else(|error| panic!("{error}\n{text}"))
        };
        let method =
            read(describe("a-b", "1.2.0", true, &[Need::Replay, Need::CallOp], &[], || defaults(build)));
        assert_eq!((method.name.as_str(), method.version.as_str(), method.method), ("a-b", "1.2.0", true));
        assert_eq!((method.needs, method.api), (vec![Need::Replay, Need::CallOp], API_VERSION.to_string()));
        assert_eq!(method.defaults["r"].as_integer(), Some(0));
        let dataset =
            read(describe("c", "0.1.0", false, &[], &["x", "y-z"], || Ok(String::from("[defaults]\n"))));
        assert_eq!(dataset.datasets, ["x", "y-z"]);
        assert!(dataset.defaults.is_empty() && dataset.needs.is_empty());
    }
}
