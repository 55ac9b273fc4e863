//! Entry points that every tensor needs: handles, shape, values, modes, gradients.

use abi_stable::prefix_type::PrefixTypeTrait as _;
use abi_stable::std_types::{RString, RVec};
use anyhow::{Result, ensure};
use coin_plugin_api::abi::{
    ApiResult, CoreOps, CoreOpsRef, DType, Floats, Ints, RawArgument, RawTensor, RawTensorList, RawTensors,
    Text,
};
use tch::kind::Element;
use tch::{Device, Tensor};

use super::entry::{Incoming, describe, describe_tensor, guard, operation};
use super::handle::{self, Lent};
use super::{call_op as dispatcher, create, dtype as dtypes};

pub(super) fn core() -> CoreOpsRef {
    CoreOps {
        clone_ref,
        release,
        shape,
        dtype,
        requires_grad,
        set_grad_enabled,
        to_f64,
        to_floats,
        to_ints,
        from_floats,
        from_ints,
        describe: describe_handle,
        gradients,
        einsum,
        call_op,
    }
    .leak_into_prefix()
}

extern "C" fn clone_ref(a: RawTensor) -> RawTensor {
    guard("clone", || Ok(a.open().map_or(RawTensor::NONE, |tensor| handle::give(tensor.shallow_clone()))))
        .unwrap_or(RawTensor::NONE)
}

extern "C" fn release(a: RawTensor) {
    let _released = guard("release", || {
        drop(handle::take_optional(a));
        Ok(())
    });
}

extern "C" fn shape(a: RawTensor) -> ApiResult<RVec<i64>> {
    operation("shape", String::new, || Ok(a.open()?.size()))
}

extern "C" fn dtype(a: RawTensor) -> ApiResult<DType> {
    operation("dtype", String::new, || dtypes::dtype(a.open()?.f_kind()?))
}

extern "C" fn requires_grad(a: RawTensor) -> bool {
    guard("requires_grad", || Ok(a.open().is_ok_and(|tensor| tensor.requires_grad()))).unwrap_or(false)
}

extern "C" fn set_grad_enabled(enabled: bool) -> bool {
    handle::set_grad_enabled(enabled)
}

extern "C" fn to_f64(a: RawTensor) -> ApiResult<f64> {
    operation("to_f64", || describe(&[("a", &a)]), || Ok(a.open()?.f_double_value(&[])?))
}

extern "C" fn to_floats(a: RawTensor) -> ApiResult<RVec<f32>> {
    operation("to_floats", || describe(&[("a", &a)]), || values::<f32>(&*a.open()?))
}

extern "C" fn to_ints(a: RawTensor) -> ApiResult<RVec<i64>> {
    operation("to_ints", || describe(&[("a", &a)]), || values::<i64>(&*a.open()?))
}

/// All values, row-major.
fn values<T: Element + Copy>(a: &Tensor) -> Result<Vec<T>> {
    let mut values = vec![T::ZERO; a.numel()];
    a.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(T::KIND)?.f_copy_data(&mut values, a.numel())?;
    Ok(values)
}

extern "C" fn from_floats(values: Floats, sizes: Ints) -> ApiResult<RawTensor> {
    operation(
        "from_floats",
        || describe(&[("sizes", &sizes)]),
        || Ok(create::from_values(values.open()?, sizes.open()?)?),
    )
}

extern "C" fn from_ints(values: Ints, sizes: Ints) -> ApiResult<RawTensor> {
    operation(
        "from_ints",
        || describe(&[("sizes", &sizes)]),
        || Ok(create::from_values(values.open()?, sizes.open()?)?),
    )
}

extern "C" fn describe_handle(a: RawTensor) -> RString {
    let text = guard("describe", || {
        Ok(a.open().map_or_else(
            |_| "no tensor".into(),
            |tensor| {
                let gradient = if tensor.requires_grad() { " with gradient" } else { "" };
                format!("tensor {}{gradient}", describe_tensor(&tensor))
            },
        ))
    });
    text.unwrap_or_else(|error| error.message.into_string()).into()
}

extern "C" fn gradients(
    a: RawTensor,
    inputs: RawTensors,
    keep_graph: bool,
    create_graph: bool,
) -> ApiResult<RawTensorList> {
    operation(
        "gradients",
        || describe(&[("a", &a), ("inputs", &inputs)]),
        || gradients_of(&*a.open()?, &inputs.open()?, keep_graph, create_graph),
    )
}

fn gradients_of(
    a: &Tensor,
    inputs: &[Lent<'_>],
    keep_graph: bool,
    create_graph: bool,
) -> Result<Vec<Tensor>> {
    ensure!(a.numel() == 1, "only a tensor with one element can be differentiated");
    ensure!(a.requires_grad(), "the tensor has no graph: it was made without gradients, or detached");
    if let Some(place) = inputs.iter().position(|input| !input.requires_grad()) {
        anyhow::bail!("input {place} does not require gradients");
    }
    let gradients = Tensor::f_run_backward(&[a], inputs, keep_graph, create_graph)?;
    if let Some(place) = gradients.iter().position(|gradient| !gradient.defined()) {
        anyhow::bail!("input {place} takes no part in the graph");
    }
    Ok(gradients)
}

extern "C" fn einsum(equation: Text, operands: RawTensors) -> ApiResult<RawTensor> {
    operation(
        "einsum",
        || describe(&[("equation", &equation), ("operands", &operands)]),
        || Ok(Tensor::f_einsum(equation.open()?, &operands.open()?, None::<i64>)?),
    )
}

extern "C" fn call_op(name: Text, overload: Text, arguments: RVec<RawArgument>) -> ApiResult<RawTensorList> {
    let label = match (name.open(), overload.open()) {
        (Ok(name), Ok("")) => format!("call_op {name}"),
        (Ok(name), Ok(overload)) => format!("call_op {name}.{overload}"),
        _ => "call_op".into(),
    };
    let arguments = arguments.as_slice();
    operation(
        &label,
        || arguments.iter().map(dispatcher::describe).collect::<Vec<_>>().join(", "),
        || dispatcher::call_op(name.open()?, overload.open()?, arguments),
    )
}
