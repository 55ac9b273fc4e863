//! Which services a call of a plugin refers to. Each call of a hook gets a fresh number, valid on the thread of the hook and until
//! the hook returns.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use coin_plugin_api::abi::Context;

use super::handle::{ServiceStack, set_grad_enabled};
use super::services::{Services, Unavailable};

/// Low bits of a context, which count; the bits above name the thread.
const COUNT_BITS: u32 = 44;

static THREADS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static STACK: ServiceStack = ServiceStack::default();
    static NEXT: Cell<u64> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) << COUNT_BITS);
}

/// Makes `services` available to the hook that `body` calls with the context, and to nobody afterwards. Also puts the thread's
/// gradient mode back, whatever the hook did to it.
pub fn enter<R>(services: &dyn Services, body: impl FnOnce(Context) -> R) -> R {
    let context = Context(NEXT.replace(NEXT.get() + 1));
    let _mode = GradMode::keep();
    STACK.with(|stack| stack.scope(context, services, || body(context)))
}

/// Calls `body` with the services of a context.
///
/// # Errors
/// The hook of the context has returned, or runs on another thread; whatever `body` returns.
pub fn with<T>(context: Context, body: impl FnOnce(&dyn Services) -> Result<T>) -> Result<T> {
    if context.0 >> COUNT_BITS != NEXT.get() >> COUNT_BITS {
        let message = "it was called from another thread than its hook\nhint: services work on the thread the hook was called on";
        return Err(Unavailable(message.into()).into());
    }
    STACK.with(|stack| stack.with(Some(context), body)).unwrap_or_else(|| {
        let message = "the hook has returned\nhint: keep ids and numbers from one hook to the next, never what the host lent to it";
        Err(Unavailable(message.into()).into())
    })
}

/// Calls `body` with the services of the innermost hook of this thread, if one runs.
pub(super) fn innermost<R>(body: impl FnOnce(&dyn Services) -> R) -> Option<R> {
    STACK.with(|stack| stack.with(None, body))
}

/// Puts the gradient mode back when dropped.
struct GradMode(bool);

impl GradMode {
    fn keep() -> GradMode {
        let mode = set_grad_enabled(true);
        if !mode {
            set_grad_enabled(mode);
        }
        GradMode(mode)
    }
}

impl Drop for GradMode {
    fn drop(&mut self) {
        set_grad_enabled(self.0);
    }
}
