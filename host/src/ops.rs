//! The host side of the plugin border.

pub mod services;
