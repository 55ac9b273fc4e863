//! Where each value of a configuration comes from.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// The source of one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line, counted from 1, of a file.
    File { file: String, line: usize },
    /// An option of the command line, as typed.
    Option { option: String },
}

impl Origin {
    pub(crate) fn option(option: impl Into<String>) -> Origin {
        Origin::Option { option: option.into() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { file, line } => write!(f, "{file}:{line}"),
            Origin::Option { option } => f.write_str(option),
        }
    }
}

/// The origin of every key, by dotted path; items of a list are numbered from 0 (`methods.lora.stack.0.r`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// The origin of a key, or of the nearest table around it that has one.
    pub fn of(&self, path: &str) -> &Origin {
        let mut path = path;
        loop {
            if let Some(origin) = self.0.get(path) {
                return origin;
            }
            match path.rfind('.') {
                Some(end) => path = &path[..end],
                None => return &Origin::Default,
            }
        }
    }

    /// The origin of a key that was written by itself, not as part of a table or by default.
    pub fn exactly(&self, path: &str) -> Option<&Origin> {
        self.0.get(path)
    }

    /// Sets the origin of a key and forgets those of the keys beneath it.
    pub(crate) fn set(&mut self, path: &str, origin: Origin) {
        let beneath = format!("{path}.");
        self.0.retain(|known, _| !known.starts_with(&beneath));
        self.0.insert(path.to_string(), origin);
    }

    /// Sets the origin of a table that is opened, keeping what is known of its keys.
    pub(crate) fn open(&mut self, path: &str, origin: Origin) {
        self.0.entry(path.to_string()).or_insert(origin);
    }
}

/// `a.b` under a table, `b` at the top.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_an_origin_has_that_of_its_table() {
        let mut origins = Origins::default();
        let line = |line| Origin::File { file: "run.toml".into(), line };
        origins.set("methods.lora.stack", line(4));
        origins.set("methods.lora.stack.0.r", line(5));
        assert_eq!(origins.of("methods.lora.stack.0.r"), &line(5));
        assert_eq!(origins.of("methods.lora.stack.0.plugin"), &line(4));
        assert_eq!(origins.of("training.steps"), &Origin::Default);
        origins.set("methods.lora.stack", Origin::option("--set"));
        assert_eq!(origins.of("methods.lora.stack.0.r"), &Origin::option("--set"));
    }
}
