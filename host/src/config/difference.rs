//! Whether two resolved configurations describe the same run: what a run that goes on has to agree in, and what may be added to it.

use sha2::{Digest, Sha256};

use crate::config::RunConfig;
use crate::config::flat::flat;

/// Where plugins are looked for, and why they are trusted, does not make a run another one: its manifest holds the hashes of those it
/// loaded. Nor does who judges its answers, or what its estimates go by.
const NO_PART_OF_THE_RUN: &[&str] = &["plugins.", "judge.", "backbone.shape", "backbone.feature_cache"];

/// Lines after which a list of differences is cut.
const SHOWN: usize = 8;

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
        format!("{:x}", hash.finalize())
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

impl RunConfig {
    /// This run with the seeds, methods, orders and references that `asked` has beyond it. What only one of the two has is no
    /// disagreement: it adds cells, or leaves them away.
    ///
    /// # Errors
    /// What makes `asked` another run, in a few lines.
    pub fn grown(&self, asked: &RunConfig) -> Result<RunConfig, Vec<String>> {
        let (before, after) = (self.shared_with(asked), asked.shared_with(self));
        let differences = before.differences(&after);
        if !differences.is_empty() {
            return Err(collapsed(&before, &after, &differences));
        }
        Ok(RunConfig {
            seeds: joined(&self.seeds, &asked.seeds, |a, b| a == b),
            orders: joined(&self.orders, &asked.orders, |a, b| a.name == b.name),
            methods: joined(&self.methods, &asked.methods, |a, b| a.0 == b.0),
            references: joined(&self.references, &asked.references, |a, b| a.kind == b.kind),
            ..asked.clone()
        })
    }

    /// Without what `other` does not have of those things that span the grid; the rest in an order that does not depend on either.
    fn shared_with(&self, other: &RunConfig) -> RunConfig {
        let mut shared = self.clone();
        shared.seeds.clear();
        shared.orders.retain(|order| other.orders.iter().any(|known| known.name == order.name));
        shared.orders.sort_by(|a, b| a.name.cmp(&b.name));
        shared.methods.retain(|(name, _)| other.method(name).is_some());
        shared.methods.sort_by(|a, b| a.0.cmp(&b.0));
        shared.references.retain(|one| other.references.iter().any(|known| known.kind == one.kind));
        shared.references.sort_by_key(|one| one.kind);
        shared
    }
}

/// The items of both lists: in the order of the second if it has all of them, else those that it adds last.
fn joined<T: Clone>(before: &[T], after: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let misses = |list: &[T], item: &T| !list.iter().any(|known| same(known, item));
    if !before.iter().any(|item| misses(after, item)) {
        return after.to_vec();
    }
    let added = after.iter().filter(|item| misses(before, item));
    before.iter().chain(added).cloned().collect()
}

/// Differences as a user reads them: tasks and orders by name, a stack once, and not too many.
fn collapsed(before: &RunConfig, after: &RunConfig, differences: &[Difference]) -> Vec<String> {
    let beyond = |a: &RunConfig, b: &RunConfig| -> Vec<String> {
        a.tasks.iter().map(|(name, _)| name.clone()).filter(|name| b.task(name).is_none()).collect()
    };
    let (gone, new) = (beyond(before, after), beyond(after, before));
    let mut lines = Vec::new();
    for (names, place) in [(&gone, "there, not now"), (&new, "now, not there")] {
        if !names.is_empty() {
            let noun = if names.len() == 1 { "task" } else { "tasks" };
            lines.push(format!("{noun} {}: {place}", names.join(", ")));
        }
    }
    let has = |key: &str| differences.iter().any(|difference| difference.key == key);
    for difference in differences {
        let parts: Vec<&str> = difference.key.split('.').collect();
        let key = match parts[..] {
            ["tasks", name, ..] if gone.iter().chain(&new).any(|known| known == name) => continue,
            // They follow from the tasks.
            ["orders", ..] if !gone.is_empty() || !new.is_empty() => continue,
            ["orders", number, "tasks"] => {
                let order = number.parse().ok().and_then(|number: usize| before.orders.get(number));
                format!("order {}", order.map_or(number, |order| &order.name))
            }
            ["references", number, "stack", ..] => {
                let reference = number.parse().ok().and_then(|number: usize| before.references.get(number));
                let method = reference.map_or("", |reference| reference.method.as_str());
                if has(&format!("methods.{method}.{}", parts[2..].join("."))) {
                    continue;
                }
                difference.key.clone()
            }
            _ => difference.key.clone(),
        };
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| String::from("nothing"));
        lines.push(match (&difference.before, &difference.after) {
            (None, None) => String::from("the order of tasks"),
            (then, now) => format!("{key}: {} there, {} now", show(then), show(now)),
        });
    }
    if lines.len() > SHOWN {
        let more = lines.split_off(SHOWN - 1).len();
        lines.push(format!("and {more} more"));
    }
    lines
}

fn rows(config: &RunConfig) -> Vec<(String, String)> {
    let rows = flat(config)
        .into_iter()
        .filter(|(key, _)| !NO_PART_OF_THE_RUN.iter().any(|table| key.starts_with(table)));
    rows.map(|(key, value)| (key, value.to_string())).collect()
}
