//! A resolved configuration as a flat list of dotted keys.

use serde_json::Value;

use crate::config::RunConfig;
use crate::config::origin::join;

/// Every value with its key, in the order of the configuration. Lists of plain values are one value.
pub(crate) fn flat(config: &RunConfig) -> Vec<(String, Value)> {
    let mut rows = Vec::new();
    // A resolved configuration holds only finite numbers and text keys, all of which JSON has.
    flatten(&serde_json::to_value(config).unwrap_or_default(), "", &mut rows);
    rows
}

fn flatten(value: &Value, path: &str, rows: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(entries) if !entries.is_empty() || path.is_empty() => {
            for (key, value) in entries {
                flatten(value, &join(path, key), rows);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, value) in items.iter().enumerate() {
                flatten(value, &join(path, &index.to_string()), rows);
            }
        }
        _ => rows.push((path.to_string(), value.clone())),
    }
}
