//! What a checkpoint says beside its tensors.

use anyhow::Result;
use coin_plugin_api::Need;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::train::parameters::{Parameter, copied};
use crate::train::stage::Segment;

/// Raised when the file changes its meaning.
pub(super) const SCHEMA: u32 = 1;

/// Everything but tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State<P> {
    pub(super) schema: u32,
    pub(super) seed: u64,
    /// The stage in progress, or the next one.
    pub(super) stage: usize,
    pub(super) running: Option<RunningState>,
    pub(super) parameters: Vec<ParameterState>,
    /// Name and, by id, whether it has the tensor.
    pub(super) snapshots: Vec<(String, Vec<bool>)>,
    /// Slot, sample, names of stored tensors.
    pub(super) replay: Vec<(u64, u64, Vec<String>)>,
    pub(super) replay_next: u64,
    /// Entries that have a strategy, with the plugin and version that wrote its state.
    pub(super) strategies: Vec<(usize, String, String)>,
    pub(super) extra_rows: u64,
    /// Entry, need, uses.
    #[serde(default)]
    pub(super) granted: Vec<(usize, Need, u64)>,
    /// What the caller keeps with it.
    pub(super) progress: P,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunningState {
    pub(super) step: usize,
    pub(super) segments: Vec<Segment>,
    pub(super) optimizer_steps: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParameterState {
    pub(super) name: String,
    pub(super) owner: String,
    pub(super) entry: Option<usize>,
    pub(super) site: Option<usize>,
    pub(super) buffer: bool,
    pub(super) trainable: bool,
    pub(super) learning_rate_scale: f64,
    pub(super) weight_decay: Option<f64>,
}

impl ParameterState {
    pub(super) fn of(parameter: &Parameter) -> ParameterState {
        ParameterState {
            name: parameter.name.clone(),
            owner: parameter.owner.clone(),
            entry: parameter.entry,
            site: parameter.site,
            buffer: parameter.buffer,
            trainable: parameter.trainable,
            learning_rate_scale: parameter.learning_rate_scale,
            weight_decay: parameter.weight_decay,
        }
    }

    /// The tensor again, with this value.
    pub(super) fn parameter(&self, value: &Tensor) -> Result<Parameter> {
        Ok(Parameter {
            name: self.name.clone(),
            owner: self.owner.clone(),
            entry: self.entry,
            site: self.site,
            buffer: self.buffer,
            trainable: self.trainable,
            learning_rate_scale: self.learning_rate_scale,
            weight_decay: self.weight_decay,
            tensor: copied(value)?.f_set_requires_grad(self.trainable)?,
        })
    }
}
