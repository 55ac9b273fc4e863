//! Nothing unwinds across the border: panics become errors that say where they happened.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::abi::{ApiError, ApiResult};
use crate::error::{Error, Result};

thread_local! {
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `body`; a panic inside it becomes an error.
pub(crate) fn guard<T>(body: impl FnOnce() -> Result<T>) -> ApiResult<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => ApiResult::ROk(value),
        Ok(Err(error)) => ApiResult::RErr(ApiError::from(error)),
        Err(payload) => {
            let what = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_string())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| String::from("a panic without a message"));
            // A payload whose own drop panics would unwind across the border.
            std::mem::forget(payload);
            let place = LOCATION.with_borrow_mut(Option::take);
            let message = match place {
                Some(place) => format!("panicked at {place}: {what}"),
                None => format!("panicked: {what}"),
            };
            ApiResult::RErr(ApiError::from(Error::panic(message)))
        }
    }
}

/// Makes this library's panics silent and remembers where they happened. Each plugin has its own standard library, so the host's
/// hook does not see them.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|information| {
            let place = information.location().map(ToString::to_string);
            LOCATION.with_borrow_mut(|slot| *slot = place);
        }));
    });
}
