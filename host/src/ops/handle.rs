//! Handles and tensors: where an address from across the border becomes a tensor and a tensor becomes an address.
//!
//! A handle is the address of a C++ tensor object, so crossing costs no allocation. Arguments are borrowed and results are owned by
//! whoever receives them, on both sides.
//!
//! Handles reach these functions from across the border only, where a plugin has no way to make one up in safe code.

use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context as _, Result, ensure};
use coin_plugin_api::abi::{Context, Floats, Ints, RawTensor, RawTensors, Text};
use tch::Tensor;

use super::services::Services;

static LIVE: AtomicI64 = AtomicI64::new(0);

/// Handles that plugins own now: given to them and not yet released or handed back. Counts the whole process.
pub fn live_handles() -> i64 {
    LIVE.load(Ordering::Relaxed)
}

thread_local! {
    /// The part of `LIVE` that this thread gave and took back.
    static LIVE_HERE: Cell<i64> = const { Cell::new(0) };
}

fn count(change: i64) {
    LIVE.fetch_add(change, Ordering::Relaxed);
    LIVE_HERE.set(LIVE_HERE.get() + change);
}

/// Tells what became of the handles that were given while a hook ran.
#[derive(Debug, Clone, Copy)]
pub struct HandleCount {
    process: i64,
    thread: i64,
}

impl HandleCount {
    pub fn now() -> HandleCount {
        HandleCount { process: live_handles(), thread: LIVE_HERE.get() }
    }

    /// Handles that this thread gave since then and that nobody in the process has given back. Other threads run hooks of their own;
    /// a plugin may also release on a thread of its own.
    pub fn since(self) -> i64 {
        let now = HandleCount::now();
        (now.process - self.process).min(now.thread - self.thread)
    }
}

/// A tensor that somebody else owns.
pub(super) struct Lent<'a> {
    tensor: ManuallyDrop<Tensor>,
    owner: PhantomData<&'a RawTensor>,
}

impl Deref for Lent<'_> {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

impl Borrow<Tensor> for Lent<'_> {
    fn borrow(&self) -> &Tensor {
        &self.tensor
    }
}

/// Looks at the tensor behind a handle.
///
/// # Errors
/// The handle stands for "no tensor".
pub(super) fn borrow(raw: &RawTensor) -> Result<Lent<'_>> {
    Ok(Lent { tensor: ManuallyDrop::new(tensor(*raw)?), owner: PhantomData })
}

/// Gives a tensor to a plugin, which owns it from then on.
pub(super) fn give(tensor: Tensor) -> RawTensor {
    count(1);
    RawTensor(ManuallyDrop::new(tensor).as_mut_ptr() as usize)
}

/// Takes a tensor that a plugin owned.
///
/// # Errors
/// The handle stands for "no tensor".
pub fn take(raw: RawTensor) -> Result<Tensor> {
    let tensor = tensor(raw)?;
    count(-1);
    Ok(tensor)
}

/// Takes a tensor that a plugin owned, where it may leave it out.
pub fn take_optional(raw: RawTensor) -> Option<Tensor> {
    take(raw).ok()
}

/// Shows a tensor to a plugin for the length of one call: the handle must not outlive the tensor.
pub fn lend(tensor: &Tensor) -> RawTensor {
    RawTensor(tensor.as_ptr() as usize)
}

fn tensor(raw: RawTensor) -> Result<Tensor> {
    ensure!(!raw.is_none(), "a tensor is missing");
    // SAFETY: a handle that is not null came from `give` or `lend`, whose tensors live until they are taken or the call ends.
    Ok(unsafe { Tensor::from_ptr(raw.0 as *mut torch_sys::C_tensor) })
}

/// The tensors behind borrowed handles.
pub(super) fn tensors(raws: &RawTensors) -> Result<Vec<Lent<'_>>> {
    // SAFETY: the border lends a slice for the length of the call, in which `raws` lives.
    let raws: &[RawTensor] = unsafe { raws.as_slice() };
    raws.iter().map(borrow).collect()
}

/// Borrowed integers.
pub(super) fn ints(raw: &Ints) -> &[i64] {
    // SAFETY: the border lends a slice for the length of the call, in which `raw` lives.
    unsafe { raw.as_slice() }
}

/// Borrowed floating point numbers.
pub(super) fn floats(raw: &Floats) -> &[f32] {
    // SAFETY: the border lends a slice for the length of the call, in which `raw` lives.
    unsafe { raw.as_slice() }
}

/// Borrowed text.
///
/// # Errors
/// It is not UTF-8.
pub(super) fn text(raw: &Text) -> Result<&str> {
    // SAFETY: the border lends a slice for the length of the call, in which `raw` lives.
    std::str::from_utf8(unsafe { raw.as_slice() }).context("a name or message is not UTF-8")
}

/// Sets the gradient mode of this thread and returns the previous one.
pub fn set_grad_enabled(enabled: bool) -> bool {
    // SAFETY: sets a flag of this thread.
    unsafe { torch_sys::at_grad_set_enabled(i32::from(enabled)) != 0 }
}

/// The services of the hooks that run on one thread, innermost last.
#[derive(Default)]
pub(super) struct ServiceStack {
    entries: RefCell<Vec<(Context, NonNull<dyn Services>)>>,
}

impl ServiceStack {
    /// Has `services` on the stack while `body` runs.
    pub(super) fn scope<R>(&self, context: Context, services: &dyn Services, body: impl FnOnce() -> R) -> R {
        struct Pop<'a>(&'a ServiceStack);
        impl Drop for Pop<'_> {
            fn drop(&mut self) {
                self.0.entries.borrow_mut().pop();
            }
        }

        // SAFETY: this changes the lifetime alone. The entry is gone, also after a panic, before the borrow of `services` ends.
        let services = unsafe {
            std::mem::transmute::<NonNull<dyn Services + '_>, NonNull<dyn Services + 'static>>(NonNull::from(
                services,
            ))
        };
        self.entries.borrow_mut().push((context, services));
        let _pop = Pop(self);
        body()
    }

    /// Calls `body` with the services of a context, or of the innermost one.
    pub(super) fn with<R>(
        &self,
        context: Option<Context>,
        body: impl FnOnce(&dyn Services) -> R,
    ) -> Option<R> {
        let entries = self.entries.borrow();
        let (_, services) = match context {
            Some(context) => entries.iter().rev().find(|(known, _)| *known == context)?,
            None => entries.last()?,
        };
        let services = *services;
        // A service may enter another hook.
        drop(entries);
        // SAFETY: the entry was on the stack of this thread, so the `scope` that borrows its services is a caller of this function.
        Some(body(unsafe { services.as_ref() }))
    }
}
