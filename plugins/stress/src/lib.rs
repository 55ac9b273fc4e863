//! A method that misbehaves on purpose, for tests of what the host makes of it. Without a fault it is a small LoRA with a strategy that
//! does nothing.

mod config;
mod fault;
mod hoard;
mod method;
mod phases;
mod reach;
mod services;

use coin_plugin_api::export_plugin;

export_plugin! { name: "stress", method: method::build, needs: [StageData, Teacher] }
