//! Products and decompositions.

use tch::{TchError, Tensor};

use super::math::scaled;
use crate::model::product;

pub(super) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_matmul(b)
}

pub(super) fn bmm(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_bmm(b)
}

pub(super) fn linear(a: &Tensor, weight: &Tensor) -> Result<Tensor, TchError> {
    product(a, weight, None)
}

pub(super) fn linear_bias(a: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor, TchError> {
    a.f_linear(weight, Some(bias))
}

pub(super) fn addmm(a: &Tensor, b: &Tensor, c: &Tensor, beta: f64, alpha: f64) -> Result<Tensor, TchError> {
    scaled(a, beta)?.f_addmm(&scaled(b, alpha)?, c)
}

pub(super) fn outer(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_outer(b)
}

pub(super) fn dot(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_dot(b)
}

pub(super) fn svd(a: &Tensor) -> Result<(Tensor, Tensor, Tensor), TchError> {
    // `linalg_svd` of tch always names a driver, which CPUs refuse.
    let (u, s, v) = a.f_svd(true, true)?;
    Ok((u, s, v.f_transpose(-2, -1)?))
}

pub(super) fn qr(a: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    Tensor::f_linalg_qr(a, "reduced")
}

pub(super) fn eigh(a: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    a.f_linalg_eigh("L")
}

pub(super) fn cholesky(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_linalg_cholesky(false)
}

pub(super) fn inverse(a: &Tensor) -> Result<Tensor, TchError> {
    Tensor::f_linalg_inv(a)
}

pub(super) fn pinverse(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_pinverse(1e-15)
}

pub(super) fn solve(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    Tensor::f_linalg_solve(a, b, true)
}
