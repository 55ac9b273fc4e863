//! Gradients of the cell's tensors, one at a time and of a scalar.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor, no_grad, with_grad};

use crate::train::parameters::Parameters;

/// The gradient of a tensor; none where it is not trained.
pub(super) fn gradient(parameters: &Parameters, id: u64) -> Result<Option<Tensor>> {
    let parameter = parameters.get(id)?;
    if !parameter.trainable {
        return Ok(None);
    }
    // Zero where none reached it: whether libtorch keeps an empty gradient depends on earlier steps.
    let gradient = parameter.tensor.f_grad()?;
    Ok(Some(if gradient.defined() { gradient } else { parameter.tensor.f_detach()?.f_zeros_like()? }))
}

/// Puts another gradient in the place of a trained tensor's.
pub(super) fn set_gradient(parameters: &Parameters, id: u64, gradient: &Tensor) -> Result<()> {
    let parameter = parameters.get(id)?;
    ensure!(
        parameter.tensor.size() == gradient.size(),
        "set_grad `{}`: shape {:?} for a tensor of shape {:?}",
        parameter.name,
        gradient.size(),
        parameter.tensor.size()
    );
    ensure!(parameter.trainable, "set_grad `{}`: it is not trained", parameter.name);
    let own = parameter.tensor.f_grad()?;
    if own.defined() {
        no_grad(|| own.f_detach()?.f_copy_(gradient))?;
    } else {
        // The gradient of this product is the gradient that was asked for.
        let product = with_grad(|| parameter.tensor.f_mul(&gradient.f_detach()?)?.f_sum(Kind::Float))?;
        product.f_backward()?;
    }
    Ok(())
}

/// The gradients of a scalar, by id; zero where it does not depend on a tensor. Those of the tensors themselves stay as they are.
pub(super) fn gradients_of(
    parameters: &Parameters,
    scalar: &Tensor,
    ids: &[u64],
) -> Result<Vec<(u64, Tensor)>> {
    let inputs: Vec<Tensor> =
        ids.iter().map(|id| Ok(parameters.get(*id)?.tensor.shallow_clone())).collect::<Result<_>>()?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let found = Tensor::f_run_backward(&[scalar], &inputs, false, false)?;
    ids.iter()
        .zip(found.into_iter().zip(&inputs))
        .map(|(id, (gradient, input))| match gradient.defined() {
            true => Ok((*id, gradient)),
            false => Ok((*id, input.f_detach()?.f_zeros_like()?)),
        })
        .collect()
}
