//! Element-wise arithmetic and functions.

use tch::{TchError, Tensor};

pub(super) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_add(b)
}

pub(super) fn sub(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_sub(b)
}

pub(super) fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_mul(b)
}

pub(super) fn div(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_div(b)
}

pub(super) fn add_scalar(a: &Tensor, value: f64) -> Result<Tensor, TchError> {
    a.f_add_scalar(value)
}

pub(super) fn mul_scalar(a: &Tensor, value: f64) -> Result<Tensor, TchError> {
    a.f_mul_scalar(value)
}

pub(super) fn add_scaled(a: &Tensor, b: &Tensor, alpha: f64) -> Result<Tensor, TchError> {
    a.f_add(&scaled(b, alpha)?)
}

pub(super) fn pow(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_pow(b)
}

pub(super) fn pow_scalar(a: &Tensor, value: f64) -> Result<Tensor, TchError> {
    a.f_pow_tensor_scalar(value)
}

pub(super) fn neg(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_neg()
}

pub(super) fn abs(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_abs()
}

pub(super) fn exp(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_exp()
}

pub(super) fn log(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_log()
}

pub(super) fn log1p(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_log1p()
}

pub(super) fn sqrt(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_sqrt()
}

pub(super) fn rsqrt(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_rsqrt()
}

pub(super) fn square(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_square()
}

pub(super) fn reciprocal(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_reciprocal()
}

pub(super) fn sin(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_sin()
}

pub(super) fn cos(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_cos()
}

pub(super) fn tanh(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_tanh()
}

pub(super) fn sigmoid(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_sigmoid()
}

pub(super) fn relu(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_relu()
}

pub(super) fn gelu(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_gelu("none")
}

pub(super) fn silu(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_silu()
}

pub(super) fn softplus(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_softplus()
}

pub(super) fn erf(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_erf()
}

pub(super) fn sign(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_sign()
}

pub(super) fn floor(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_floor()
}

pub(super) fn round(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_round()
}

pub(super) fn clamp(a: &Tensor, low: f64, high: f64) -> Result<Tensor, TchError> {
    a.f_clamp(low, high)
}

pub(super) fn clamp_min(a: &Tensor, low: f64) -> Result<Tensor, TchError> {
    a.f_clamp_min(low)
}

pub(super) fn clamp_max(a: &Tensor, high: f64) -> Result<Tensor, TchError> {
    a.f_clamp_max(high)
}

pub(super) fn maximum(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_maximum(b)
}

pub(super) fn minimum(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_minimum(b)
}

pub(super) fn addcmul(a: &Tensor, b: &Tensor, c: &Tensor, value: f64) -> Result<Tensor, TchError> {
    a.f_addcmul(&scaled(b, value)?, c)
}

pub(super) fn addcdiv(a: &Tensor, b: &Tensor, c: &Tensor, value: f64) -> Result<Tensor, TchError> {
    a.f_addcdiv(&scaled(b, value)?, c)
}

pub(super) fn lerp(a: &Tensor, b: &Tensor, weight: f64) -> Result<Tensor, TchError> {
    a.f_lerp(b, weight)
}

pub(super) fn select_where(a: &Tensor, b: &Tensor, c: &Tensor) -> Result<Tensor, TchError> {
    b.f_where_self(a, c)
}

pub(super) fn masked_fill(a: &Tensor, mask: &Tensor, value: f64) -> Result<Tensor, TchError> {
    a.f_masked_fill(mask, value)
}

pub(super) fn is_finite(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_isfinite()
}

/// `value * a`. The scalar operations of tch leave this factor out.
pub(super) fn scaled(a: &Tensor, value: f64) -> Result<Tensor, TchError> {
    if value == 1.0 { Ok(a.shallow_clone()) } else { a.f_mul_scalar(value) }
}
