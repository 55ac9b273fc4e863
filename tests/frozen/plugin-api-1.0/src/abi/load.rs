//! The layout check of a loaded library, in both directions, and its findings as one line per mismatch.

use std::fmt::Display;

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{
    AbiInstability, AbiInstabilityErrors, check_layout_compatibility,
};
use abi_stable::library::{CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::type_layout::{TLField, TLFieldOrFunction};

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

/// Exports the header of a library whose root module a function makes; for `export_plugin!`.
#[doc(hidden)]
#[macro_export]
macro_rules! export_header {
    ($root_module:ident) => {
        extern "C" fn load_root_module() -> $crate::abi_stable::library::RootModuleResult {
            $crate::abi_stable::library::__call_root_module_loader($root_module)
        }

        // The name that abi_stable's loader looks up.
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals, reason = "abi_stable fixes the name")]
        pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::abi_stable::library::LibHeader =
            $crate::abi::load::header(load_root_module);
    };
}

/// At most this many mismatches are told: one changed type makes more in everything that holds it.
const TOLD: usize = 8;

/// One line for each place that differs, the telling difference of each.
fn mismatches(found: &AbiInstabilityErrors) -> String {
    let mut lines: Vec<String> = Vec::new();
    for place in &found.errors {
        let Some(error) = place.errs.iter().min_by_key(|error| weight(error)) else { continue };
        let mut path: Vec<String> = Vec::new();
        for step in &place.stack_trace {
            let name = step_name(&step.expected);
            if path.last() != Some(&name) {
                path.push(name);
            }
        }
        let path = if path.is_empty() { String::from(found.interface.name()) } else { path.join(" > ") };
        let line = format!("at {path}: {}", difference(error));
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if lines.len() > TOLD {
        let more = lines.len() - TOLD;
        lines.truncate(TOLD);
        lines.push(format!("and at {more} more places"));
    }
    lines.join("\n")
}

fn step_name(step: &TLFieldOrFunction) -> String {
    match step {
        // What a reference to a group points to says more than that it is the first field of the reference.
        TLFieldOrFunction::Field(field) if field.name() == "0" => field.full_type().to_string(),
        TLFieldOrFunction::Field(field) => field.name().to_string(),
        TLFieldOrFunction::Function(function) => function.name.to_string(),
    }
}

/// Another name says more than the sizes that follow from it.
fn weight(error: &AbiInstability) -> u32 {
    match error {
        AbiInstability::Name(_)
        | AbiInstability::UnexpectedField(_)
        | AbiInstability::UnexpectedVariant(_) => 0,
        AbiInstability::FieldCountMismatch(_) | AbiInstability::TooManyVariants(_) => 1,
        AbiInstability::Size(_) | AbiInstability::Alignment(_) | AbiInstability::MismatchedPrefixSize(_) => 3,
        _ => 2,
    }
}

fn difference(error: &AbiInstability) -> String {
    match error {
        AbiInstability::Name(pair) => both("type ", &pair.expected, &pair.found),
        AbiInstability::UnexpectedField(pair) => {
            let field = |field: &TLField| format!("`{}: {}`", field.name(), field.full_type());
            both("field ", &field(&pair.expected), &field(&pair.found))
        }
        AbiInstability::UnexpectedVariant(pair) => both("variant ", &pair.expected, &pair.found),
        AbiInstability::FieldCountMismatch(pair) => both("fields: ", &pair.expected, &pair.found),
        AbiInstability::TooManyVariants(pair) => both("variants: ", &pair.expected, &pair.found),
        AbiInstability::PackageVersion(pair) => both("version ", &pair.expected, &pair.found),
        AbiInstability::Package(pair) => both("package ", &pair.expected, &pair.found),
        AbiInstability::Size(pair) => both("bytes: ", &pair.expected, &pair.found),
        AbiInstability::Alignment(pair) => both("alignment ", &pair.expected, &pair.found),
        AbiInstability::MismatchedPrefixSize(pair) => {
            both("fields of the first version: ", &pair.expected, &pair.found)
        }
        AbiInstability::FnLifetimeMismatch(pair) | AbiInstability::FnQualifierMismatch(pair) => {
            both("function ", &flat(&pair.expected), &flat(&pair.found))
        }
        AbiInstability::GenericParamCount(pair) => both("type ", &pair.expected, &pair.found),
        // The rest has no short form of its own: the name of the difference.
        other => {
            let text = format!("{other:?}");
            text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_string()
        }
    }
}

fn both(what: &str, host: &impl Display, plugin: &impl Display) -> String {
    format!("host {what}{host}, plugin {what}{plugin}")
}

fn flat(text: &impl Display) -> String {
    text.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group as the host has it, and the same group as plugins built against changed sources have it.
    macro_rules! group {
        ($name:ident { $($field:ident: $Type:ty),* ; $last:ident: $Last:ty $(; $later:ident: $Later:ty)? }) => {
            #[allow(dead_code, missing_docs, unreachable_pub, reason = "only its layout is looked at")]
            mod $name {
                #[repr(C)]
                #[derive(abi_stable::StableAbi)]
                #[sabi(kind(Prefix(prefix_ref = GroupRef, prefix_fields = GroupPrefix)))]
                pub struct Group {
                    $( pub $field: $Type, )*
                    #[sabi(last_prefix_field)]
                    pub $last: $Last,
                    $( pub $later: $Later, )?
                }
            }
        };
    }

    group!(host { scale: extern "C" fn(u64, f64) -> u64 ; add: extern "C" fn(u64, u64) -> u64 });
    group!(grown { scale: extern "C" fn(u64, f64) -> u64 ; add: extern "C" fn(u64, u64) -> u64 ; sub: extern "C" fn(u64) -> u64 });
    group!(changed { scale: extern "C" fn(u64, u32) -> u64 ; add: extern "C" fn(u64, u64) -> u64 });
    group!(inserted { scale: extern "C" fn(u64, f64) -> u64, mul: extern "C" fn(u64, u64) -> u64 ; add: extern "C" fn(u64, u64) -> u64 });
    group!(renamed { scaled: extern "C" fn(u64, f64) -> u64 ; add: extern "C" fn(u64, u64) -> u64 });

    fn compare<H: StableAbi, P: StableAbi>() -> Result<(), String> {
        check_layout_compatibility(H::LAYOUT, P::LAYOUT).map_err(|error| mismatches(&error))
    }

    #[test]
    fn what_grew_is_taken_and_what_changed_is_told_in_a_line() {
        assert_eq!(compare::<host::GroupRef, host::GroupRef>(), Ok(()));
        assert_eq!(compare::<host::GroupRef, grown::GroupRef>(), Ok(()));
        let changed = compare::<host::GroupRef, changed::GroupRef>().expect_err("another argument");
        assert_eq!(changed, "at Group > scale > param_1: host type f64, plugin type u32");
        for text in
            [compare::<host::GroupRef, inserted::GroupRef>(), compare::<host::GroupRef, renamed::GroupRef>()]
        {
            let text = text.expect_err("another field");
            assert!(text.lines().count() <= 3 && text.contains("host field `"), "{text}");
        }
    }
}
