//! One call of a plugin: leaves a trace, gives the services to the hook, names the plugin on the error, checks what was left behind.

use std::sync::Arc;

use coin_plugin_api::abi::{ApiError, ApiResult, Context, ErrorCode};

use super::breadcrumb::{Breadcrumb, Trace};
use super::error::{PluginError, label};
use super::hook::Hook;
use crate::model::Site;
use crate::ops::{self, Services};

/// Who is called.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    name: Arc<str>,
    version: Arc<str>,
    /// Its number in the breadcrumb.
    number: u16,
}

impl Caller {
    pub(super) fn new(name: &str, version: &str) -> Caller {
        let number = Breadcrumb::installed().map_or(0, |crumb| crumb.plugin(&format!("{name} {version}")));
        Caller { name: name.into(), version: version.into(), number }
    }

    /// Calls a hook with services.
    pub(super) fn call<T>(
        &self,
        hook: Hook,
        site: Option<&Site>,
        services: &dyn Services,
        body: impl FnOnce(Context) -> ApiResult<T>,
    ) -> Result<T, PluginError> {
        self.watch(hook, site, || ops::enter(services, body))
    }

    /// Calls a hook that has no services.
    pub(super) fn watch<T>(
        &self,
        hook: Hook,
        site: Option<&Site>,
        body: impl FnOnce() -> ApiResult<T>,
    ) -> Result<T, PluginError> {
        let _trace = self.trace(hook, site);
        let before = gradients();
        let result = body();
        // Also after an error: the next hook must not inherit it.
        let left = ops::set_grad_enabled(before);
        let value = result.into_result().map_err(|error| self.error(hook, site, error))?;
        if left != before {
            let state = if left { "on" } else { "off" };
            return Err(self.failed(hook, site, format!("it left gradients switched {state}")));
        }
        Ok(value)
    }

    fn trace(&self, hook: Hook, site: Option<&Site>) -> Option<Trace> {
        Breadcrumb::installed().map(|crumb| crumb.set(self.number, hook, site.map(|site| site.index)))
    }

    fn error(&self, hook: Hook, site: Option<&Site>, error: ApiError) -> PluginError {
        let reason = error.message.into_string();
        match (hook, error.code) {
            (Hook::Build | Hook::OpenDataset, ErrorCode::CONFIG) => {
                PluginError::Config { plugin: label(&self.name, Some(&self.version)), reason }
            }
            _ => self.failed(hook, site, reason),
        }
    }

    /// An error of a hook, with plugin, version, hook and site.
    pub(super) fn failed(&self, hook: Hook, site: Option<&Site>, reason: impl Into<String>) -> PluginError {
        let hook = match site {
            Some(site) => format!("{} at {}", hook.name(), site.path),
            None => hook.name().to_string(),
        };
        PluginError::Failed { plugin: format!("{} {}", self.name, self.version), hook, reason: reason.into() }
    }
}

fn gradients() -> bool {
    let enabled = ops::set_grad_enabled(true);
    if !enabled {
        ops::set_grad_enabled(false);
    }
    enabled
}
