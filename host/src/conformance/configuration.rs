//! What a method makes of its configuration.

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use super::check::Verdict;
use super::child::Place;
use super::testbed::Testbed;
use super::trial::{Method, Record, Trial};
use crate::compare::message::message;
use crate::config::StackEntry;
use crate::plugin::PluginError;

const UNKNOWN: &str = "no-such-key";
/// Steps of a stage with an odd value.
const STEPS: usize = 2;

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

/// Each key with a value of another type, then with odd ones of its own; keys without a default with odd ones of every type.
pub(super) fn values(place: &Place) -> Result<Verdict> {
    let testbed = Testbed::new(tch::Kind::Float, STEPS, place.scratch())?;
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
            if let Some(fault) = panic_with(place, &testbed, key, odd) {
                return Ok(fault);
            }
        }
    }
    let no_default = |key: &String| !defaults.contains_key(key) && key != UNKNOWN;
    for key in known_keys(place)?.into_iter().filter(no_default) {
        let kinds = [Value::Integer(0), Value::Float(0.0), Value::String(String::new())];
        let more = [Value::Boolean(false), Value::Array(Vec::new())];
        for odd in kinds.iter().chain(&more).flat_map(odd_values) {
            if let Some(fault) = panic_with(place, &testbed, &key, odd) {
                return Ok(fault);
            }
        }
    }
    Ok(Verdict::Pass)
}

fn panic_with(place: &Place, testbed: &Testbed, key: &str, odd: Value) -> Option<Verdict> {
    let shown = odd.to_string();
    let error = short(place, testbed, &Table::from_iter([(key.to_string(), odd)])).err()?;
    if !PluginError::within(&error).is_some_and(PluginError::is_panic) {
        return None;
    }
    let hint = "hint: refuse the value in `build` with `Error::config`";
    Some(Verdict::Fail(format!("`{key} = {shown}`: {}\n{hint}", message(&error))))
}

/// The keys that the plugin names where it refuses one: an option without a value stands in no default.
fn known_keys(place: &Place) -> Result<Vec<String>> {
    let keys = Table::from_iter([(String::from(UNKNOWN), Value::Integer(1))]);
    let refusal = build(place, &keys).err().map(|error| format!("{error:#}"));
    Ok(refusal.as_deref().map(named_keys).unwrap_or_default())
}

/// As serde lists them: ``expected one of `a`, `b` ``.
fn named_keys(refusal: &str) -> Vec<String> {
    let Some((_, listed)) = refusal.split_once(", expected ") else { return Vec::new() };
    let listed = listed.lines().next().unwrap_or_default();
    listed.split('`').skip(1).step_by(2).map(str::to_string).collect()
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

/// Every hook but `load`: builds it, trains and answers a short stage, saves, and begins the next one.
fn short(place: &Place, testbed: &Testbed, keys: &Table) -> Result<()> {
    let world = testbed.world()?;
    let stack = stack(place, keys)?;
    let mut trial = Trial::build(&world, Method { stack: &stack, ..place.method(0) })?;
    let mut record = Record::default();
    let running = trial.begin(0)?;
    trial.finish(running, &mut record)?;
    trial.answer(0, &mut record)?;
    for (_, strategy) in &trial.strategies {
        strategy.save()?;
    }
    trial.begin(1).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_a_refusal() {
        let refusal = "plugin a 0.1.0: unknown field `no-such-key`, expected one of `r`, `alpha`\nhint: `x`";
        assert_eq!(named_keys(refusal), ["r", "alpha"]);
        assert_eq!(named_keys("unknown field `x`, expected `r`"), ["r"]);
        assert_eq!(named_keys("unknown field `x`, there are no fields"), [""; 0]);
    }

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
