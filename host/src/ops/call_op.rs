//! Any operator of libtorch by name, through the C interface of its dispatcher.

use std::ffi::{CStr, CString, c_char};
use std::mem::ManuallyDrop;

use anyhow::{Result, bail, ensure};
use coin_plugin_api::abi::{RawArgument, RawTensor};
use tch::Tensor;

use super::schema::{self, Parameter};
use super::services::Unavailable;
use super::{context, entry, handle};

unsafe extern "C" {
    fn aoti_torch_call_dispatcher(operator: *const c_char, overload: *const c_char, stack: *mut u64) -> i32;
    fn torch_exception_get_what_without_backtrace() -> *const c_char;
    fn torch_new_stable_ivalue(value: *mut *mut u64) -> i32;
}

/// An argument that fits its parameter.
enum Checked<'a> {
    None,
    Tensor(handle::Lent<'a>),
    Bits(u64),
}

/// Calls an operator.
///
/// # Errors
/// The hook was not granted `call_op`; an operator that [`schema::find`] refuses; arguments that do not fit its declaration; whatever
/// the operator itself refuses.
pub(super) fn call_op(name: &str, overload: &str, arguments: &[RawArgument]) -> Result<Vec<Tensor>> {
    granted()?;
    let operator = schema::find(name, overload)?;
    ensure!(
        arguments.len() == operator.parameters.len(),
        "{} arguments, but it takes {}\nhint: aten::{}",
        arguments.len(),
        operator.parameters.len(),
        operator.declaration
    );
    let raws: Vec<RawTensor> = arguments.iter().map(|argument| RawTensor(argument.value as usize)).collect();
    let mut checked = Vec::with_capacity(arguments.len());
    for ((argument, raw), parameter) in arguments.iter().zip(&raws).zip(&operator.parameters) {
        match check(argument, raw, parameter)? {
            Some(argument) => checked.push((argument, parameter.optional)),
            None => bail!(
                "`{}` is {}, but the operator takes `{}{}`\nhint: aten::{}",
                parameter.name,
                describe(argument),
                parameter.type_name,
                if parameter.optional { "?" } else { "" },
                operator.declaration
            ),
        }
    }
    dispatch(name, overload, &checked, operator.results)
}

fn granted() -> Result<()> {
    match context::innermost(|services| (services.call_op_granted(), services.hook())) {
        Some((true, _)) => Ok(()),
        Some((false, hook)) => {
            let hint =
                "hint: the plugin declares the need `call_op` and the run sets protocol.call_op = true";
            Err(Unavailable(format!("it is not granted to {hook}\n{hint}")).into())
        }
        None => Err(Unavailable("it works inside a hook, on the thread of the hook".into()).into()),
    }
}

fn check<'a>(
    argument: &RawArgument,
    raw: &'a RawTensor,
    parameter: &Parameter,
) -> Result<Option<Checked<'a>>> {
    Ok(match (argument.kind, parameter.type_name.as_str()) {
        (0, _) if parameter.optional => Some(Checked::None),
        (1, "Tensor") => Some(Checked::Tensor(handle::borrow(raw)?)),
        (2, "int" | "SymInt") => Some(Checked::Bits(argument.value)),
        (3, "bool") => Some(Checked::Bits(argument.value)),
        _ => None,
    })
}

/// Calls the dispatcher with arguments that fit the operator's declaration.
fn dispatch(
    name: &str,
    overload: &str,
    arguments: &[(Checked<'_>, bool)],
    results: usize,
) -> Result<Vec<Tensor>> {
    let name = CString::new(format!("aten::{}", name.trim_start_matches("aten::")))?;
    let overload = CString::new(overload)?;
    let mut stack = vec![0; arguments.len().max(results)];
    for (slot, (argument, optional)) in stack.iter_mut().zip(arguments) {
        let bits = match argument {
            Checked::None => continue,
            Checked::Bits(bits) => *bits,
            // The dispatcher takes the arguments it is given, so it gets handles of its own.
            Checked::Tensor(tensor) => ManuallyDrop::new(tensor.shallow_clone()).as_mut_ptr() as u64,
        };
        *slot = if *optional { boxed(bits)? } else { bits };
    }
    // SAFETY: names end with a zero; the stack has room for arguments and results, and each argument has the type that the operator
    // declares, which `check` made sure of.
    let status = unsafe { aoti_torch_call_dispatcher(name.as_ptr(), overload.as_ptr(), stack.as_mut_ptr()) };
    if status != 0 {
        // SAFETY: libtorch keeps the text of this thread's last exception until the next one.
        let text = unsafe { CStr::from_ptr(torch_exception_get_what_without_backtrace()) };
        bail!("{}", text.to_string_lossy().lines().next().unwrap_or("an error without a message"));
    }
    // SAFETY: the operator returns this many tensors, each of them a handle that we own now.
    Ok(stack[..results].iter().map(|bits| unsafe { Tensor::from_ptr(*bits as *mut _) }).collect())
}

/// An optional argument that is there: the dispatcher takes it by an address and frees that.
fn boxed(bits: u64) -> Result<u64> {
    let mut place = std::ptr::null_mut();
    // SAFETY: fills `place` with a new allocation, or fails.
    let status = unsafe { torch_new_stable_ivalue(&raw mut place) };
    ensure!(status == 0 && !place.is_null(), "no memory for an argument");
    // SAFETY: `place` was just allocated for one value.
    unsafe { place.write(bits) };
    Ok(place as u64)
}

/// An argument as a message shows it.
pub(super) fn describe(argument: &RawArgument) -> String {
    match argument.kind {
        0 => "none".into(),
        1 => handle::borrow(&RawTensor(argument.value as usize))
            .map_or_else(|_| "a missing tensor".into(), |tensor| entry::describe_tensor(&tensor)),
        2 => format!("int {}", argument.value.cast_signed()),
        3 => format!("bool {}", argument.value != 0),
        other => format!("of unknown kind {other}"),
    }
}
