//! Selection by index and order.

use tch::{TchError, Tensor};

pub(super) fn gather(a: &Tensor, dim: i64, index: &Tensor) -> Result<Tensor, TchError> {
    a.f_gather(dim, index, false)
}

pub(super) fn scatter(a: &Tensor, dim: i64, index: &Tensor, source: &Tensor) -> Result<Tensor, TchError> {
    a.f_scatter(dim, index, source)
}

pub(super) fn scatter_add(a: &Tensor, dim: i64, index: &Tensor, source: &Tensor) -> Result<Tensor, TchError> {
    a.f_scatter_add(dim, index, source)
}

pub(super) fn index_select(a: &Tensor, dim: i64, index: &Tensor) -> Result<Tensor, TchError> {
    a.f_index_select(dim, index)
}

pub(super) fn index_add(a: &Tensor, dim: i64, index: &Tensor, source: &Tensor) -> Result<Tensor, TchError> {
    a.f_index_add(dim, index, source)
}

pub(super) fn masked_select(a: &Tensor, mask: &Tensor) -> Result<Tensor, TchError> {
    a.f_masked_select(mask)
}

pub(super) fn topk(a: &Tensor, k: i64, dim: i64, largest: bool) -> Result<(Tensor, Tensor), TchError> {
    a.f_topk(k, dim, largest, true)
}

pub(super) fn sort(a: &Tensor, dim: i64, descending: bool) -> Result<(Tensor, Tensor), TchError> {
    // Equal values keep their order, so that results repeat.
    a.f_sort_stable(true, dim, descending)
}

pub(super) fn argsort(a: &Tensor, dim: i64, descending: bool) -> Result<Tensor, TchError> {
    a.f_argsort_stable(true, dim, descending)
}

pub(super) fn nonzero(a: &Tensor) -> Result<Tensor, TchError> {
    a.f_nonzero()
}

pub(super) fn one_hot(a: &Tensor, classes: i64) -> Result<Tensor, TchError> {
    a.f_one_hot(classes)
}
