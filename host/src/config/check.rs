//! Holds a tree against the table of keys: unknown keys, wrong types, numbers out of range.

use toml_edit::{InlineTable, Value};

use crate::config::ConfigError;
use crate::config::instruction::{PARTS, VARIANTS};
use crate::config::nearest::nearest;
use crate::config::origin::join;
use crate::config::schema::{Fallback, KEYS, Key, Kind, children, find};
use crate::config::stack;
use crate::config::tree::Tree;

/// The first fault in written order, if any.
pub(crate) fn check(tree: &Tree) -> Result<(), ConfigError> {
    check_table(tree, &tree.values, "", "")
}

fn check_table(tree: &Tree, table: &InlineTable, path: &str, pattern: &str) -> Result<(), ConfigError> {
    let known = children(pattern);
    for (name, value) in table {
        let inner = join(path, name);
        let at = |fault: ConfigError| fault.at(tree.origins.of(&inner)).key(&inner);
        let part = if known.contains(&"*") { "*" } else { name };
        if part == "*" {
            check_name(name).map_err(at)?;
        } else if !known.contains(&name) {
            return Err(at(of_stack(table, path, name).unwrap_or_else(|| unknown(name, path, &known))));
        }
        if let Some(key) = find(&inner) {
            check_value(tree, &inner, value, &key.kind).map_err(|fault| match fault.hint {
                Some(_) => fault,
                None => fault.hint(meaning(key)),
            })?;
        } else if let Some(table) = value.as_inline_table() {
            check_table(tree, table, &inner, &join(pattern, part))?;
        } else {
            let keys = children(&join(pattern, part)).join(", ");
            return Err(at(ConfigError::new(format!("expected a table, found {}", shown(value))))
                .hint(format!("keys of `{inner}`: {keys}")));
        }
    }
    Ok(())
}

/// What a key is for, and what holds without it.
fn meaning(key: &Key) -> String {
    match key.fallback {
        Fallback::Required => key.text.to_string(),
        Fallback::Value(default) | Fallback::Words(default) => format!("{} Default: {default}", key.text),
    }
}

/// A key of a method that is one of a plugin in its stack.
fn of_stack(method: &InlineTable, path: &str, name: &str) -> Option<ConfigError> {
    let stack = method.get("stack")?.as_array()?.iter();
    let entries: Vec<&InlineTable> = stack.filter_map(Value::as_inline_table).collect();
    let having: Vec<_> = entries.iter().copied().filter(|entry| entry.contains_key(name)).collect();
    let meant = if having.is_empty() { entries } else { having };
    let plugins = meant.iter().filter_map(|entry| entry.get("plugin")?.as_str());
    let keys: Vec<String> = plugins.map(|plugin| format!("`{path}.stack.{plugin}.{name}`")).collect();
    let hint = format!("keys of a plugin stand in its place of the stack: {}", keys.join(" or "));
    (!keys.is_empty()).then(|| ConfigError::new("unknown key").hint(hint))
}

fn unknown(name: &str, path: &str, known: &[&str]) -> ConfigError {
    let fault = ConfigError::new("unknown key");
    if let Some(near) = nearest(name, known.iter().copied()) {
        return fault.hint(format!("did you mean `{}`?", join(path, near)));
    }
    let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    if let Some(near) = nearest(name, KEYS.iter().map(|key| last(key.path))) {
        let elsewhere: Vec<_> =
            KEYS.iter().filter(|key| last(key.path) == near).map(|key| format!("`{}`", key.path)).collect();
        return fault.hint(format!("did you mean {}?", elsewhere.join(" or ")));
    }
    let place = if path.is_empty() { "at the top".to_string() } else { format!("in `{path}`") };
    fault.hint(format!("known {place}: {}", known.join(", ")))
}

/// Names become folders of the run and parts of dotted keys.
pub(crate) fn check_name(name: &str) -> Result<(), ConfigError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(plain) && !name.starts_with('-') {
        return Ok(());
    }
    Err(ConfigError::new(format!("`{name}` is no usable name"))
        .hint("names are made of letters, digits, `-` and `_`"))
}

fn check_value(tree: &Tree, path: &str, value: &Value, kind: &Kind) -> Result<(), ConfigError> {
    let at = |fault: ConfigError| fault.at(tree.origins.of(path)).key(path);
    let wrong = || at(ConfigError::new(format!("expected {}, found {}", kind.words(), shown(value))));
    match kind {
        Kind::Text | Kind::Path | Kind::Form(_) => match value.as_str() {
            Some(text) if !text.trim().is_empty() => Ok(()),
            _ => Err(wrong()),
        },
        Kind::Flag => value.as_bool().map(|_| ()).ok_or_else(wrong),
        Kind::Count { least } => match value.as_integer() {
            Some(count) if count >= *least => Ok(()),
            _ => Err(wrong()),
        },
        Kind::Number { least, above, below } => {
            match value.as_float().or(value.as_integer().map(|n| n as f64)) {
                Some(number)
                    if number.is_finite()
                        && least.is_none_or(|least| number >= least)
                        && above.is_none_or(|above| number > above)
                        && below.is_none_or(|below| number < below) =>
                {
                    Ok(())
                }
                _ => Err(wrong()),
            }
        }
        Kind::Choice(names) => match value.as_str() {
            Some(name) if names.contains(&name) => Ok(()),
            Some(name) => Err(match nearest(name, names.iter().copied()) {
                Some(near) => wrong().hint(format!("did you mean `{near}`?")),
                None => wrong(),
            }),
            None => Err(wrong()),
        },
        Kind::List { of, least } => {
            let Some(items) = value.as_array() else {
                return Err(wrong().hint(format!("write `[{}]`", plain(value))));
            };
            if items.len() < *least {
                return Err(at(ConfigError::new("the list is empty")));
            }
            let mut seen = Vec::new();
            for (index, item) in items.iter().enumerate() {
                check_value(tree, &join(path, &index.to_string()), item, of)?;
                let text = plain(item);
                if seen.contains(&text) {
                    return Err(at(ConfigError::new(format!("{text} stands there twice"))));
                }
                seen.push(text);
            }
            Ok(())
        }
        Kind::Pair(of) => {
            let items = value.as_array().filter(|items| items.len() == 2).ok_or_else(wrong)?;
            (0..)
                .zip(items)
                .try_for_each(|(index, item)| check_value(tree, &join(path, &index.to_string()), item, of))
        }
        Kind::Orders => {
            let Some(items) = value.as_array() else {
                return Err(wrong().hint(format!("write `[{}]`", plain(value))));
            };
            if items.is_empty() {
                return Err(
                    at(ConfigError::new("the list is empty")).hint("`orders = [\"written\"]` is the default")
                );
            }
            items.iter().enumerate().try_for_each(|(index, item)| {
                let path = join(path, &index.to_string());
                check_order(item).map_err(|fault| fault.at(tree.origins.of(&path)).key(path))
            })
        }
        Kind::Reference => match value {
            Value::InlineTable(table) if table.len() >= 3 && table.contains_key("method") => {
                stack::check(tree, &join(path, "stack"), table.get("stack").ok_or_else(wrong)?)
            }
            _ => check_value(tree, path, value, &Kind::Text).map_err(|_| wrong()),
        },
        Kind::Instruction => check_instruction(value, true).map_err(at),
        Kind::Stack => stack::check(tree, path, value),
        Kind::Open => {
            let table = value.as_inline_table().ok_or_else(wrong)?;
            stack::check_finite(tree, path, &Value::InlineTable(table.clone()))
        }
    }
}

/// A text, its parts, or a list of these; sets of files of their own stand alone.
fn check_instruction(value: &Value, is_alone: bool) -> Result<(), ConfigError> {
    let wrong =
        || ConfigError::new(format!("expected {}, found {}", Kind::Instruction.words(), shown(value)));
    match value {
        Value::String(text) if text.value().trim().is_empty() => {
            Err(wrong().hint("`none` leaves the instruction out"))
        }
        Value::String(text) if !is_alone && VARIANTS.iter().any(|(name, _)| name == text.value()) => {
            Err(wrong().hint("`diverse` and `10type` are files of their own and stand alone, not in a list"))
        }
        Value::String(text) => wording(text.value()),
        Value::InlineTable(parts) if !parts.is_empty() => {
            for (name, part) in parts {
                if !PARTS.contains(&name) {
                    return Err(ConfigError::new(format!("an instruction has no part `{name}`"))
                        .hint(format!("its parts: {}", PARTS.join(", "))));
                }
                if part.as_str().is_none_or(|text| text.trim().is_empty()) {
                    return Err(ConfigError::new(format!("`{name}` is no text")));
                }
                part.as_str().map_or(Ok(()), places)?;
            }
            Ok(())
        }
        Value::Array(items) if is_alone && !items.is_empty() => {
            items.iter().try_for_each(|item| check_instruction(item, false))
        }
        _ => Err(wrong()),
    }
}

/// A name is written as it is; what is nearly one would become the text of every prompt.
fn wording(text: &str) -> Result<(), ConfigError> {
    let plain = text.trim().to_ascii_lowercase();
    let plain = plain.strip_prefix("instructions_").unwrap_or(&plain);
    let mut names = VARIANTS.iter().map(|(name, _)| *name).chain(["original", "none"]);
    match names.find(|name| *name == plain && *name != text) {
        Some(name) => Err(ConfigError::new(format!("`{text}` is no instruction"))
            .hint(format!("the name of that one is `{name}`"))),
        None => places(text),
    }
}

/// The one place that a wording has is the question's.
fn places(text: &str) -> Result<(), ConfigError> {
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once('{') {
        let Some((name, after)) = behind.split_once('}') else { return Ok(()) };
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if is_name && name != "question" {
            return Err(ConfigError::new(format!("a wording has no place `{{{name}}}`"))
                .hint("`{question}` is where the question goes; there is no other"));
        }
        rest = after;
    }
    Ok(())
}

/// `"name"`, `["task", ..]` or `{ name = "..", tasks = [..] }`.
fn check_order(item: &Value) -> Result<(), ConfigError> {
    let names = |value: &Value| {
        value
            .as_array()
            .is_some_and(|items| !items.is_empty() && items.iter().all(|item| item.as_str().is_some()))
    };
    let fine = match item {
        Value::String(_) => true,
        Value::Array(_) => names(item),
        Value::InlineTable(table) => {
            table.len() == 2
                && table.get("name").is_some_and(|name| name.as_str().is_some())
                && table.get("tasks").is_some_and(names)
        }
        _ => false,
    };
    if fine {
        return Ok(());
    }
    Err(ConfigError::new(format!("expected an order, found {}", shown(item)))
        .hint("an order is a name, `random:N`, a list of task names, or `{ name = \"..\", tasks = [..] }`"))
}

/// A value as it would be written, without the blanks and comments around it.
pub(crate) fn plain(value: &Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    value.to_string()
}

/// A value for a message: what it is and how it reads.
pub(crate) fn shown(value: &Value) -> String {
    let text = plain(value);
    let text =
        if text.len() > 60 { format!("{}..", text.chars().take(58).collect::<String>()) } else { text };
    match value {
        Value::String(_) => format!("the text {text}"),
        Value::Integer(_) | Value::Float(_) => text,
        Value::Boolean(_) => text,
        Value::Datetime(_) => format!("the date {text}"),
        Value::Array(_) => format!("the list {text}"),
        Value::InlineTable(_) => "a table".into(),
    }
}
