//! The stack of a method. The host checks what all plugins share and leaves a plugin's own keys to the plugin.

use toml_edit::Value;

use crate::config::ConfigError;
use crate::config::check::{plain, shown};
use crate::config::nearest::nearest;
use crate::config::origin::join;
use crate::config::tree::Tree;

/// Checks one stack: tables that each name a plugin, and the keys whose meaning is the same in every plugin.
pub(crate) fn check(tree: &Tree, path: &str, value: &Value) -> Result<(), ConfigError> {
    let fault = |path: &str, reason: String| ConfigError::new(reason).at(tree.origins.of(path)).key(path);
    let Some(entries) = value.as_array() else {
        let reason = format!("expected a list of tables, each with a `plugin`, found {}", shown(value));
        return Err(fault(path, reason).hint("for example `stack = [{ plugin = \"lora\", r = 16 }]`"));
    };
    if entries.is_empty() {
        return Err(
            fault(path, "the stack is empty".into()).hint("for example `stack = [{ plugin = \"lora\" }]`")
        );
    }
    for (index, entry) in entries.iter().enumerate() {
        let path = join(path, &index.to_string());
        let Some(table) = entry.as_inline_table() else {
            return Err(fault(&path, format!("expected a table with a `plugin`, found {}", shown(entry)))
                .hint(format!("write `{{ plugin = {} }}`", plain(entry))));
        };
        match table.get("plugin").map(|name| (name, name.as_str())) {
            Some((_, Some(name))) if !name.trim().is_empty() => {}
            Some((value, _)) => {
                let path = join(&path, "plugin");
                return Err(fault(&path, format!("expected the name of a plugin, found {}", shown(value))));
            }
            None => {
                let near = nearest("plugin", table.iter().map(|(key, _)| key));
                return Err(fault(&path, "the entry names no plugin".into()).hint(match near {
                    Some(near) => format!("did you mean `plugin` where `{near}` stands?"),
                    None => "begin it with `plugin = \"NAME\"`; `coin-host plugin list` lists names".into(),
                }));
            }
        }
        for (key, value) in table {
            let path = join(&path, key);
            check_finite(tree, &path, value)?;
            if let Some(words) = shared_fault(key, value) {
                return Err(fault(&path, format!("expected {words}, found {}", shown(value))));
            }
        }
    }
    Ok(())
}

/// What a key with a meaning shared by all plugins (PEFT's names) would have to be, where it is not.
fn shared_fault(key: &str, value: &Value) -> Option<&'static str> {
    let number = value.as_float().or(value.as_integer().map(|n| n as f64));
    let (fine, words) = match key {
        "r" => (value.as_integer().is_some_and(|r| r >= 1), "a whole number of at least 1"),
        "lora_alpha" => (number.is_some_and(|alpha| alpha > 0.0), "a number above 0"),
        "lora_dropout" => {
            (number.is_some_and(|p| (0.0..1.0).contains(&p)), "a number of at least 0 and below 1")
        }
        _ => return None,
    };
    (!fine).then_some(words)
}

/// Refuses what is no number anywhere beneath a value, and dates, which no plugin can be given.
pub(crate) fn check_finite(tree: &Tree, path: &str, value: &Value) -> Result<(), ConfigError> {
    let fault = || {
        ConfigError::new(format!(
            "expected a finite number, text, flag, list or table, found {}",
            shown(value)
        ))
        .at(tree.origins.of(path))
        .key(path)
    };
    match value {
        Value::Float(number) if !number.value().is_finite() => Err(fault()),
        Value::Datetime(_) => Err(fault()),
        Value::Array(items) => (0..)
            .zip(items)
            .try_for_each(|(index, item)| check_finite(tree, &join(path, &index.to_string()), item)),
        Value::InlineTable(table) => {
            table.iter().try_for_each(|(key, value)| check_finite(tree, &join(path, key), value))
        }
        _ => Ok(()),
    }
}
