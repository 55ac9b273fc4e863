//! The border as an author sees it: plugin-api's safe types over the real host, in one process.

use std::sync::Once;

mod hooks;
mod operations;
mod operators;

/// Attaches the plugin-api of this process to its host.
pub(crate) fn attach() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Attaching silences the panics of a plugin. Here they are failures of tests.
        let hook = std::panic::take_hook();
        coin_plugin_api::attach(super::host()).unwrap();
        std::panic::set_hook(hook);
    });
}
