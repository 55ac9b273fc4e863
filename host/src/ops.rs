//! The host side of the plugin border.
