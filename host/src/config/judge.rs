//! `[judge]`: the language model that judges answers. It judges kept answers, so nothing in here is part of what makes a run.

use std::path::{Path, PathBuf};

use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Serialize};
use toml_edit::Value;

use crate::config::check::check;
use crate::config::overrides::Override;
use crate::config::raw::RawConfig;
use crate::config::schema::children;
use crate::config::tree::Tree;
use crate::config::{ConfigError, Origin};

/// As written; every key is optional.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawJudge {
    pub url: Option<String>,
    pub model: Option<String>,
    pub key_env: Option<String>,
    pub temperature: Option<f64>,
    pub votes: Option<usize>,
    pub max_tokens: Option<usize>,
    pub limit: Option<usize>,
    pub parallel: Option<usize>,
    pub timeout_seconds: Option<f64>,
    pub retries: Option<usize>,
    pub backoff_seconds: Option<f64>,
    pub price_per_million_input: Option<f64>,
    pub price_per_million_output: Option<f64>,
    pub max_cost: Option<f64>,
    pub rule: Option<String>,
}

/// Resolved; address and model may come from the environment still.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judge {
    /// Of an OpenAI-compatible server, up to `/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The environment variable that holds the key; the key itself is in no configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    pub temperature: f64,
    /// Replies asked for each answer.
    pub votes: usize,
    /// Longest reply; 0 leaves it to the server.
    pub max_tokens: usize,
    /// Items a task, the first ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Requests at a time.
    pub parallel: usize,
    pub timeout_seconds: f64,
    /// Tries after the first one.
    pub retries: usize,
    /// Before the second try; doubled with each.
    pub backoff_seconds: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_million_input: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_million_output: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<f64>,
    /// A `rule.json` of CoIN in place of the host's own wording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<PathBuf>,
}

impl Default for Judge {
    fn default() -> Self {
        Judge {
            url: None,
            model: None,
            key_env: None,
            temperature: 0.0,
            votes: 1,
            max_tokens: 20,
            limit: None,
            parallel: 4,
            timeout_seconds: 60.0,
            retries: 5,
            backoff_seconds: 1.0,
            price_per_million_input: None,
            price_per_million_output: None,
            max_cost: None,
            rule: None,
        }
    }
}

impl Judge {
    /// This one with the keys that are written in place of its own. `rule` is already a path.
    pub(crate) fn with(self, raw: &RawJudge, rule: Option<PathBuf>) -> Judge {
        let text = |raw: &Option<String>, own: Option<String>| raw.clone().or(own);
        Judge {
            url: text(&raw.url, self.url),
            model: text(&raw.model, self.model),
            key_env: text(&raw.key_env, self.key_env),
            temperature: raw.temperature.unwrap_or(self.temperature),
            votes: raw.votes.unwrap_or(self.votes),
            max_tokens: raw.max_tokens.unwrap_or(self.max_tokens),
            limit: raw.limit.or(self.limit),
            parallel: raw.parallel.unwrap_or(self.parallel),
            timeout_seconds: raw.timeout_seconds.unwrap_or(self.timeout_seconds),
            retries: raw.retries.unwrap_or(self.retries),
            backoff_seconds: raw.backoff_seconds.unwrap_or(self.backoff_seconds),
            price_per_million_input: raw.price_per_million_input.or(self.price_per_million_input),
            price_per_million_output: raw.price_per_million_output.or(self.price_per_million_output),
            max_cost: raw.max_cost.or(self.max_cost),
            rule: rule.or(self.rule),
        }
    }
}

/// What may be taken from a run's folder, which may be another's: nothing that says where answers, keys and files go or come from.
pub fn of_a_run(judge: Judge) -> Judge {
    Judge { url: None, key_env: None, rule: None, ..judge }
}

/// Values out of range, wherever they come from.
fn sound(judge: &Judge) -> Result<(), ConfigError> {
    let seconds = |value: f64| value.is_finite() && value >= 0.0;
    let fault = |key: &str, what: &str| {
        Err(ConfigError::new(format!("`judge.{key}` {what}"))
            .hint(format!("write it anew: `--set judge.{key}=..`")))
    };
    if judge.votes == 0 {
        return fault("votes", "is 0, and a judge has at least one vote");
    }
    if judge.parallel == 0 {
        return fault("parallel", "is 0, and something has to be asked");
    }
    if !seconds(judge.timeout_seconds) || judge.timeout_seconds == 0.0 {
        return fault("timeout_seconds", "is not a positive number of seconds");
    }
    if !seconds(judge.backoff_seconds) {
        return fault("backoff_seconds", "is not a number of seconds");
    }
    Ok(())
}

/// `base` with the `[judge]` of a file and of `--set judge.KEY=VALUE` over it.
///
/// # Errors
/// A file that cannot be read, a key that is none of `[judge]`'s, a value out of range. No message repeats a value of `--set` under an
/// unknown key: it may be a secret.
pub fn judge(base: Option<Judge>, file: Option<&Path>, set: &[String]) -> Result<Judge, ConfigError> {
    let mut tree = Tree::default();
    if let Some(path) = file {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|fault| {
            ConfigError::new(format!("cannot read `{name}`: {fault}"))
                .hint("name a TOML file with a table `[judge]`")
        })?;
        tree = Tree::parse(&text, &name)?;
        let others: Vec<String> = tree.values.iter().map(|(key, _)| key.to_string()).collect();
        if !others.iter().any(|key| key == "judge") {
            return Err(ConfigError::new(format!("`{name}` has no table `[judge]`"))
                .hint("for example `[judge]`, `url = \"http://127.0.0.1:8000/v1\"`, `model = \"NAME\"`"));
        }
        for key in others.iter().filter(|key| *key != "judge") {
            tree.values.remove(key);
        }
    }
    for text in set {
        let key = text.split('=').next().unwrap_or_default().trim();
        let known = key.strip_prefix("judge.").is_some_and(|key| children("judge").contains(&key));
        if !known {
            return Err(ConfigError::new("`--set` takes keys of `[judge]` here")
                .key(key)
                .hint(format!("judge.{}", children("judge").join(", judge."))));
        }
        Override::parse(text)?.apply(&mut tree)?;
    }
    check(&tree)?;
    let raw: RawConfig = Deserialize::deserialize(Value::InlineTable(tree.values).into_deserializer())
        .map_err(|fault: toml_edit::de::Error| ConfigError::new(fault.to_string().trim_end().to_string()))?;
    let raw = raw.judge.unwrap_or_default();
    let folder = match tree.origins.of("judge.rule") {
        Origin::File { file, .. } => Path::new(file).parent().unwrap_or(Path::new("")).to_path_buf(),
        _ => PathBuf::new(),
    };
    let rule = raw.rule.as_ref().map(|rule| folder.join(rule));
    let judge = base.unwrap_or_default().with(&raw, rule);
    sound(&judge)?;
    Ok(judge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_neither_where_answers_go_nor_which_key_goes_with_them() {
        let foreign = Judge {
            url: Some("https://example.org/v1".into()),
            key_env: Some("HOME".into()),
            rule: Some("/etc/passwd".into()),
            votes: 3,
            ..Judge::default()
        };
        assert_eq!(of_a_run(foreign), Judge { votes: 3, ..Judge::default() });
    }

    #[test]
    fn values_out_of_range_are_refused_wherever_they_come_from() {
        let bad = [
            Judge { votes: 0, ..Judge::default() },
            Judge { parallel: 0, ..Judge::default() },
            Judge { timeout_seconds: -1.0, ..Judge::default() },
            Judge { backoff_seconds: f64::NAN, ..Judge::default() },
        ];
        for one in bad {
            assert!(judge(Some(one.clone()), None, &[]).is_err(), "{one:?}");
        }
        assert!(judge(None, None, &[]).is_ok());
    }
}
