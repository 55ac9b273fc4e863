//! The operations of the border as methods and functions of [`Tensor`].

use super::{Tensor, host, raws, received, received_list};
use crate::abi::{ApiResult, DType, Ints, RawTensorPair, RawTensorTriple, RawTensors};
use crate::error::Result;

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
