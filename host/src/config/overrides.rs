//! `--set a.b=c`: values written over those of the file.

use toml_edit::{InlineTable, Key, Value};

use crate::config::check::shown;
use crate::config::origin::join;
use crate::config::tree::Tree;
use crate::config::{ConfigError, Origin, Origins};

/// One `KEY=VALUE`. The key is dotted, an item of a list is named by its number or, in a stack, by its plugin. The
/// value is TOML; what does not read as TOML is text.
#[derive(Debug, Clone)]
pub(crate) struct Override {
    segments: Vec<String>,
    value: Value,
    option: String,
}

impl Override {
    /// Parses the argument of `--set`.
    pub(crate) fn parse(text: &str) -> Result<Override, ConfigError> {
        let option = format!("--set {text}");
        let fault = |reason: &str| ConfigError::new(reason).at(&Origin::option(option.clone()));
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| fault("expected KEY=VALUE").hint("for example `--set training.steps=40`"))?;
        let segments = Key::parse(key.trim())
            .map_err(|_| fault("the key is not dotted names").hint("for example `training.steps`"))?;
        let value = value.trim();
        if value.is_empty() {
            return Err(fault("no value after `=`").hint("write `\"\"` for an empty text"));
        }
        let value = match value.parse::<Value>() {
            Ok(value) => value,
            Err(error) if value.starts_with(['[', '{', '"', '\'']) => {
                return Err(fault(&format!("not a TOML value: {}", error.message())));
            }
            Err(_) => Value::from(value),
        };
        Ok(Override { segments: segments.iter().map(|key| key.get().to_string()).collect(), value, option })
    }

    /// A list from another option of the command line.
    pub(crate) fn list(key: &str, items: impl IntoIterator<Item = Value>, option: String) -> Override {
        let value = Value::Array(items.into_iter().collect());
        Override { segments: key.split('.').map(String::from).collect(), value, option }
    }

    /// Writes the value over the tree's. Whether the key is known is for the check of the whole tree to say.
    pub(crate) fn apply(&self, tree: &mut Tree) -> Result<(), ConfigError> {
        let mut place = Place::Table(&mut tree.values);
        let mut path = String::new();
        let origin = Origin::option(self.option.clone());
        let fault = |path: &str, reason: String| ConfigError::new(reason).at(&origin).key(path);
        for segment in &self.segments {
            place = match place {
                Place::Table(table) => {
                    path = join(&path, segment);
                    Place::Value(
                        table.get_or_insert(segment.as_str(), Value::InlineTable(InlineTable::new())),
                    )
                }
                Place::Value(Value::InlineTable(table)) => {
                    path = join(&path, segment);
                    Place::Value(
                        table.get_or_insert(segment.as_str(), Value::InlineTable(InlineTable::new())),
                    )
                }
                Place::Value(Value::Array(items)) => {
                    let names: Vec<_> = items.iter().map(plugin_of).collect();
                    let index = segment
                        .parse()
                        .ok()
                        .or_else(|| names.iter().position(|name| name.as_deref() == Some(segment.as_str())));
                    let count = items.len();
                    let names: Vec<_> = names.into_iter().flatten().collect();
                    match index.and_then(|index: usize| items.get_mut(index).map(|item| (index, item))) {
                        Some((index, item)) => {
                            path = join(&path, &index.to_string());
                            Place::Value(item)
                        }
                        None => {
                            let fault = fault(&path, format!("the list has no item `{segment}`"));
                            let numbers = format!("items are numbered from 0 to {}", count.saturating_sub(1));
                            return Err(fault.hint(match names.is_empty() {
                                true => numbers,
                                false => format!("{numbers}, or named by plugin: {}", names.join(", ")),
                            }));
                        }
                    }
                }
                Place::Value(value) => {
                    return Err(fault(&path, format!("{} has no key `{segment}`", shown(value))));
                }
            };
        }
        if let Place::Value(value) = place {
            *value = self.value.clone();
            value.decor_mut().clear();
        }
        record(&mut tree.origins, &path, &self.value, &origin);
        Ok(())
    }
}

/// The option is the origin of the value and of all that is in it.
fn record(origins: &mut Origins, path: &str, value: &Value, origin: &Origin) {
    origins.set(path, origin.clone());
    if let Value::InlineTable(table) = value {
        for (key, value) in table {
            record(origins, &join(path, key), value, origin);
        }
    }
}

enum Place<'a> {
    Table(&'a mut InlineTable),
    Value(&'a mut Value),
}

fn plugin_of(entry: &Value) -> Option<String> {
    Some(entry.as_inline_table()?.get("plugin")?.as_str()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, over: &str) -> Result<Tree, ConfigError> {
        let mut tree = Tree::parse(text, "run.toml")?;
        Override::parse(over)?.apply(&mut tree)?;
        Ok(tree)
    }

    fn at<'a>(tree: &'a Tree, path: &str) -> &'a Value {
        let mut value: Option<&Value> = None;
        for part in path.split('.') {
            value = match (value, part.parse::<usize>()) {
                (None, _) => tree.values.get(part),
                (Some(Value::Array(items)), Ok(index)) => items.get(index),
                (Some(Value::InlineTable(table)), _) => table.get(part),
                _ => None,
            };
        }
        value.unwrap()
    }

    #[test]
    fn values_are_toml_and_bare_text_is_text() {
        assert_eq!(at(&set("", "training.steps=40").unwrap(), "training.steps").as_integer(), Some(40));
        assert_eq!(
            at(&set("", "training.learning_rate = 1e-3").unwrap(), "training.learning_rate").as_float(),
            Some(1e-3)
        );
        assert_eq!(
            at(&set("", "backbone.device=cuda:1").unwrap(), "backbone.device").as_str(),
            Some("cuda:1")
        );
        assert_eq!(at(&set("", "seeds=[1, 2]").unwrap(), "seeds").as_array().unwrap().len(), 2);
        assert_eq!(at(&set("", "name='a=b'").unwrap(), "name").as_str(), Some("a=b"));
    }

    #[test]
    fn items_of_a_stack_go_by_number_or_plugin() {
        let text = "[methods.m]\nstack = [{ plugin = 'lora', r = 16 }, { plugin = 'ewc' }]\n";
        let tree = set(text, "methods.m.stack.0.r=8").unwrap();
        assert_eq!(at(&tree, "methods.m.stack.0.r").as_integer(), Some(8));
        let tree = set(text, "methods.m.stack.ewc.lambda=2.5").unwrap();
        assert_eq!(at(&tree, "methods.m.stack.1.lambda").as_float(), Some(2.5));
        assert_eq!(
            tree.origins.of("methods.m.stack.1.lambda").to_string(),
            "--set methods.m.stack.ewc.lambda=2.5"
        );
        assert_eq!(tree.origins.of("methods.m.stack.0.r").to_string(), "run.toml:2");
        let fault = set(text, "methods.m.stack.replay.rows=1").unwrap_err().to_string();
        assert!(fault.contains("named by plugin: lora, ewc"), "{fault}");
    }

    #[test]
    fn what_is_no_assignment_is_refused() {
        for (text, part) in [
            ("training.steps", "expected KEY=VALUE"),
            ("=3", "the key is not dotted names"),
            ("a..b=3", "the key is not dotted names"),
            ("name=", "no value"),
            ("seeds=[1,", "not a TOML value"),
        ] {
            let fault = Override::parse(text).unwrap_err().to_string();
            assert!(fault.contains(part), "{text}: {fault}");
        }
        let fault = set("name = 'a'\n", "name.b=1").unwrap_err().to_string();
        assert!(fault.contains("has no key `b`"), "{fault}");
    }
}
