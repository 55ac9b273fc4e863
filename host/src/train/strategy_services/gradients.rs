//! Gradients of the cell's tensors, one at a time.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor, no_grad, with_grad};

use crate::ops::all_finite;
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
    // One that was not finite already is no fault of the hook; the loop finds it afterwards.
    ensure!(
        all_finite(gradient)? || (own.defined() && !all_finite(&own)?),
        "set_grad `{}`: the gradient is not finite\nhint: look for a division by zero, or a norm of zero",
        parameter.name
    );
    if own.defined() {
        no_grad(|| own.f_detach()?.f_copy_(gradient))?;
    } else {
        // The gradient of this product is the gradient that was asked for.
        let product = with_grad(|| parameter.tensor.f_mul(&gradient.f_detach()?)?.f_sum(Kind::Float))?;
        product.f_backward()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::train::parameters::Parameter;

    #[test]
    fn a_gradient_that_is_not_finite_is_refused_unless_it_was_so_before() {
        let mut parameters = Parameters::new(0, Device::Cpu);
        let tensor = Tensor::zeros([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let id = parameters
            .adopt(Parameter {
                name: String::from("lora.a"),
                owner: String::from("lora"),
                entry: Some(0),
                site: None,
                buffer: false,
                trainable: true,
                learning_rate_scale: 1.0,
                weight_decay: None,
                tensor,
            })
            .unwrap();
        let set = |values: [f32; 2]| set_gradient(&parameters, id, &Tensor::from_slice(&values));
        let now = || Vec::<f32>::try_from(gradient(&parameters, id).unwrap().unwrap()).unwrap();
        let refused = set([1.0, f32::INFINITY]).unwrap_err().to_string();
        assert!(refused.starts_with("set_grad `lora.a`: the gradient is not finite\nhint: "), "{refused}");
        set([1.0, 2.0]).unwrap();
        assert!(set([f32::NAN, 0.0]).is_err());
        assert_eq!(now(), [1.0, 2.0]);

        let own = parameters.get(id).unwrap().tensor.grad();
        let _spoiled = no_grad(|| own.detach().fill_(f64::NAN));
        set([f32::NAN, 0.0]).unwrap();
        assert!(now()[0].is_nan());
        set([3.0, 4.0]).unwrap();
        assert_eq!(now(), [3.0, 4.0]);
    }
}
