//! Tensors: handles to what the host owns, with the operations of the border as methods.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::OnceLock;

use crate::abi::{
    ApiResult, DType, Floats, HostRef, Ints, RawArgument, RawTensor, RawTensorList, RawTensorPair,
    RawTensorTriple, RawTensors, Text,
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

fn received_pair(result: ApiResult<RawTensorPair>) -> Result<(Tensor, Tensor)> {
    let (first, second) = result.into_result()?.into_tuple();
    Ok((Tensor(first), Tensor(second)))
}

fn received_triple(result: ApiResult<RawTensorTriple>) -> Result<(Tensor, Tensor, Tensor)> {
    let (first, second, third) = result.into_result()?.into_tuple();
    Ok((Tensor(first), Tensor(second), Tensor(third)))
}

/// The type an author sees for a type of the border.
macro_rules! safe_argument {
    (RawTensor) => {
        &Tensor
    };
    (RawTensors) => {
        &[&Tensor]
    };
    (Ints) => {
        &[i64]
    };
    ($Other:ident) => {
        $Other
    };
}

macro_rules! safe_return {
    (RawTensor) => { Tensor };
    (RawTensorList) => { Vec<Tensor> };
    (RawTensorPair) => { (Tensor, Tensor) };
    (RawTensorTriple) => { (Tensor, Tensor, Tensor) };
}

macro_rules! lower {
    (RawTensor, $value:expr) => {
        $value.0
    };
    (RawTensors, $value:expr) => {
        RawTensors::borrow(&raws($value))
    };
    (Ints, $value:expr) => {
        Ints::borrow($value)
    };
    ($Other:ident, $value:expr) => {
        $value
    };
}

macro_rules! raise {
    (RawTensor, $value:expr) => {
        received($value)
    };
    (RawTensorList, $value:expr) => {
        received_list($value)
    };
    (RawTensorPair, $value:expr) => {
        received_pair($value)
    };
    (RawTensorTriple, $value:expr) => {
        received_triple($value)
    };
}

/// Methods of groups whose first argument is the tensor itself.
macro_rules! define_methods {
    (
        group $Group:ident, $Ref:ident, $Prefix:ident, $name:ident;
        $( $(#[doc = $doc:literal])+ fn $op:ident ( a: RawTensor $(, $argument:ident : $Type:ident)* ) -> $Return:ident; )*
        last
        $(#[doc = $last_doc:literal])+ fn $last_op:ident ( a: RawTensor $(, $last_argument:ident : $LastType:ident)* ) -> $LastReturn:ident;
        $( later $(#[doc = $later_doc:literal])+ fn $later_op:ident ( a: RawTensor $(, $later_argument:ident : $LaterType:ident)* ) -> $LaterReturn:ident; )*
    ) => {
        impl Tensor {
            $(
                $(#[doc = $doc])+
                pub fn $op(&self $(, $argument: safe_argument!($Type))*) -> Result<safe_return!($Return)> {
                    raise!($Return, (host().$name().$op())(self.0 $(, lower!($Type, $argument))*))
                }
            )*
            $(#[doc = $last_doc])+
            pub fn $last_op(&self $(, $last_argument: safe_argument!($LastType))*) -> Result<safe_return!($LastReturn)> {
                raise!($LastReturn, (host().$name().$last_op())(self.0 $(, lower!($LastType, $last_argument))*))
            }
            $(
                $(#[doc = $later_doc])+
                ///
                /// # Errors
                /// A host that is older than this operation.
                pub fn $later_op(&self $(, $later_argument: safe_argument!($LaterType))*) -> Result<safe_return!($LaterReturn)> {
                    let Some(operation) = host().$name().$later_op() else { return Err(crate::Error::missing(stringify!($later_op))) };
                    raise!($LaterReturn, operation(self.0 $(, lower!($LaterType, $later_argument))*))
                }
            )*
        }
    };
}

/// Functions of groups that make tensors.
macro_rules! define_functions {
    (
        group $Group:ident, $Ref:ident, $Prefix:ident, $name:ident;
        $( $(#[doc = $doc:literal])+ fn $op:ident ( $($argument:ident : $Type:ident),* ) -> $Return:ident; )*
        last
        $(#[doc = $last_doc:literal])+ fn $last_op:ident ( $($last_argument:ident : $LastType:ident),* ) -> $LastReturn:ident;
        $( later $(#[doc = $later_doc:literal])+ fn $later_op:ident ( $($later_argument:ident : $LaterType:ident),* ) -> $LaterReturn:ident; )*
    ) => {
        impl Tensor {
            $(
                $(#[doc = $doc])+
                pub fn $op($($argument: safe_argument!($Type)),*) -> Result<safe_return!($Return)> {
                    raise!($Return, (host().$name().$op())($(lower!($Type, $argument)),*))
                }
            )*
            $(#[doc = $last_doc])+
            pub fn $last_op($($last_argument: safe_argument!($LastType)),*) -> Result<safe_return!($LastReturn)> {
                raise!($LastReturn, (host().$name().$last_op())($(lower!($LastType, $last_argument)),*))
            }
            $(
                $(#[doc = $later_doc])+
                ///
                /// # Errors
                /// A host that is older than this operation.
                pub fn $later_op($($later_argument: safe_argument!($LaterType)),*) -> Result<safe_return!($LaterReturn)> {
                    let Some(operation) = host().$name().$later_op() else { return Err(crate::Error::missing(stringify!($later_op))) };
                    raise!($LaterReturn, operation($(lower!($LaterType, $later_argument)),*))
                }
            )*
        }
    };
}

crate::math_ops!(define_methods);
crate::compare_ops!(define_methods);
crate::linear_ops!(define_methods);
crate::reduce_ops!(define_methods);
crate::shape_ops!(define_methods);
crate::index_ops!(define_methods);
crate::nn_ops!(define_methods);
crate::create_ops!(define_functions);

/// The value of an operation whose error the guard of the hook reports.
fn expect(result: Result<Tensor>) -> Tensor {
    match result {
        Ok(tensor) => tensor,
        Err(error) => panic!("{error}"),
    }
}

macro_rules! operator {
    ($Trait:ident, $method:ident, $op:ident) => {
        impl $Trait<&Tensor> for &Tensor {
            type Output = Tensor;
            fn $method(self, other: &Tensor) -> Tensor {
                expect(self.$op(other))
            }
        }
        impl $Trait<Tensor> for Tensor {
            type Output = Tensor;
            fn $method(self, other: Tensor) -> Tensor {
                expect(Tensor::$op(&self, &other))
            }
        }
        impl $Trait<&Tensor> for Tensor {
            type Output = Tensor;
            fn $method(self, other: &Tensor) -> Tensor {
                expect(Tensor::$op(&self, other))
            }
        }
        impl $Trait<Tensor> for &Tensor {
            type Output = Tensor;
            fn $method(self, other: Tensor) -> Tensor {
                expect(self.$op(&other))
            }
        }
    };
}

operator!(Add, add, add);
operator!(Sub, sub, sub);
operator!(Mul, mul, mul);
operator!(Div, div, div);

impl Mul<f64> for &Tensor {
    type Output = Tensor;
    fn mul(self, value: f64) -> Tensor {
        expect(self.mul_scalar(value))
    }
}

impl Mul<f64> for Tensor {
    type Output = Tensor;
    fn mul(self, value: f64) -> Tensor {
        expect(self.mul_scalar(value))
    }
}

impl Add<f64> for &Tensor {
    type Output = Tensor;
    fn add(self, value: f64) -> Tensor {
        expect(self.add_scalar(value))
    }
}

impl Neg for &Tensor {
    type Output = Tensor;
    fn neg(self) -> Tensor {
        expect(Tensor::neg(self))
    }
}
