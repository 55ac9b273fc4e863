//! Plugins: found, verified, loaded, and called through wrappers that put the plugin's name on every error.
//!
//! The order, each step with its own error: find the library ([`discover`]), read its manifest ([`manifest`]), read the file once,
//! compare size and sha256 ([`verify`], [`lock`], [`trust`]), look at its headers ([`elf`]), load exactly these bytes ([`load`]),
//! check api version and layout, compare what it says of itself with the manifest, hand it the host. Up to the last but three steps
//! no code of the plugin runs; listing stops there.

pub mod archive;
pub mod breadcrumb;
mod caller;
pub mod capability;
pub mod catalog;
mod dataset;
pub mod discover;
pub mod elf;
mod error;
pub mod fetch;
mod given;
mod guard;
mod held;
pub mod hook;
pub mod index;
pub mod keyring;
pub mod listing;
pub mod load;
mod loaded;
pub mod lock;
pub mod manifest;
mod method;
pub mod package;
pub mod scaffold;
pub mod secret;
pub mod shelf;
pub mod shipped;
pub mod signature;
pub mod trust;
pub mod verify;

pub use catalog::Catalog;
pub use dataset::Dataset;
pub use error::PluginError;
pub use loaded::Plugin;
pub use method::{Adapter, Method, Strategy, Term};
