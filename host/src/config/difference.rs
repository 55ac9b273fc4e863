//! Whether two resolved configurations describe the same run: what a run that goes on has to agree in.

use sha2::{Digest, Sha256};

use crate::config::RunConfig;
use crate::config::flat::flat;

/// Where plugins are looked for does not make a run another one: its manifest holds the hashes of those it loaded.
const NO_PART_OF_THE_RUN: &[&str] = &["plugins.dirs"];

/// A key in which two configurations differ; values as JSON, `None` where a side has no such key.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub key: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl RunConfig {
    /// sha256, in hex, over all keys that make the run what it is.
    pub fn content_hash(&self) -> String {
        let mut hash = Sha256::new();
        for (key, value) in rows(self) {
            hash.update(format!("{key}={value}\n"));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The keys in which `after` is another run than `self`.
    pub fn differences(&self, after: &RunConfig) -> Vec<Difference> {
        let (before, after) = (rows(self), rows(after));
        let find = |rows: &[(String, String)], key: &str| {
            rows.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
        };
        let added = after.iter().filter(|(key, _)| find(&before, key).is_none());
        let keys = before.iter().chain(added).map(|(key, _)| key);
        let differing = keys.map(|key| Difference {
            key: key.clone(),
            before: find(&before, key),
            after: find(&after, key),
        });
        let mut differences: Vec<_> = differing.filter(|row| row.before != row.after).collect();
        if differences.is_empty() && before != after {
            differences.push(Difference {
                key: "the order of tasks or methods".into(),
                before: None,
                after: None,
            });
        }
        differences
    }
}

fn rows(config: &RunConfig) -> Vec<(String, String)> {
    let rows = flat(config).into_iter().filter(|(key, _)| !NO_PART_OF_THE_RUN.contains(&key.as_str()));
    rows.map(|(key, value)| (key, value.to_string())).collect()
}
