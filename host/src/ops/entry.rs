//! What every entry point shares: arguments become tensors, results become handles, and errors and panics become values that say
//! which operation failed on what.

use std::panic::{AssertUnwindSafe, catch_unwind};

use abi_stable::std_types::{RVec, Tuple2, Tuple3};
use anyhow::{Error, Result};
use coin_plugin_api::abi::{
    ApiError, ApiResult, Context, DType, ErrorCode, Floats, Ints, RawGradient, RawModel, RawParameterInfo,
    RawParameterSpec, RawRow, RawSite, RawStage, RawStep, RawTensor, RawTensorList, RawTensorPair,
    RawTensorTriple, RawTensors, Text,
};
use tch::{Kind, TchError, Tensor};

use super::handle::{self, Lent};
use super::services::{Services, Unavailable};
use super::{context, dtype, failing};

/// An argument as it comes across the border.
pub(super) trait Incoming {
    /// What the host works with.
    type Open<'a>
    where
        Self: 'a;

    fn open(&self) -> Result<Self::Open<'_>>;
}

/// An argument as a message shows it.
pub(super) trait Describe {
    fn describe(&self, name: &str) -> String;
}

/// A result on its way to a plugin, which then owns it.
pub(super) trait Outgoing {
    type Raw;

    fn give(self) -> Self::Raw;
}

/// Runs an operation on tensors. `arguments` describes them for the message of an error.
pub(super) fn operation<T: Outgoing>(
    name: &str,
    arguments: impl FnOnce() -> String,
    body: impl FnOnce() -> Result<T>,
) -> ApiResult<T::Raw> {
    guard(name, || {
        body().map(T::give).map_err(|error| {
            let (code, reason) = reason(&error);
            let arguments = arguments();
            let arguments = if arguments.is_empty() { arguments } else { format!("; arguments {arguments}") };
            let message = match reason.split_once('\n') {
                Some((line, hint)) => format!("{name}: {line}{arguments}\n{hint}"),
                None => format!("{name}: {reason}{arguments}"),
            };
            ApiError { code, message: message.into() }
        })
    })
}

/// Runs a service of the hook that a context stands for. Every error names the hook.
pub(super) fn service<T: Outgoing>(
    context: Context,
    name: &str,
    body: impl FnOnce(&dyn Services) -> Result<T>,
) -> ApiResult<T::Raw> {
    guard(name, || {
        let mut hook = String::new();
        let called = |services: &dyn Services| {
            failing::called(|| services.hook(), name)?;
            body(services)
        };
        context::with(context, |services| called(services).inspect_err(|_| hook = services.hook()))
            .map(T::give)
            .map_err(|error| {
                let (code, reason) = reason(&error);
                let message = match hook.as_str() {
                    hook if !hook.is_empty() && reason.contains(hook) => reason,
                    "" => format!("{name}: {reason}"),
                    hook => format!("{name} in {hook}: {reason}"),
                };
                ApiError { code, message: message.into() }
            })
    })
}

/// Catches panics: nothing unwinds across the border.
pub(super) fn guard<T>(name: &str, body: impl FnOnce() -> Result<T, ApiError>) -> ApiResult<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result.into(),
        Err(payload) => {
            let what = payload.downcast_ref::<&str>().copied().map(str::to_owned);
            let what = what.or_else(|| payload.downcast_ref::<String>().cloned());
            // A payload whose own drop panics would unwind across the border.
            std::mem::forget(payload);
            let what = what.unwrap_or_else(|| "without a message".into());
            ApiResult::RErr(ApiError {
                code: ErrorCode::HOST,
                message: format!("{name}: the host panicked: {what}").into(),
            })
        }
    }
}

/// The kind of an error and its text without C++ backtraces.
fn reason(error: &Error) -> (ErrorCode, String) {
    if error.is::<Unavailable>() {
        return (ErrorCode::UNAVAILABLE, format!("{error:#}"));
    }
    let torch = error.chain().find_map(|cause| cause.downcast_ref::<TchError>());
    let Some(torch) = torch else { return (ErrorCode::OPERATION, format!("{error:#}")) };
    let text = match torch {
        TchError::Torch(text) => text.clone(),
        other => other.to_string(),
    };
    let line = text.lines().next().unwrap_or_default().to_owned();
    let outer: String = error
        .chain()
        .take_while(|cause| !cause.is::<TchError>())
        .map(|context| format!("{context}: "))
        .collect();
    (ErrorCode::OPERATION, outer + &line)
}

/// The arguments of an operation as a message shows them.
pub(super) fn describe(arguments: &[(&str, &dyn Describe)]) -> String {
    arguments.iter().map(|(name, value)| value.describe(name)).collect::<Vec<_>>().join(", ")
}

/// Shape, dtype and, away from the CPU, device of a tensor.
pub(super) fn describe_tensor(tensor: &Tensor) -> String {
    let kind = tensor.f_kind().map_or_else(|_| "of an unknown dtype".into(), dtype::name);
    match tensor.device() {
        tch::Device::Cpu => format!("{:?} {kind}", tensor.size()),
        device => format!("{:?} {kind} on {device:?}", tensor.size()),
    }
}

impl Incoming for RawTensor {
    type Open<'a> = Lent<'a>;

    fn open(&self) -> Result<Lent<'_>> {
        handle::borrow(self)
    }
}

impl Incoming for RawTensors {
    type Open<'a> = Vec<Lent<'a>>;

    fn open(&self) -> Result<Vec<Lent<'_>>> {
        handle::tensors(self)
    }
}

impl Incoming for Ints {
    type Open<'a> = &'a [i64];

    fn open(&self) -> Result<&[i64]> {
        Ok(handle::ints(self))
    }
}

impl Incoming for Floats {
    type Open<'a> = &'a [f32];

    fn open(&self) -> Result<&[f32]> {
        Ok(handle::floats(self))
    }
}

impl Incoming for Text {
    type Open<'a> = &'a str;

    fn open(&self) -> Result<&str> {
        handle::text(self)
    }
}

impl Incoming for DType {
    type Open<'a> = Kind;

    fn open(&self) -> Result<Kind> {
        dtype::kind(*self)
    }
}

impl Incoming for RVec<u64> {
    type Open<'a> = &'a [u64];

    fn open(&self) -> Result<&[u64]> {
        Ok(self)
    }
}

macro_rules! open_as_it_is {
    ($($Type:ty),+) => {$(
        impl Incoming for $Type {
            type Open<'a> = $Type;

            fn open(&self) -> Result<$Type> {
                Ok(self.clone())
            }
        }
    )+};
}

open_as_it_is!(i64, u64, f64, bool, RawParameterSpec);

impl Describe for RawTensor {
    fn describe(&self, name: &str) -> String {
        self.open().map_or_else(|_| format!("{name} missing"), |tensor| describe_tensor(&tensor))
    }
}

impl Describe for RawTensors {
    fn describe(&self, name: &str) -> String {
        match self.open() {
            Ok(tensors) => {
                let tensors: Vec<String> = tensors.iter().map(|tensor| describe_tensor(tensor)).collect();
                format!("({})", tensors.join(", "))
            }
            Err(_) => format!("{name} with one missing"),
        }
    }
}

impl Describe for DType {
    fn describe(&self, name: &str) -> String {
        format!("{name} {}", self.open().map_or_else(|_| self.0.to_string(), dtype::name))
    }
}

macro_rules! describe_opened {
    ($($Type:ty),+) => {$(
        impl Describe for $Type {
            fn describe(&self, name: &str) -> String {
                self.open().map_or_else(|error| format!("{name} {error}"), |value| format!("{name} {value:?}"))
            }
        }
    )+};
}

describe_opened!(Ints, Text, i64, f64, bool);

impl Outgoing for Tensor {
    type Raw = RawTensor;

    fn give(self) -> RawTensor {
        handle::give(self)
    }
}

impl Outgoing for Option<Tensor> {
    type Raw = RawTensor;

    fn give(self) -> RawTensor {
        self.map_or(RawTensor::NONE, handle::give)
    }
}

impl Outgoing for Vec<Tensor> {
    type Raw = RawTensorList;

    fn give(self) -> RawTensorList {
        self.into_iter().map(handle::give).collect()
    }
}

impl Outgoing for (Tensor, Tensor) {
    type Raw = RawTensorPair;

    fn give(self) -> RawTensorPair {
        Tuple2(self.0.give(), self.1.give())
    }
}

impl Outgoing for (Tensor, Tensor, Tensor) {
    type Raw = RawTensorTriple;

    fn give(self) -> RawTensorTriple {
        Tuple3(self.0.give(), self.1.give(), self.2.give())
    }
}

impl Outgoing for Vec<(u64, Tensor)> {
    type Raw = RVec<RawGradient>;

    fn give(self) -> RVec<RawGradient> {
        self.into_iter().map(|(id, value)| RawGradient { id, value: value.give() }).collect()
    }
}

macro_rules! give_as_it_is {
    ($($Type:ty),+) => {$(
        impl Outgoing for $Type {
            type Raw = $Type;

            fn give(self) -> $Type {
                self
            }
        }
    )+};
}

give_as_it_is!((), u64, f64, DType, RawModel, RawStage, RawStep);

macro_rules! give_list {
    ($($Item:ty),+) => {$(
        impl Outgoing for Vec<$Item> {
            type Raw = RVec<$Item>;

            fn give(self) -> RVec<$Item> {
                self.into()
            }
        }
    )+};
}

give_list!(i64, u64, f32, RawParameterInfo, RawRow, RawSite);
