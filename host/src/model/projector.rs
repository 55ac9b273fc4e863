//! The multimodal projector of LLaVA 1.5 (Liu et al. 2023, arXiv 2310.03744): two linears with an activation between.

use anyhow::Result;
use tch::Tensor;

use super::backbone::{Linear, Weights};
use super::config::{Activation, ModelConfig};
use super::site::LinearHook;

pub(super) struct Projector {
    first: Linear,
    second: Linear,
    activation: Activation,
}

impl Projector {
    pub(super) fn new(config: &ModelConfig, weights: &Weights) -> Result<Projector> {
        Ok(Projector {
            first: weights.linear("multi_modal_projector.linear_1")?,
            second: weights.linear("multi_modal_projector.linear_2")?,
            activation: config.projector_hidden_act,
        })
    }

    /// `[n, N, d_v]` to `[n, N, d]`.
    pub(super) fn forward(&self, features: &Tensor, hook: &dyn LinearHook) -> Result<Tensor> {
        let hidden = activate(&self.first.forward(features, hook)?, self.activation)?;
        self.second.forward(&hidden, hook)
    }
}

/// An activation, element by element.
pub(super) fn activate(input: &Tensor, activation: Activation) -> Result<Tensor> {
    Ok(match activation {
        Activation::Gelu => input.f_gelu("none")?,
        Activation::QuickGelu => input.f_mul(&input.f_mul_scalar(1.702)?.f_sigmoid()?)?,
        Activation::Silu => input.f_silu()?,
    })
}
