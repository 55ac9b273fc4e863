//! The functions of the recording host, which plugin authors test with. Each turns its arguments into plain values and leaves the
//! work to [`crate::testing`].

mod services;

use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RVec, Tuple2, Tuple3};

use super::*;
use crate::error::{Error, Result};
use crate::guard::guard;
use crate::testing::operand::Operand;
use crate::testing::world::{World, with};

/// The recording host.
pub(crate) fn host() -> HostRef {
    Host {
        api_version: API_VERSION,
        core: core(),
        math: math(),
        compare: compare(),
        linear: linear(),
        reduce: reduce(),
        shape: shape(),
        index: index(),
        nn: nn(),
        create: create(),
        registry: services::registry(),
        stage: services::stage(),
        step: services::step(),
        replay: services::replay(),
        random: services::random(),
        log: services::log(),
        draft: services::draft(),
    }
    .leak_into_prefix()
}

/// An argument of the border as a plain value.
trait ToOperand {
    fn to_operand(self) -> Operand;
}

impl ToOperand for RawTensor {
    fn to_operand(self) -> Operand {
        Operand::Tensor(number(self))
    }
}

impl ToOperand for RawTensors {
    fn to_operand(self) -> Operand {
        Operand::Tensors(numbers(self))
    }
}

impl ToOperand for Ints {
    fn to_operand(self) -> Operand {
        Operand::Ints(ints(self))
    }
}

impl ToOperand for i64 {
    fn to_operand(self) -> Operand {
        Operand::Int(self)
    }
}

impl ToOperand for f64 {
    fn to_operand(self) -> Operand {
        Operand::Float(self)
    }
}

impl ToOperand for bool {
    fn to_operand(self) -> Operand {
        Operand::Flag(self)
    }
}

impl ToOperand for DType {
    fn to_operand(self) -> Operand {
        Operand::DType(self)
    }
}

/// What an operation returns, from tensor numbers.
trait FromNumbers {
    fn from_numbers(world: &mut World, numbers: &[usize]) -> Self;
}

impl FromNumbers for RawTensor {
    fn from_numbers(world: &mut World, numbers: &[usize]) -> Self {
        give(world, numbers[0])
    }
}

impl FromNumbers for RawTensorPair {
    fn from_numbers(world: &mut World, numbers: &[usize]) -> Self {
        Tuple2(give(world, numbers[0]), give(world, numbers[1]))
    }
}

impl FromNumbers for RawTensorTriple {
    fn from_numbers(world: &mut World, numbers: &[usize]) -> Self {
        Tuple3(give(world, numbers[0]), give(world, numbers[1]), give(world, numbers[2]))
    }
}

impl FromNumbers for RawTensorList {
    fn from_numbers(world: &mut World, numbers: &[usize]) -> Self {
        numbers.iter().map(|number| give(world, *number)).collect()
    }
}

/// Handles are numbers of tensors, counted from 1: 0 stands for "no tensor".
pub(crate) fn give(world: &mut World, number: usize) -> RawTensor {
    world.handles += 1;
    RawTensor(number + 1)
}

fn number(raw: RawTensor) -> usize {
    raw.0 - 1
}

fn numbers(raws: RawTensors) -> Vec<usize> {
    // SAFETY: borrowed by the caller for the length of this call, which ends after this copy.
    unsafe { raws.as_slice() }.iter().map(|raw| number(*raw)).collect()
}

fn ints(ints: Ints) -> Vec<i64> {
    // SAFETY: as in `numbers`.
    unsafe { ints.as_slice() }.to_vec()
}

fn floats(floats: Floats) -> Vec<f64> {
    // SAFETY: as in `numbers`.
    unsafe { floats.as_slice() }.iter().map(|value| f64::from(*value)).collect()
}

fn text(text: Text) -> String {
    // SAFETY: as in `numbers`.
    String::from_utf8_lossy(unsafe { text.as_slice() }).into_owned()
}

fn call<T>(body: impl FnOnce(&mut World) -> Result<T>) -> ApiResult<T> {
    guard(|| with(body))
}

fn operate<R: FromNumbers>(name: &str, items: Vec<Operand>) -> ApiResult<R> {
    call(|world| {
        let numbers = world.operate(name, items)?;
        Ok(R::from_numbers(world, &numbers))
    })
}

macro_rules! record_group {
    (
        group $Group:ident, $Ref:ident, $Prefix:ident, $name:ident;
        $( $(#[doc = $doc:literal])+ fn $op:ident ( $($argument:ident : $Type:ident),* ) -> $Return:ident; )*
        last
        $(#[doc = $last_doc:literal])+ fn $last_op:ident ( $($last_argument:ident : $LastType:ident),* ) -> $LastReturn:ident;
        $( later $(#[doc = $later_doc:literal])+ fn $later_op:ident ( $($later_argument:ident : $LaterType:ident),* ) -> $LaterReturn:ident; )*
    ) => {
        fn $name() -> $Ref {
            $( extern "C" fn $op($($argument: $Type),*) -> ApiResult<$Return> {
                operate(stringify!($op), vec![$($argument.to_operand()),*])
            } )*
            extern "C" fn $last_op($($last_argument: $LastType),*) -> ApiResult<$LastReturn> {
                operate(stringify!($last_op), vec![$($last_argument.to_operand()),*])
            }
            $( extern "C" fn $later_op($($later_argument: $LaterType),*) -> ApiResult<$LaterReturn> {
                operate(stringify!($later_op), vec![$($later_argument.to_operand()),*])
            } )*
            $Group { $($op,)* $last_op, $($later_op,)* }.leak_into_prefix()
        }
    };
}

math_ops!(record_group);
compare_ops!(record_group);
linear_ops!(record_group);
reduce_ops!(record_group);
shape_ops!(record_group);
index_ops!(record_group);
nn_ops!(record_group);
create_ops!(record_group);

fn core() -> CoreOpsRef {
    extern "C" fn clone_ref(a: RawTensor) -> RawTensor {
        with(|world| world.handles += 1);
        a
    }
    extern "C" fn release(_: RawTensor) {
        with(|world| world.handles -= 1);
    }
    extern "C" fn shape(a: RawTensor) -> ApiResult<RVec<i64>> {
        call(|world| Ok(world.entries[number(a)].shape.clone().into()))
    }
    extern "C" fn dtype(a: RawTensor) -> ApiResult<DType> {
        call(|world| Ok(world.entries[number(a)].dtype))
    }
    extern "C" fn requires_grad(_: RawTensor) -> bool {
        with(|world| world.gradients_on)
    }
    extern "C" fn set_grad_enabled(on: bool) -> bool {
        with(|world| std::mem::replace(&mut world.gradients_on, on))
    }
    extern "C" fn to_f64(a: RawTensor) -> ApiResult<f64> {
        call(|world| match world.values(number(a))? {
            [value] => Ok(*value),
            values => Err(Error::new(format!("a tensor of {} elements is no scalar", values.len()))),
        })
    }
    extern "C" fn to_floats(a: RawTensor) -> ApiResult<RVec<f32>> {
        call(|world| Ok(world.values(number(a))?.iter().map(|value| *value as f32).collect()))
    }
    extern "C" fn to_ints(a: RawTensor) -> ApiResult<RVec<i64>> {
        call(|world| Ok(world.values(number(a))?.iter().map(|value| *value as i64).collect()))
    }
    extern "C" fn from_floats(values: Floats, sizes: Ints) -> ApiResult<RawTensor> {
        made(floats(values), ints(sizes), DType::FLOAT)
    }
    extern "C" fn from_ints(values: Ints, sizes: Ints) -> ApiResult<RawTensor> {
        made(ints(values).iter().map(|value| *value as f64).collect(), ints(sizes), DType::INT64)
    }
    extern "C" fn describe(a: RawTensor) -> abi_stable::std_types::RString {
        with(|world| world.entries[number(a)].describe().into())
    }
    extern "C" fn gradients(_: RawTensor, inputs: RawTensors, _: bool, _: bool) -> ApiResult<RawTensorList> {
        call(|world| {
            let shapes = numbers(inputs).into_iter().map(|input| world.entries[input].shape.clone());
            let shapes: Vec<Vec<i64>> = shapes.collect();
            let tensors =
                shapes.iter().map(|shape| world.add(String::from("gradient"), shape, DType::FLOAT, None));
            let tensors: Vec<usize> = tensors.collect();
            Ok(tensors.into_iter().map(|tensor| give(world, tensor)).collect())
        })
    }
    extern "C" fn einsum(_: Text, _: RawTensors) -> ApiResult<RawTensor> {
        absent("einsum")
    }
    extern "C" fn call_op(_: Text, _: Text, _: RVec<RawArgument>) -> ApiResult<RawTensorList> {
        absent("call_op")
    }
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
        describe,
        gradients,
        einsum,
        call_op,
    }
    .leak_into_prefix()
}

fn made(values: Vec<f64>, sizes: Vec<i64>, dtype: DType) -> ApiResult<RawTensor> {
    call(|world| {
        if sizes.iter().product::<i64>() != values.len() as i64 {
            return Err(Error::new(format!(
                "{} values do not fill a tensor of shape {sizes:?}",
                values.len()
            )));
        }
        let tensor = world.add(String::from("constant"), &sizes, dtype, Some(values));
        Ok(give(world, tensor))
    })
}

fn absent<T>(service: &str) -> ApiResult<T> {
    guard(|| Err(Error::new(format!("`{service}` is not available in the recording host"))))
}
