//! Sums, means, extremes.

use tch::{TchError, Tensor};

/// Whether no element is infinite or not a number.
///
/// # Errors
/// What libtorch reports.
pub fn all_finite(tensor: &Tensor) -> Result<bool, TchError> {
    Ok(tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? != 0)
}

pub(super) fn sum_all(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_sum(None)
}

pub(super) fn sum(a: &Tensor, dims: &[i64], keep_dims: bool) -> Result<Tensor, TchError> {
    a.f_sum_dim_intlist(all_if_empty(a, dims), keep_dims, None)
}

pub(super) fn mean_all(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_mean(None)
}

pub(super) fn mean(a: &Tensor, dims: &[i64], keep_dims: bool) -> Result<Tensor, TchError> {
    a.f_mean_dim(all_if_empty(a, dims), keep_dims, None)
}

pub(super) fn variance(
    a: &Tensor,
    dims: &[i64],
    unbiased: bool,
    keep_dims: bool,
) -> Result<Tensor, TchError> {
    a.f_var_dim(all_if_empty(a, dims), unbiased, keep_dims)
}

pub(super) fn amax(a: &Tensor, dims: &[i64], keep_dims: bool) -> Result<Tensor, TchError> {
    a.f_amax(all_if_empty(a, dims), keep_dims)
}

pub(super) fn amin(a: &Tensor, dims: &[i64], keep_dims: bool) -> Result<Tensor, TchError> {
    a.f_amin(all_if_empty(a, dims), keep_dims)
}

pub(super) fn argmax(a: &Tensor, dim: i64, keep_dim: bool) -> Result<Tensor, TchError> {
    a.f_argmax(dim, keep_dim)
}

pub(super) fn argmin(a: &Tensor, dim: i64, keep_dim: bool) -> Result<Tensor, TchError> {
    a.f_argmin(dim, keep_dim)
}

pub(super) fn cumsum(a: &Tensor, dim: i64) -> Result<Tensor, TchError> {
    a.f_cumsum(dim, None)
}

pub(super) fn logsumexp(a: &Tensor, dims: &[i64], keep_dims: bool) -> Result<Tensor, TchError> {
    a.f_logsumexp(all_if_empty(a, dims), keep_dims)
}

pub(super) fn norm(a: &Tensor, p: f64, dims: &[i64], keep_dims: bool) -> Result<Tensor, TchError> {
    a.f_norm_scalaropt_dim(p, all_if_empty(a, dims), keep_dims)
}

pub(super) fn product_all(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_prod(None)
}

/// PyTorch does not agree with itself on what an empty list of dimensions means.
fn all_if_empty(a: &Tensor, dims: &[i64]) -> Vec<i64> {
    if dims.is_empty() { (0..a.dim() as i64).collect() } else { dims.to_vec() }
}
