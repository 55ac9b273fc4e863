//! Comparison and logic.

use tch::{TchError, Tensor};

pub(super) fn eq(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_eq_tensor(b)
}

pub(super) fn ne(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_ne_tensor(b)
}

pub(super) fn lt(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_lt_tensor(b)
}

pub(super) fn le(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_le_tensor(b)
}

pub(super) fn gt(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_gt_tensor(b)
}

pub(super) fn ge(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_ge_tensor(b)
}

pub(super) fn eq_scalar(a: &Tensor, value: f64) -> Result<Tensor, TchError> {
    a.f_eq(value)
}

pub(super) fn lt_scalar(a: &Tensor, value: f64) -> Result<Tensor, TchError> {
    a.f_lt(value)
}

pub(super) fn gt_scalar(a: &Tensor, value: f64) -> Result<Tensor, TchError> {
    a.f_gt(value)
}

pub(super) fn logical_and(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_logical_and(b)
}

pub(super) fn logical_or(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_logical_or(b)
}

pub(super) fn logical_not(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_logical_not()
}

pub(super) fn any(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_any()
}

pub(super) fn all(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_all()
}
