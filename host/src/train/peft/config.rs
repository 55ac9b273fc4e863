//! `adapter_config.json` of PEFT (`LoraConfig`), as far as plain LoRA goes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Keys that say nothing about what an adapter computes, whatever their value.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "megatron_core",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "revision",
    "task_type",
];

/// Rank and scale of each module.
#[derive(Debug, Deserialize)]
pub(super) struct LoraConfig {
    pub(super) r: i64,
    pub(super) lora_alpha: f64,
    #[serde(default)]
    pub(super) lora_dropout: f64,
    #[serde(default)]
    rank_pattern: BTreeMap<String, i64>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
    /// Ends of names; none where an expression or `all-linear` stands there.
    #[serde(skip)]
    target_modules: Option<Vec<String>>,
}

impl LoraConfig {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Another kind of adapter; a key that is not known to leave the formula `W + lora_alpha / r * B A` as it is.
    pub(super) fn parse(text: &str) -> Result<LoraConfig> {
        let mut keys: Map<String, Value> = serde_json::from_str(text)?;
        let kind = keys.remove("peft_type").unwrap_or_default();
        ensure!(
            kind == "LORA",
            "an adapter of the kind {kind}, and only LORA is read\nhint: let the program that trained it merge it into its model"
        );
        if let Some(init) = keys.remove("init_lora_weights") {
            let named = ["gaussian", "eva", "orthogonal"];
            let leaves_the_base =
                init.is_boolean() || init.is_null() || named.iter().any(|name| init == *name);
            ensure!(
                leaves_the_base,
                "`init_lora_weights` is {init}, which changes the weights under the adapter as well\nhint: let peft write it as plain LoRA: save_pretrained(.., path_initial_model_for_weight_conversion=..)"
            );
        }
        let modules = keys.remove("target_modules").filter(Value::is_array);
        let target_modules = modules.map(serde_json::from_value).transpose().context("`target_modules`")?;
        if keys.get("bias").is_some_and(|bias| bias == "none") {
            keys.remove("bias");
        }
        let mut read = Map::new();
        for known in ["r", "lora_alpha", "lora_dropout", "rank_pattern", "alpha_pattern"] {
            read.extend(keys.remove(known).filter(|value| !value.is_null()).map(|v| (known.to_owned(), v)));
        }
        let strange = |(key, value): &(&String, &Value)| !HARMLESS.contains(&key.as_str()) && !is_off(value);
        if let Some((key, value)) = keys.iter().find(strange) {
            bail!(
                "`{key}` is {value}, and only plain LoRA is read: W + lora_alpha / r * B A, neither bias nor rsLoRA, DoRA or another variant\nhint: merge it with peft (merge_and_unload), or train it without `{key}`"
            );
        }
        let config: LoraConfig = serde_json::from_value(Value::Object(read))?;
        let config = LoraConfig { target_modules, ..config };
        let ranks = config.rank_pattern.values().chain([&config.r]);
        ensure!(
            ranks.into_iter().all(|&rank| rank >= 1),
            "a rank below 1: there is no such adapter\nhint: `r` and the tensors must come from the same save_pretrained"
        );
        let alphas = config.alpha_pattern.values().chain([&config.lora_alpha]);
        ensure!(
            alphas.into_iter().all(|alpha| alpha.is_finite()),
            "`lora_alpha` is not finite\nhint: the file is damaged"
        );
        let patterns = config.rank_pattern.keys().chain(config.alpha_pattern.keys());
        for pattern in patterns {
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.';
            ensure!(
                pattern.chars().all(is_name),
                "rank_pattern and alpha_pattern are read with names of modules alone, and `{pattern}` is an expression\nhint: write one entry a module"
            );
        }
        Ok(config)
    }

    /// The same from a file.
    pub(super) fn read(path: &Path) -> Result<LoraConfig> {
        let text = std::fs::read_to_string(path).with_context(|| super::unreadable(path))?;
        LoraConfig::parse(&text).with_context(|| path.display().to_string())
    }

    /// Whether a module, by its whole name, is one that peft adapts.
    pub(super) fn is_target(&self, module: &str) -> bool {
        let Some(targets) = &self.target_modules else { return true };
        targets.iter().any(|target| is_end(target, module))
    }

    /// `r` and `lora_alpha` of a module by its whole name.
    ///
    /// # Errors
    /// Two patterns for it that say different things.
    pub(super) fn scale(&self, module: &str) -> Result<(i64, f64)> {
        let rank = of_pattern(&self.rank_pattern, module)?.unwrap_or(self.r);
        Ok((rank, of_pattern(&self.alpha_pattern, module)?.unwrap_or(self.lora_alpha)))
    }
}

/// The value for a module: a pattern is the end of its name, from a dot on.
fn of_pattern<T: Copy + PartialEq>(patterns: &BTreeMap<String, T>, module: &str) -> Result<Option<T>> {
    let fits = |pattern: &str| is_end(pattern, module);
    let mut found = patterns.iter().filter(|(pattern, _)| fits(pattern)).map(|(_, &value)| value);
    let first = found.next();
    ensure!(
        found.all(|other| Some(other) == first),
        "two entries of rank_pattern or alpha_pattern fit `{module}` and say different things\nhint: leave one"
    );
    Ok(first)
}

/// Whether a module's name is this, or ends in it behind a dot.
fn is_end(end: &str, module: &str) -> bool {
    let before = module.strip_suffix(end);
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whether a value says that what its key names is not used.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(more: Value) -> Result<LoraConfig> {
        let mut config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]});
        let fields = config.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        LoraConfig::parse(&config.to_string())
    }

    #[test]
    fn what_computes_something_else_is_refused_by_name() {
        for (more, said) in [
            (json!({"use_dora": true}), "use_dora"),
            (json!({"use_rslora": true}), "use_rslora"),
            (json!({"use_bdlora": {"nblocks": 2}}), "use_bdlora"),
            (json!({"alora_invocation_tokens": [5, 6]}), "alora_invocation_tokens"),
            (json!({"bias": "all"}), "bias"),
            (json!({"lora_bias": true}), "lora_bias"),
            (json!({"fan_in_fan_out": true}), "fan_in_fan_out"),
            (json!({"layer_replication": [[0, 2]]}), "layer_replication"),
            (json!({"something_of_next_year": 3}), "something_of_next_year"),
            (json!({"init_lora_weights": "pissa"}), "path_initial_model_for_weight_conversion"),
            (json!({"init_lora_weights": "pissa_niter_4"}), "pissa_niter_4"),
            (json!({"init_lora_weights": "olora"}), "olora"),
            (json!({"loftq_config": {"loftq_bits": 4}}), "loftq_config"),
            (json!({"peft_type": "IA3"}), "IA3"),
            (json!({"r": 0}), "rank below 1"),
            (json!({"rank_pattern": {"up_proj": -1}}), "rank below 1"),
            (json!({"rank_pattern": {".*up_proj": 2}}), "expression"),
        ] {
            let error = format!("{:#}", parse(more.clone()).expect_err(&more.to_string()));
            assert!(error.contains(said), "{said}: {error}");
        }
    }

    #[test]
    fn targets_are_ends_of_names() {
        let plain = parse(json!({})).expect("plain");
        assert!(plain.is_target("layers.0.q_proj") && plain.is_target("q_proj"));
        assert!(!plain.is_target("layers.0.k_proj") && !plain.is_target("layers.0.eq_proj"));
        let all = parse(json!({"target_modules": "all-linear"})).expect("plain");
        assert!(all.is_target("layers.0.k_proj"));
    }

    #[test]
    fn what_changes_nothing_is_passed_over() {
        let off = json!({"use_dora": false, "use_bdlora": null, "loftq_config": {}, "bias": "none",
            "megatron_core": "megatron.core", "qalora_group_size": 16, "init_lora_weights": "gaussian",
            "task_type": "CAUSAL_LM", "something_of_next_year": null, "target_parameters": []});
        assert_eq!(parse(off).expect("plain").scale("a.q_proj").expect("one"), (4, 8.0));
    }

    #[test]
    fn a_pattern_is_the_end_of_a_modules_name() {
        let patterns =
            json!({"rank_pattern": {"up_proj": 2, "0.q_proj": 3}, "alpha_pattern": {"m.0.q_proj": 64}});
        let config = parse(patterns).expect("plain");
        for (module, scale) in [
            ("m.0.up_proj", (2, 8.0)),
            ("m.0.q_proj", (3, 64.0)),
            ("m.10.q_proj", (4, 8.0)),
            ("cup_proj", (4, 8.0)),
        ] {
            assert_eq!(config.scale(module).expect("one"), scale, "{module}");
        }
        let twice = parse(json!({"rank_pattern": {"up_proj": 2, "0.up_proj": 3}})).expect("plain");
        assert!(twice.scale("m.0.up_proj").is_err() && twice.scale("m.1.up_proj").is_ok());
    }
}
