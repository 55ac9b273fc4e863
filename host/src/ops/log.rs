//! Messages of plugins on their way to whoever shows or keeps them.

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::{PoisonError, RwLock};

use super::context;

/// Receives a message: its level (0 error, 1 warning, 2 information, 3 detail), the hook it comes from or `plugin`, its text.
type Sink = Box<dyn Fn(u32, &str, &str) + Send + Sync>;

static SINK: RwLock<Option<Sink>> = RwLock::new(None);

thread_local! {
    static SPEAKER: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Names who speaks on this thread from now on, where it is not the hook that runs.
pub(crate) fn set_log_speaker(name: Option<String>) {
    SPEAKER.set(name);
}

/// Sends messages of plugins to `sink` instead of standard error.
pub fn set_log_sink(sink: impl Fn(u32, &str, &str) + Send + Sync + 'static) {
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(sink));
}

/// Passes a message on.
pub(super) fn message(level: u32, text: &str) {
    let hook = SPEAKER.with_borrow(Clone::clone).or_else(|| context::innermost(|services| services.hook()));
    let hook = hook.unwrap_or_else(|| "plugin".into());
    match SINK.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
        Some(sink) => sink(level, &hook, text),
        // Nobody is left to hear that standard error is closed.
        None => drop(writeln!(std::io::stderr(), "{hook}: {text}")),
    }
}
