//! New tensors on the compute device, and tensors made of several.

use std::sync::{PoisonError, RwLock};

use tch::kind::Element;
use tch::{Device, Kind, TchError, Tensor};

use super::handle::Lent;

static COMPUTE_DEVICE: RwLock<Device> = RwLock::new(Device::Cpu);

/// Where new tensors of plugins go. The CPU until [`set_compute_device`] says otherwise.
pub fn compute_device() -> Device {
    *COMPUTE_DEVICE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Puts new tensors of plugins on a device, for the whole process.
pub fn set_compute_device(device: Device) {
    *COMPUTE_DEVICE.write().unwrap_or_else(PoisonError::into_inner) = device;
}

pub(super) fn zeros(sizes: &[i64], dtype: Kind) -> Result<Tensor, TchError> {
    Tensor::f_zeros(sizes, (dtype, compute_device()))
}

pub(super) fn ones(sizes: &[i64], dtype: Kind) -> Result<Tensor, TchError> {
    Tensor::f_ones(sizes, (dtype, compute_device()))
}

pub(super) fn full(sizes: &[i64], value: f64, dtype: Kind) -> Result<Tensor, TchError> {
    Tensor::f_full(sizes, value, (dtype, compute_device()))
}

pub(super) fn eye(size: i64, dtype: Kind) -> Result<Tensor, TchError> {
    Tensor::f_eye(size, (dtype, compute_device()))
}

pub(super) fn arange(start: f64, end: f64, step: f64, dtype: Kind) -> Result<Tensor, TchError> {
    Tensor::f_arange_start_step(start, end, step, (dtype, compute_device()))
}

pub(super) fn cat(tensors: &[Lent<'_>], dim: i64) -> Result<Tensor, TchError> {
    Tensor::f_cat(tensors, dim)
}

pub(super) fn stack(tensors: &[Lent<'_>], dim: i64) -> Result<Tensor, TchError> {
    Tensor::f_stack(tensors, dim)
}

/// A tensor of this shape on the compute device, from values in row-major order.
pub(super) fn from_values<T: Element>(values: &[T], sizes: &[i64]) -> Result<Tensor, TchError> {
    Tensor::f_from_slice(values)?.f_reshape(sizes)?.f_to_device(compute_device())
}
