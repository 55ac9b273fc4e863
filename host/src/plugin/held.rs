//! What a plugin made, until it ends: its end is author's code as well, so it leaves a trace and has its plugin's name on what it says.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use super::breadcrumb::Trace;
use super::caller::Caller;
use super::hook::Hook;
use crate::ops;

/// An object of a plugin.
pub(super) struct Held<T> {
    // Fields end in this order, so that the object does between the two.
    _first: First,
    object: T,
    _last: Last,
}

struct First {
    caller: Caller,
    trace: Shared,
}

struct Last(Shared);

type Shared = Arc<Mutex<Option<Trace>>>;

impl<T> Held<T> {
    pub(super) fn new(caller: &Caller, object: T) -> Held<T> {
        let trace = Shared::default();
        Held {
            _first: First { caller: caller.clone(), trace: Arc::clone(&trace) },
            object,
            _last: Last(trace),
        }
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.object
    }
}

impl Drop for First {
    fn drop(&mut self) {
        ops::set_log_speaker(Some(format!("{} of plugin {}", Hook::Drop.name(), self.caller)));
        *self.trace.lock().unwrap_or_else(PoisonError::into_inner) = self.caller.trace(Hook::Drop, None);
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        ops::set_log_speaker(None);
    }
}
