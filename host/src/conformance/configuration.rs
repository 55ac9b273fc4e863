//! What a method makes of its configuration.

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use super::check::Verdict;
use super::child::Place;
use super::trial::{Method, Record, Trial};
use crate::compare::message::message;
use crate::config::StackEntry;
use crate::plugin::PluginError;

const UNKNOWN: &str = "no-such-key";

/// The defaults, left out and written down.
pub(super) fn defaults(place: &Place) -> Result<Verdict> {
    let mut written = place.plugin().description().defaults.clone();
    // What the command line asks for is what is checked.
    written.extend(place.keys().clone());
    for (how, keys) in [("left out", Table::new()), ("written down", written)] {
        if let Err(error) = build(place, &keys) {
            return Ok(Verdict::Fail(format!(
                "with its defaults {how} it is not built: {}",
                message(&error)
            )));
        }
    }
    Ok(Verdict::Pass)
}

/// A key that no plugin knows.
pub(super) fn unknown_keys(place: &Place) -> Result<Verdict> {
    let keys = Table::from_iter([(String::from(UNKNOWN), Value::Integer(1))]);
    Ok(match build(place, &keys) {
        Ok(()) => Verdict::Fail(format!(
            "the key `{UNKNOWN}` is accepted, and so is every misspelt one\nhint: `#[serde(deny_unknown_fields)]` on the configuration"
        )),
        Err(error) if is_configuration(&error) && format!("{error:#}").contains(UNKNOWN) => Verdict::Pass,
        Err(error) => Verdict::Fail(format!(
            "the key `{UNKNOWN}` is refused without its name: {}\nhint: `#[serde(deny_unknown_fields)]` on the configuration",
            message(&error)
        )),
    })
}

/// Each key with a value of another type, then with odd ones of its own.
pub(super) fn values(place: &Place) -> Result<Verdict> {
    let defaults = place.plugin().description().defaults.clone();
    for (key, value) in &defaults {
        let with = |value: Value| Table::from_iter([(key.clone(), value)]);
        if let Some(other) = another_type(value) {
            let shown = other.to_string();
            match build(place, &with(other)) {
                Ok(()) => {
                    return Ok(Verdict::Fail(format!(
                        "`{key} = {shown}` is accepted, where the default is {value}"
                    )));
                }
                Err(error) if is_configuration(&error) => {}
                Err(error) => {
                    let hint = "hint: `Error::config` says that the configuration is at fault";
                    return Ok(Verdict::Fail(format!(
                        "`{key} = {shown}` is not refused as a configuration: {}\n{hint}",
                        message(&error)
                    )));
                }
            }
        }
        for odd in odd_values(value) {
            let shown = odd.to_string();
            if let Err(error) = step(place, &with(odd)) {
                let reason = message(&error);
                if reason.contains("panicked") {
                    let hint = "hint: refuse the value in `build` with `Error::config`";
                    return Ok(Verdict::Fail(format!("`{key} = {shown}`: {reason}\n{hint}")));
                }
            }
        }
    }
    Ok(Verdict::Pass)
}

/// Whether the plugin blames its configuration.
fn is_configuration(error: &anyhow::Error) -> bool {
    let of = |cause: &(dyn std::error::Error + 'static)| {
        matches!(cause.downcast_ref::<PluginError>(), Some(PluginError::Config { .. }))
    };
    error.chain().any(of)
}

fn another_type(value: &Value) -> Option<Value> {
    match value {
        Value::Table(_) => Some(Value::Integer(1)),
        Value::Datetime(_) => None,
        _ => Some(Value::Table(Table::new())),
    }
}

/// Values of the same type that are at the edge of what makes sense, or beyond.
fn odd_values(value: &Value) -> Vec<Value> {
    match value {
        Value::Integer(_) => [-1, 0, 1].map(Value::Integer).to_vec(),
        Value::Float(_) => [-1.0, 0.0, f64::INFINITY, f64::NAN].map(Value::Float).to_vec(),
        Value::String(_) => ["", "no such value"].map(|text| Value::String(text.into())).to_vec(),
        Value::Boolean(value) => vec![Value::Boolean(!value)],
        Value::Array(_) => vec![Value::Array(Vec::new()), Value::Array(vec![Value::String(String::new())])],
        Value::Table(_) | Value::Datetime(_) => Vec::new(),
    }
}

/// The plugin's stack with these keys.
fn stack(place: &Place, keys: &Table) -> Result<Vec<StackEntry>> {
    let mut stack = place.stack().to_vec();
    let own = stack.iter_mut().find(|entry| entry.plugin == place.name());
    own.context("the plugin's own entry")?.config.extend(keys.clone());
    Ok(stack)
}

fn build(place: &Place, keys: &Table) -> Result<()> {
    let world = place.testbed().world()?;
    let stack = stack(place, keys)?;
    Trial::build(&world, Method { stack: &stack, ..place.method(0) }).map(drop)
}

/// Builds it and trains a step.
fn step(place: &Place, keys: &Table) -> Result<()> {
    let world = place.testbed().world()?;
    let stack = stack(place, keys)?;
    let mut trial = Trial::build(&world, Method { stack: &stack, ..place.method(0) })?;
    let mut running = trial.begin(0)?;
    trial.step(&mut running, &mut Record::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_another_one() {
        for (value, other) in [
            (Value::Integer(3), "{}"),
            (Value::String("a".into()), "{}"),
            (Value::Array(Vec::new()), "{}"),
            (Value::Table(Table::new()), "1"),
        ] {
            assert_eq!(
                another_type(&value).map(|other| other.to_string().replace(' ', "")).as_deref(),
                Some(other)
            );
            assert!(odd_values(&value).iter().all(|odd| odd.same_type(&value)));
        }
    }
}
