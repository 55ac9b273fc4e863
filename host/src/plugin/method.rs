//! A method as the host calls it. What comes back is checked as far as it is cheap: shapes, counts.

use std::fmt;

use coin_plugin_api::abi::{AdapterBox, RawMethod, RawPhase, RawTensor, StrategyBox};
use tch::Tensor;

use super::PluginError;
use super::caller::Caller;
use super::held::Held;
use super::hook::Hook;
use crate::model::{Prefix, Site};
use crate::ops::{self, Services};

/// What a plugin built for one cell.
#[derive(Debug)]
pub struct Method {
    pub adapter: Option<Adapter>,
    pub strategy: Option<Strategy>,
}

impl Method {
    pub(super) fn new(caller: &Caller, raw: RawMethod) -> Method {
        let adapter = raw.adapter.into_option().map(|object| Adapter {
            caller: caller.clone(),
            token_local: object.token_local(),
            object: Held::new(caller, object),
        });
        let strategy = raw
            .strategy
            .into_option()
            .map(|object| Strategy { caller: caller.clone(), object: Held::new(caller, object) });
        Method { adapter, strategy }
    }
}

/// Changes what sites compute.
pub struct Adapter {
    caller: Caller,
    object: Held<AdapterBox>,
    token_local: bool,
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Adapter of {}", self.caller)
    }
}

impl Adapter {
    /// The new output of a site: `input [.., in_features]`, `output [.., out_features]`, `parameters` of this site in compute dtype.
    ///
    /// # Errors
    /// [`PluginError::Failed`], also where the new output has another shape or dtype.
    pub fn adapt(
        &self,
        site: &Site,
        input: &Tensor,
        output: &Tensor,
        parameters: &[Tensor],
        services: &dyn Services,
    ) -> Result<Tensor, PluginError> {
        let raw: Vec<RawTensor> = parameters.iter().map(ops::lend).collect();
        let adapted = self.caller.call(Hook::Adapt, Some(site), services, |context| {
            let (input, output) = (ops::lend(input), ops::lend(output));
            self.object.adapt(site.index as u64, input, output, raw.as_slice().into(), context)
        })?;
        let failed = |reason: String| self.caller.failed(Hook::Adapt, Some(site), reason);
        let adapted = ops::take(adapted).map_err(|error| failed(error.to_string()))?;
        if adapted.size() != output.size() || adapted.kind() != output.kind() {
            return Err(failed(format!(
                "it gives {:?} {:?}, the output of the site is {:?} {:?}",
                adapted.kind(),
                adapted.size(),
                output.kind(),
                output.size()
            )));
        }
        Ok(adapted)
    }

    /// Soft prompt tokens for a batch.
    ///
    /// # Errors
    /// [`PluginError::Failed`].
    pub fn prefix(
        &self,
        parameters: &[Tensor],
        services: &dyn Services,
    ) -> Result<Option<Prefix>, PluginError> {
        let raw: Vec<RawTensor> = parameters.iter().map(ops::lend).collect();
        let prefix = self.caller.call(Hook::Prefix, None, services, |context| {
            self.object.prefix(raw.as_slice().into(), context)
        })?;
        let Some(prefix) = prefix.into_option() else { return Ok(None) };
        let tokens = ops::take(prefix.tokens)
            .map_err(|error| self.caller.failed(Hook::Prefix, None, error.to_string()))?;
        Ok(Some(Prefix { tokens, after_image: prefix.place == 1 }))
    }

    /// What may be added to the weight of a site for evaluation, `[out_features, in_features]`.
    ///
    /// # Errors
    /// [`PluginError::Failed`], also where it has another shape.
    pub fn merged_delta(&self, site: &Site, parameters: &[Tensor]) -> Result<Option<Tensor>, PluginError> {
        let raw: Vec<RawTensor> = parameters.iter().map(ops::lend).collect();
        let delta = self.caller.ask(Hook::MergedDelta, Some(site), || {
            self.object.merged_delta(site.index as u64, raw.as_slice().into())
        })?;
        let Some(delta) = ops::take_optional(delta) else { return Ok(None) };
        let weight = [site.out_features, site.in_features];
        if delta.size() != weight {
            let reason = format!("it gives {:?}, the weight of the site is {weight:?}", delta.size());
            return Err(self.caller.failed(Hook::MergedDelta, Some(site), reason));
        }
        if !ops::all_finite(&delta).unwrap_or(false) {
            let reason = "it gives values that are not finite";
            return Err(self.caller.failed(Hook::MergedDelta, Some(site), reason));
        }
        Ok(Some(delta))
    }

    /// Whether the output at a token depends on that token alone.
    pub fn token_local(&self) -> bool {
        self.token_local
    }
}

/// Takes part in training.
pub struct Strategy {
    caller: Caller,
    object: Held<StrategyBox>,
}

/// A named extra term of the loss.
#[derive(Debug)]
pub struct Term {
    pub name: String,
    /// One element, with its graph.
    pub value: Tensor,
    pub replaces_task_loss: bool,
}

impl fmt::Debug for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Strategy of {}", self.caller)
    }
}

impl Strategy {
    /// Before the first step of a stage; the phases it splits the stage into, if any.
    ///
    /// # Errors
    /// [`PluginError::Failed`], as every hook.
    pub fn before_stage(&mut self, services: &dyn Services) -> Result<Vec<RawPhase>, PluginError> {
        let object = &mut self.object;
        let phases =
            self.caller.call(Hook::BeforeStage, None, services, |context| object.before_stage(context))?;
        Ok(phases.into_vec())
    }

    /// After the last step of a stage.
    ///
    /// # Errors
    /// [`PluginError::Failed`].
    pub fn after_stage(&mut self, services: &dyn Services) -> Result<(), PluginError> {
        let object = &mut self.object;
        self.caller.call(Hook::AfterStage, None, services, |context| object.after_stage(context))
    }

    /// Which samples train next; as many as came in.
    ///
    /// # Errors
    /// [`PluginError::Failed`], also where the batch changes its size.
    pub fn compose_batch(&mut self, fresh: &[u64], services: &dyn Services) -> Result<Vec<u64>, PluginError> {
        let object = &mut self.object;
        let chosen = self.caller.call(Hook::ComposeBatch, None, services, |context| {
            object.compose_batch(fresh.into(), context)
        })?;
        if chosen.len() != fresh.len() {
            let reason = format!("it gives {} samples for a batch of {}", chosen.len(), fresh.len());
            return Err(self.caller.failed(Hook::ComposeBatch, None, reason));
        }
        Ok(chosen.into_vec())
    }

    /// Extra terms of the loss.
    ///
    /// # Errors
    /// [`PluginError::Failed`], also where a term has more than one element.
    pub fn loss(&mut self, services: &dyn Services) -> Result<Vec<Term>, PluginError> {
        let object = &mut self.object;
        let raw = self.caller.call(Hook::Loss, None, services, |context| object.loss(context))?;
        // Taken together, so that none is left behind where one is refused.
        let terms: Vec<(String, bool, anyhow::Result<Tensor>)> = raw
            .into_iter()
            .map(|term| (term.name.into_string(), term.replaces_task_loss, ops::take(term.value)))
            .collect();
        terms
            .into_iter()
            .map(|(name, replaces_task_loss, value)| {
                let failed =
                    |reason: String| self.caller.failed(Hook::Loss, None, format!("term `{name}`: {reason}"));
                let value = value.map_err(|error| failed(error.to_string()))?;
                if value.numel() != 1 {
                    return Err(failed(format!("a term is a scalar, this one is {:?}", value.size())));
                }
                Ok(Term { name, value, replaces_task_loss })
            })
            .collect()
    }

    /// Between backward and clipping.
    ///
    /// # Errors
    /// [`PluginError::Failed`].
    pub fn after_backward(&mut self, services: &dyn Services) -> Result<(), PluginError> {
        let object = &mut self.object;
        self.caller.call(Hook::AfterBackward, None, services, |context| object.after_backward(context))
    }

    /// After the optimizer's step.
    ///
    /// # Errors
    /// [`PluginError::Failed`].
    pub fn after_update(&mut self, services: &dyn Services) -> Result<(), PluginError> {
        let object = &mut self.object;
        self.caller.call(Hook::AfterUpdate, None, services, |context| object.after_update(context))
    }

    /// Before the tasks are answered.
    ///
    /// # Errors
    /// [`PluginError::Failed`].
    pub fn before_eval(&mut self, services: &dyn Services) -> Result<(), PluginError> {
        let object = &mut self.object;
        self.caller.call(Hook::BeforeEval, None, services, |context| object.before_eval(context))
    }

    /// After the tasks were answered.
    ///
    /// # Errors
    /// [`PluginError::Failed`].
    pub fn after_eval(&mut self, services: &dyn Services) -> Result<(), PluginError> {
        let object = &mut self.object;
        self.caller.call(Hook::AfterEval, None, services, |context| object.after_eval(context))
    }

    /// State that is no registered tensor.
    ///
    /// # Errors
    /// [`PluginError::Failed`].
    pub fn save(&self) -> Result<Vec<u8>, PluginError> {
        Ok(self.caller.ask(Hook::Save, None, || self.object.save())?.into_vec())
    }

    /// Takes such state back.
    ///
    /// # Errors
    /// [`PluginError::Failed`].
    pub fn load(&mut self, state: &[u8]) -> Result<(), PluginError> {
        let object = &mut self.object;
        self.caller.ask(Hook::Load, None, || object.load(state.into()))
    }
}
