//! Layers and losses.

use tch::{Reduction, TchError, Tensor};

/// A class that no target has: nothing is left out.
const NO_INDEX: i64 = -100;

pub(super) fn softmax(a: &Tensor, dim: i64) -> Result<Tensor, TchError> {
    a.f_softmax(dim, None)
}

pub(super) fn log_softmax(a: &Tensor, dim: i64) -> Result<Tensor, TchError> {
    a.f_log_softmax(dim, None)
}

pub(super) fn cross_entropy(a: &Tensor, target: &Tensor, ignore_index: i64) -> Result<Tensor, TchError> {
    a.f_cross_entropy_loss::<&Tensor>(target, None, Reduction::Mean, ignore_index, 0.0)
}

pub(super) fn nll_loss(a: &Tensor, target: &Tensor) -> Result<Tensor, TchError> {
    a.f_nll_loss::<&Tensor>(target, None, Reduction::Mean, NO_INDEX)
}

pub(super) fn kl_divergence(a: &Tensor, target: &Tensor) -> Result<Tensor, TchError> {
    let (rows, _) = a.size2()?;
    a.f_kl_div(target, Reduction::Sum, true)?.f_div_scalar(rows)
}

pub(super) fn mse_loss(a: &Tensor, target: &Tensor) -> Result<Tensor, TchError> {
    a.f_mse_loss(target, Reduction::Mean)
}

pub(super) fn binary_cross_entropy(a: &Tensor, target: &Tensor) -> Result<Tensor, TchError> {
    a.f_binary_cross_entropy_with_logits::<&Tensor>(target, None, None, Reduction::Mean)
}

pub(super) fn cosine_similarity(a: &Tensor, b: &Tensor, dim: i64) -> Result<Tensor, TchError> {
    Tensor::f_cosine_similarity(a, b, dim, 1e-8)
}

pub(super) fn layer_norm(a: &Tensor, epsilon: f64) -> Result<Tensor, TchError> {
    a.f_layer_norm::<&Tensor>(last_size(a)?, None, None, epsilon, true)
}

pub(super) fn rms_norm(a: &Tensor, epsilon: f64) -> Result<Tensor, TchError> {
    a.f_rms_norm::<&Tensor>(last_size(a)?, None, epsilon)
}

fn last_size(a: &Tensor) -> Result<i64, TchError> {
    a.size().last().copied().ok_or_else(|| TchError::Shape("a scalar has no last dimension".into()))
}
