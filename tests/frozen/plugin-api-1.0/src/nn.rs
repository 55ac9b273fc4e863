//! Building blocks that methods share, written on the public operations.

use crate::error::Result;
use crate::registry::{Init, ParameterId, Registration, Registry, Site};
use crate::tensor::Tensor;

/// Registers the pair `A [r, in]` and `B [out, r]` of a low-rank update at a site, in this order: `A` Kaiming uniform, `B` zero, so
/// that the update starts at zero (Hu et al. 2021, arXiv 2106.09685).
pub fn register_low_rank(registry: &Registry, site: &Site, r: i64) -> Result<[ParameterId; 2]> {
    let a = registry.register(
        Registration::parameter(
            "lora_A.weight",
            &[r, site.in_features],
            Init::kaiming_uniform(site.in_features),
        )
        .at(site),
    )?;
    let b = registry
        .register(Registration::parameter("lora_B.weight", &[site.out_features, r], Init::ZEROS).at(site))?;
    Ok([a, b])
}

/// `scaling * (input A^T) B^T`: input `[.., in]`, result `[.., out]`.
pub fn low_rank(input: &Tensor, a: &Tensor, b: &Tensor, scaling: f64) -> Result<Tensor> {
    // Scaling the narrow middle touches the fewest elements.
    input.linear(a)?.mul_scalar(scaling)?.linear(b)
}

/// `scaling * B A`, `[out, in]`: what [`low_rank`] adds to the weight.
pub fn low_rank_delta(a: &Tensor, b: &Tensor, scaling: f64) -> Result<Tensor> {
    b.matmul(a)?.mul_scalar(scaling)
}

/// Registers a router `[experts, in]` at a site, initialised as PyTorch's linear layers are.
pub fn register_router(registry: &Registry, site: &Site, experts: i64) -> Result<ParameterId> {
    registry.register(
        Registration::parameter(
            "lora_router.weight",
            &[experts, site.in_features],
            Init::kaiming_uniform(site.in_features),
        )
        .at(site),
    )
}

/// Gates of a dense router: softmax over all experts of `input W^T`, `[.., experts]`.
pub fn route(input: &Tensor, router: &Tensor) -> Result<Tensor> {
    input.linear(router)?.softmax(-1)
}

/// A dense mixture of low-rank experts as one product down and one up: `A [experts * r, in]` and `B [out, experts * r]` hold the experts
/// side by side, and the gate `[.., experts]` scales each expert's part of the middle. Equal to the sum over experts of
/// `gate_i * scaling * (input A_i^T) B_i^T`.
pub fn gated_low_rank(input: &Tensor, a: &Tensor, b: &Tensor, gate: &Tensor, scaling: f64) -> Result<Tensor> {
    let experts = gate.size(-1)?;
    let rank = a.size(0)? / experts;
    let gate = gate.mul_scalar(scaling)?.repeat_interleave(rank, -1)?;
    input.linear(a)?.mul(&gate)?.linear(b)
}
