//! Shapes, views and copies.

use tch::{Kind, TchError, Tensor};

pub(super) fn reshape(a: &Tensor, sizes: &[i64]) -> Result<Tensor, TchError> {
    a.f_reshape(sizes)
}

pub(super) fn transpose(a: &Tensor, first: i64, second: i64) -> Result<Tensor, TchError> {
    a.f_transpose(first, second)
}

pub(super) fn permute(a: &Tensor, dims: &[i64]) -> Result<Tensor, TchError> {
    a.f_permute(dims)
}

pub(super) fn squeeze(a: &Tensor, dim: i64) -> Result<Tensor, TchError> {
    a.f_squeeze_dim(dim)
}

pub(super) fn unsqueeze(a: &Tensor, dim: i64) -> Result<Tensor, TchError> {
    a.f_unsqueeze(dim)
}

pub(super) fn expand(a: &Tensor, sizes: &[i64]) -> Result<Tensor, TchError> {
    a.f_expand(sizes, false)
}

pub(super) fn repeat(a: &Tensor, times: &[i64]) -> Result<Tensor, TchError> {
    a.f_repeat(times)
}

pub(super) fn repeat_interleave(a: &Tensor, times: i64, dim: i64) -> Result<Tensor, TchError> {
    a.f_repeat_interleave_self_int(times, dim, None)
}

pub(super) fn narrow(a: &Tensor, dim: i64, start: i64, length: i64) -> Result<Tensor, TchError> {
    a.f_narrow(dim, start, length)
}

pub(super) fn select(a: &Tensor, dim: i64, index: i64) -> Result<Tensor, TchError> {
    a.f_select(dim, index)
}

pub(super) fn chunk(a: &Tensor, parts: i64, dim: i64) -> Result<Vec<Tensor>, TchError> {
    a.f_chunk(parts, dim)
}

pub(super) fn split(a: &Tensor, size: i64, dim: i64) -> Result<Vec<Tensor>, TchError> {
    a.f_split(size, dim)
}

pub(super) fn flip(a: &Tensor, dims: &[i64]) -> Result<Tensor, TchError> {
    a.f_flip(dims)
}

pub(super) fn pad(a: &Tensor, sides: &[i64], value: f64) -> Result<Tensor, TchError> {
    a.f_pad(sides, "constant", value)
}

pub(super) fn flatten(a: &Tensor, start: i64, end: i64) -> Result<Tensor, TchError> {
    a.f_flatten(start, end)
}

pub(super) fn diag(a: &Tensor, diagonal: i64) -> Result<Tensor, TchError> {
    a.f_diag(diagonal)
}

pub(super) fn tril(a: &Tensor, diagonal: i64) -> Result<Tensor, TchError> {
    a.f_tril(diagonal)
}

pub(super) fn triu(a: &Tensor, diagonal: i64) -> Result<Tensor, TchError> {
    a.f_triu(diagonal)
}

pub(super) fn zeros_like(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_zeros_like()
}

pub(super) fn ones_like(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_ones_like()
}

pub(super) fn contiguous(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_contiguous()
}

pub(super) fn copy(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_to_dtype(a.f_kind()?, false, true)
}

pub(super) fn to_dtype(a: &Tensor, dtype: Kind) -> Result<Tensor, TchError> {
    a.f_to_kind(dtype)
}

pub(super) fn to_like(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_to_other(b, false, false)
}

pub(super) fn detach(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_detach()
}
