//! One call of a plugin: leaves a trace, gives the services to the hook, names the plugin on the error, checks what was left behind.

use std::fmt;
use std::sync::Arc;

use coin_plugin_api::abi::{ApiError, ApiResult, Context, ErrorCode};

use super::breadcrumb::{Breadcrumb, Trace};
use super::error::{PluginError, label};
use super::given::Given;
use super::hook::Hook;
use crate::model::Site;
use crate::ops::{self, HandleCount, Services};

/// Who is called.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    name: Arc<str>,
    version: Arc<str>,
    /// Its number in the breadcrumb.
    number: u16,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Caller {
    pub(super) fn new(name: &str, version: &str) -> Caller {
        let number = Breadcrumb::installed().map_or(0, |crumb| crumb.plugin(&format!("{name} {version}")));
        Caller { name: name.into(), version: version.into(), number }
    }

    /// Calls a hook with services. It may give handles away, and keep none.
    pub(super) fn call<T: Given>(
        &self,
        hook: Hook,
        site: Option<&Site>,
        services: &dyn Services,
        body: impl FnOnce(Context) -> ApiResult<T>,
    ) -> Result<T, PluginError> {
        let _trace = self.trace(hook, site);
        let handles = HandleCount::now();
        // Measured inside: leaving the hook puts the gradient mode back.
        let value = self.outcome(hook, site, ops::enter(services, |context| measured(|| body(context))))?;
        self.nothing_kept(hook, site, handles, value)
    }

    /// Calls a hook that has no services. It may give handles away, and keep none.
    pub(super) fn ask<T: Given>(
        &self,
        hook: Hook,
        site: Option<&Site>,
        body: impl FnOnce() -> ApiResult<T>,
    ) -> Result<T, PluginError> {
        let handles = HandleCount::now();
        let value = self.watch(hook, site, body)?;
        self.nothing_kept(hook, site, handles, value)
    }

    fn nothing_kept<T: Given>(
        &self,
        hook: Hook,
        site: Option<&Site>,
        before: HandleCount,
        value: T,
    ) -> Result<T, PluginError> {
        let kept = before.since() - value.handles();
        if kept > 0 {
            let reason = format!("it kept {kept} tensor handles\nhint: keep ids across calls, never tensors");
            return Err(self.failed(hook, site, reason));
        }
        Ok(value)
    }

    /// Calls what deals in no tensors: datasets, attaching.
    pub(super) fn watch<T>(
        &self,
        hook: Hook,
        site: Option<&Site>,
        body: impl FnOnce() -> ApiResult<T>,
    ) -> Result<T, PluginError> {
        let _trace = self.trace(hook, site);
        self.outcome(hook, site, measured(body))
    }

    fn outcome<T>(
        &self,
        hook: Hook,
        site: Option<&Site>,
        (result, left): (ApiResult<T>, Option<bool>),
    ) -> Result<T, PluginError> {
        let value = result.into_result().map_err(|error| self.error(hook, site, error))?;
        match left {
            None => Ok(value),
            Some(left) => {
                let state = if left { "on" } else { "off" };
                Err(self.failed(hook, site, format!("it left gradients switched {state}")))
            }
        }
    }

    pub(super) fn trace(&self, hook: Hook, site: Option<&Site>) -> Option<Trace> {
        Breadcrumb::installed().map(|crumb| crumb.set(self.number, hook, site.map(|site| site.index)))
    }

    fn error(&self, hook: Hook, site: Option<&Site>, error: ApiError) -> PluginError {
        let reason = error.message.into_string();
        match (hook, error.code) {
            (Hook::Build | Hook::OpenDataset, ErrorCode::CONFIG) => {
                PluginError::Config { plugin: label(&self.name, Some(&self.version)), reason }
            }
            (hook, code) => self.named(hook, site, reason, Some(code)),
        }
    }

    /// What the host finds wrong with what a hook did.
    pub(super) fn failed(&self, hook: Hook, site: Option<&Site>, reason: impl Into<String>) -> PluginError {
        self.named(hook, site, reason.into(), None)
    }

    /// An error of a hook, with plugin, version, hook and site.
    fn named(&self, hook: Hook, site: Option<&Site>, reason: String, code: Option<ErrorCode>) -> PluginError {
        let hook = match site {
            Some(site) => format!("{} at {}", hook.name(), site.path),
            None => hook.name().to_string(),
        };
        PluginError::Failed { plugin: self.to_string(), hook, reason, code }
    }
}

/// Also says what the gradient mode was left at, where it was left changed; it is put back.
fn measured<T>(body: impl FnOnce() -> T) -> (T, Option<bool>) {
    let before = ops::set_grad_enabled(true);
    if !before {
        ops::set_grad_enabled(false);
    }
    let result = body();
    let left = ops::set_grad_enabled(before);
    (result, (left != before).then_some(left))
}
