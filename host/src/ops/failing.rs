//! Services that fail when they are told to, to see what a plugin makes of it. Nothing fails unless [`watch`] says so on this thread.

use std::cell::RefCell;
use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::service_entry::NAMES;

/// A service as a hook calls it: the hook and its plugin (`loss of plugin ..`), the service.
pub type Call = (String, String);

thread_local! {
    static WATCHED: RefCell<Option<Watched>> = const { RefCell::new(None) };
}

/// All services that there are: those of a call are among them.
pub fn services() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().flat_map(|(_, names)| names).copied()
}

#[derive(Default)]
struct Watched {
    seen: BTreeSet<Call>,
    /// The call that fails the next time.
    fails: Option<Call>,
}

/// Runs `body`, in which the first call of this kind fails; also gives the kinds of calls that were made.
pub fn watch<T>(fails: Option<&Call>, body: impl FnOnce() -> T) -> (T, BTreeSet<Call>) {
    WATCHED.set(Some(Watched { seen: BTreeSet::new(), fails: fails.cloned() }));
    let result = body();
    let seen = WATCHED.take().map_or_else(BTreeSet::new, |watched| watched.seen);
    (result, seen)
}

/// Notes a call, and refuses it where it is to fail.
pub(super) fn called(hook: impl FnOnce() -> String, service: &str) -> Result<()> {
    WATCHED.with_borrow_mut(|watched| {
        let Some(watched) = watched else { return Ok(()) };
        let call = (hook(), service.to_string());
        let fails = watched.fails.as_ref() == Some(&call);
        watched.seen.insert(call);
        if fails {
            watched.fails = None;
            bail!("it was made to fail, to see what the plugin makes of it");
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_of_the_kind_fails_and_all_kinds_are_told() {
        let call = |hook: &str, service: &str| called(|| hook.to_string(), service);
        assert!(call("loss", "step").is_ok(), "nobody watches");
        let fails = (String::from("loss"), String::from("step"));
        let (outcome, seen) = watch(Some(&fails), || {
            [call("adapt", "step"), call("loss", "step"), call("loss", "step")].map(|result| result.is_ok())
        });
        assert_eq!(outcome, [true, false, true]);
        assert_eq!(seen.len(), 2);
        assert!(call("loss", "step").is_ok(), "nobody watches any more");
    }
}
