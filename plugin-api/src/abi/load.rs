//! The layout check of a loaded library, in both directions, and its findings as one line per mismatch.

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{AbiInstability, AbiInstabilityErrors, check_layout_compatibility};
use abi_stable::library::{CheckTypeLayout, LibHeader, RootModuleResult};

use super::plugin::PluginRef;

/// How old a plugin's border is, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It knows at least what the host knows.
    SameOrNewer,
    /// It knows less; every group it knows is a prefix of the host's.
    Older,
}

/// Checks that host and plugin mean the same by every type they share, then gives the plugin's root module.
///
/// abi_stable's own check takes a library to be at least as new as its loader. A plugin may also be older: then the same check
/// passes with its two sides swapped.
///
/// # Errors
/// One line for each mismatch: where, what the host has, what the plugin has.
pub fn check(header: &'static LibHeader) -> Result<(PluginRef, Age), String> {
    let theirs = header.layout().ok_or("the plugin carries no layout information")?;
    let ours = <PluginRef as StableAbi>::LAYOUT;
    match check_layout_compatibility(ours, theirs) {
        Ok(()) => match header.init_root_module::<PluginRef>() {
            Ok(module) => Ok((module, Age::SameOrNewer)),
            Err(error) => Err(error.to_string()),
        },
        Err(first) => match check_layout_compatibility(theirs, ours) {
            // SAFETY: every type the plugin knows is a prefix of ours. Growth sits behind `last_prefix_field`, whose accessors test
            // a bitset at run time; every other type was compared for equality.
            Ok(()) => unsafe { header.unchecked_layout::<PluginRef>() }
                .map(|module| (module, Age::Older))
                .map_err(|error| format!("{error:?}")),
            Err(_) => Err(mismatches(&first)),
        },
    }
}

/// The header of a plugin library, which `export_plugin!` exports.
#[doc(hidden)]
pub const fn header(constructor: extern "C" fn() -> RootModuleResult) -> LibHeader {
    // SAFETY: the only caller is `export_plugin!`, whose constructor makes a `PluginRef`.
    unsafe { LibHeader::from_constructor::<PluginRef>(constructor, CheckTypeLayout::Yes) }
}

fn mismatches(found: &AbiInstabilityErrors) -> String {
    let mut lines: Vec<String> = Vec::new();
    for place in &found.errors {
        let path: Vec<String> = place.stack_trace.iter().map(|step| step.expected.to_string()).collect();
        let path = if path.is_empty() { String::from("root") } else { path.join(" > ") };
        for error in &place.errs {
            let line = format!("at {}: {}", first_line(&path), difference(error));
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines.join("\n")
}

fn difference(error: &AbiInstability) -> String {
    let text = format!("{error:?}");
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
