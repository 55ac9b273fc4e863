//! The configuration as written: every key optional, nothing filled in. The table in [`schema`](crate::config::schema)
//! describes the same keys; a test holds the two together.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::eval::scorer::{Metric, Scorer};

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    pub name: Option<String>,
    pub seeds: Option<Vec<u64>>,
    pub orders: Option<Vec<RawOrder>>,
    pub references: Option<Vec<RawReference>>,
    pub backbone: RawBackbone,
    pub training: RawTraining,
    pub evaluation: RawEvaluation,
    pub protocol: RawProtocol,
    #[serde(deserialize_with = "in_written_order")]
    pub tasks: Vec<(String, RawTask)>,
    #[serde(deserialize_with = "in_written_order")]
    pub methods: Vec<(String, RawMethod)>,
    pub plugins: RawPlugins,
    pub judge: Option<crate::config::judge::RawJudge>,
}

/// An item of `orders`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum RawOrder {
    Name(String),
    Tasks(Vec<String>),
    Named { name: String, tasks: Vec<String> },
}

/// An item of `references`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum RawReference {
    /// `joint` or `joint:METHOD`.
    Name(String),
    /// As a resolved configuration has it.
    Written(crate::config::Reference),
}

/// `[backbone]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawBackbone {
    pub path: Option<String>,
    pub vision_tower: Option<String>,
    pub feature_cache: Option<String>,
    pub feature_cache_gib: Option<f64>,
    pub shape: Option<crate::config::Shape>,
    pub device: Option<String>,
    pub dtype: Option<crate::config::Dtype>,
}

/// `[training]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTraining {
    pub batch_size: Option<usize>,
    pub steps: Option<usize>,
    pub epochs: Option<f64>,
    pub learning_rate: Option<f64>,
    pub projector_learning_rate: Option<f64>,
    pub weight_decay: Option<f64>,
    pub betas: Option<[f64; 2]>,
    pub epsilon: Option<f64>,
    pub scheduler: Option<crate::config::Scheduler>,
    pub warmup_ratio: Option<f64>,
    pub clip_norm: Option<f64>,
    pub accumulate: Option<usize>,
    pub gradient_checkpointing: Option<bool>,
    pub threads: Option<usize>,
}

/// `[evaluation]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawEvaluation {
    pub batch_size: Option<usize>,
    pub max_new_tokens: Option<usize>,
    pub scorers: Option<Vec<Scorer>>,
    pub strict: Option<bool>,
    pub count_flips: Option<usize>,
    pub limit: Option<usize>,
}

/// `[protocol]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawProtocol {
    pub replay_samples_per_task: Option<usize>,
    pub replay_total_samples: Option<usize>,
    pub task_id_at_test: Option<bool>,
    pub blank_pictures: Option<bool>,
    pub call_op: Option<bool>,
    pub replaces_task_loss: Option<bool>,
    pub strict: Option<bool>,
}

/// `[tasks.NAME]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTask {
    pub dataset: Option<String>,
    pub root: Option<String>,
    pub instruction: Option<crate::config::Instruction>,
    pub metric: Option<Metric>,
    pub max_new_tokens: Option<usize>,
    pub accumulate: Option<usize>,
    pub template: Option<String>,
    pub config: Option<toml::Table>,
}

/// `[methods.NAME]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMethod {
    pub stack: Option<Vec<crate::config::StackEntry>>,
    pub adapter: Option<String>,
    /// Read, and replaced by what it holds, before the rest is looked at.
    pub file: Option<String>,
}

/// `[plugins]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPlugins {
    pub dirs: Option<Vec<String>>,
    pub dev: Option<Vec<String>>,
    pub trust: Option<crate::config::Trust>,
}

/// A table with names of the user's as a list, in the order in which it was written.
pub(crate) fn in_written_order<'de, D, T>(deserializer: D) -> Result<Vec<(String, T)>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Entries<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
        type Value = Vec<(String, T)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_map(Entries(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::children;

    /// serde names the fields it knows in the message about one it does not.
    fn fields(table: &str) -> Vec<String> {
        let fault = toml::from_str::<RawConfig>(&format!("{table}zzz = 1")).unwrap_err();
        let message = fault.message().to_string();
        let known = message.split("expected").nth(1).unwrap_or_else(|| panic!("{message}"));
        known.split('`').skip(1).step_by(2).map(String::from).collect()
    }

    #[test]
    fn the_table_of_keys_and_the_raw_types_agree() {
        for (table, pattern) in [
            ("", ""),
            ("[backbone]\n", "backbone"),
            ("[training]\n", "training"),
            ("[evaluation]\n", "evaluation"),
            ("[protocol]\n", "protocol"),
            ("[tasks.a]\n", "tasks.*"),
            ("[methods.a]\n", "methods.*"),
            ("[plugins]\n", "plugins"),
            ("[judge]\n", "judge"),
        ] {
            assert_eq!(fields(table), children(pattern), "{table}");
        }
    }
}
