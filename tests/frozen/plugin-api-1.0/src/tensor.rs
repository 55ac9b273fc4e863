//! Tensors: handles to what the host owns.

mod operations;
mod operators;

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::OnceLock;

use crate::abi::{
    ApiResult, DType, Floats, HostRef, Ints, RawArgument, RawTensor, RawTensorList, RawTensors, Text,
};
use crate::error::Result;

static HOST: OnceLock<HostRef> = OnceLock::new();

/// Remembers the host; a second call changes nothing.
pub(crate) fn attach(host: HostRef) {
    let _already = HOST.set(host);
}

/// The host that attached this plugin.
pub(crate) fn host() -> HostRef {
    *HOST.get().expect("a plugin calls its host only after it was attached")
}

/// Whether a host attached this plugin.
pub(crate) fn attached() -> bool {
    HOST.get().is_some()
}

/// A tensor of the host: device, memory and gradients are the host's, the plugin holds a handle. Cloning copies the handle, not the
/// values. Shapes and dtypes follow PyTorch's rules; every method returns an error where PyTorch would raise one.
///
/// The operators `+ - * /` panic instead, which the border turns into an error of the hook: fine where shapes are known.
#[repr(transparent)]
pub struct Tensor(RawTensor);

impl Tensor {
    /// Takes an owned handle.
    pub(crate) fn owned(raw: RawTensor) -> Tensor {
        Tensor(raw)
    }

    /// Takes an owned handle that may stand for "no tensor".
    pub(crate) fn optional(raw: RawTensor) -> Option<Tensor> {
        (!raw.is_none()).then_some(Tensor(raw))
    }

    /// Looks at a handle that somebody else owns.
    pub(crate) fn borrowed(raw: RawTensor) -> ManuallyDrop<Tensor> {
        ManuallyDrop::new(Tensor(raw))
    }

    /// Another handle to a tensor that somebody else owns.
    pub(crate) fn shared(raw: RawTensor) -> Tensor {
        Tensor((host().core().clone_ref())(raw))
    }

    /// The handle, still owned by this tensor.
    pub(crate) fn raw(&self) -> RawTensor {
        self.0
    }

    /// Gives the handle away.
    pub(crate) fn into_raw(self) -> RawTensor {
        ManuallyDrop::new(self).0
    }

    /// Sizes of the dimensions.
    pub fn shape(&self) -> Result<Vec<i64>> {
        Ok((host().core().shape())(self.0).into_result()?.into_vec())
    }

    /// Size of one dimension; negative counts from the end.
    pub fn size(&self, dim: i64) -> Result<i64> {
        let shape = self.shape()?;
        let place = if dim < 0 { dim + shape.len() as i64 } else { dim };
        match usize::try_from(place).ok().and_then(|place| shape.get(place)) {
            Some(size) => Ok(*size),
            None => crate::bail!("size: dimension {dim} of a tensor of shape {shape:?}"),
        }
    }

    /// Element type.
    pub fn dtype(&self) -> Result<DType> {
        Ok((host().core().dtype())(self.0).into_result()?)
    }

    /// Whether gradients flow to it.
    pub fn requires_grad(&self) -> bool {
        (host().core().requires_grad())(self.0)
    }

    /// The value of a tensor with one element. Waits for the device: not in a hot loop.
    pub fn to_f64(&self) -> Result<f64> {
        Ok((host().core().to_f64())(self.0).into_result()?)
    }

    /// All values, row-major, as 32-bit floats. Waits for the device.
    pub fn to_floats(&self) -> Result<Vec<f32>> {
        Ok((host().core().to_floats())(self.0).into_result()?.into_vec())
    }

    /// All values, row-major, as 64-bit integers. Waits for the device.
    pub fn to_ints(&self) -> Result<Vec<i64>> {
        Ok((host().core().to_ints())(self.0).into_result()?.into_vec())
    }

    /// A float32 tensor of this shape on the compute device.
    pub fn from_floats(values: &[f32], sizes: &[i64]) -> Result<Tensor> {
        received((host().core().from_floats())(Floats::borrow(values), Ints::borrow(sizes)))
    }

    /// An int64 tensor of this shape on the compute device.
    pub fn from_ints(values: &[i64], sizes: &[i64]) -> Result<Tensor> {
        received((host().core().from_ints())(Ints::borrow(values), Ints::borrow(sizes)))
    }

    /// Gradients of this scalar with regard to `inputs`, which must take part in its graph. The graph is kept if `keep_graph`;
    /// the gradients themselves can be differentiated if `create_graph`.
    pub fn gradients(&self, inputs: &[&Tensor], keep_graph: bool, create_graph: bool) -> Result<Vec<Tensor>> {
        let inputs = raws(inputs);
        received_list((host().core().gradients())(
            self.0,
            RawTensors::borrow(&inputs),
            keep_graph,
            create_graph,
        ))
    }

    /// Einstein summation, as in PyTorch.
    pub fn einsum(equation: &str, operands: &[&Tensor]) -> Result<Tensor> {
        let operands = raws(operands);
        received((host().core().einsum())(Text::borrow(equation.as_bytes()), RawTensors::borrow(&operands)))
    }
}

/// An argument of [`call_op`].
#[derive(Clone, Copy)]
pub enum Argument<'a> {
    /// An optional argument left out.
    None,
    /// A tensor.
    Tensor(&'a Tensor),
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
}

/// Calls any ATen operator by name (`"aten::softmax"`) and overload (`"int"`), except those that draw random numbers. Arguments must
/// be complete, in the order of the operator's schema. Stable only as far as libtorch is: a plugin that uses it declares the need
/// `call_op`.
///
/// # Errors
/// An unknown operator, wrong arguments, a random operator, or a protocol that does not grant `call_op`.
pub fn call_op(name: &str, overload: &str, arguments: &[Argument<'_>]) -> Result<Vec<Tensor>> {
    let arguments = arguments
        .iter()
        .map(|argument| match argument {
            Argument::None => RawArgument { kind: 0, value: 0 },
            Argument::Tensor(tensor) => RawArgument { kind: 1, value: tensor.0.0 as u64 },
            Argument::Int(value) => RawArgument { kind: 2, value: value.cast_unsigned() },
            Argument::Bool(value) => RawArgument { kind: 3, value: u64::from(*value) },
        })
        .collect();
    received_list((host().core().call_op())(
        Text::borrow(name.as_bytes()),
        Text::borrow(overload.as_bytes()),
        arguments,
    ))
}

/// While it lives, operations on this thread are outside the graph. The previous mode comes back when it is dropped, also on a panic.
pub struct NoGrad {
    previous: bool,
}

impl NoGrad {
    /// Leaves the graph until the value is dropped.
    #[allow(clippy::new_without_default, reason = "a guard is made on purpose, never by default")]
    pub fn new() -> NoGrad {
        NoGrad { previous: (host().core().set_grad_enabled())(false) }
    }
}

impl Drop for NoGrad {
    fn drop(&mut self) {
        (host().core().set_grad_enabled())(self.previous);
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        (host().core().release())(self.0);
    }
}

impl Clone for Tensor {
    fn clone(&self) -> Self {
        Tensor::shared(self.0)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(host().core().describe())(self.0))
    }
}

pub(crate) fn raws(tensors: &[&Tensor]) -> Vec<RawTensor> {
    tensors.iter().map(|tensor| tensor.0).collect()
}

pub(crate) fn received(result: ApiResult<RawTensor>) -> Result<Tensor> {
    Ok(Tensor(result.into_result()?))
}

pub(crate) fn received_optional(result: ApiResult<RawTensor>) -> Result<Option<Tensor>> {
    Ok(Tensor::optional(result.into_result()?))
}

pub(crate) fn received_list(result: ApiResult<RawTensorList>) -> Result<Vec<Tensor>> {
    Ok(result.into_result()?.into_iter().map(Tensor).collect())
}
