//! LoRA adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`, whose tensors are named
//! `base_model.model.<module>.lora_A.weight` and `lora_B.weight` (Hugging Face peft, `LoraConfig`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Digest as _;
use tch::{Kind, Tensor};

use crate::config::StackEntry;
use crate::files;
use crate::model::layout::canonical;
use crate::model::merge::{Change, Changes};
use crate::model::weights;
use crate::train::cell::Cell;
use crate::train::parameters::HOST;

/// The plugin whose tensors these are.
const LORA: &str = "lora";
const ROOT: &str = "base_model.model.";
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// The host's projector, which is trained whole.
const PROJECTOR: &str = "multi_modal_projector";
/// Lines after which a list of tensors is cut.
const SHOWN: usize = 24;

/// A LoRA adapter and, where it was trained too, the projector.
pub struct PeftAdapter {
    pub r: i64,
    pub lora_alpha: f64,
    pub lora_dropout: f64,
    /// `lora_A.weight` `[r, in]` and `lora_B.weight` `[out, r]` by site path; `weight` and `bias` of the projector.
    tensors: BTreeMap<(String, String), Tensor>,
}

#[derive(Deserialize)]
struct Config {
    peft_type: String,
    r: i64,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    rank_pattern: BTreeMap<String, Value>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, Value>,
    /// `use_dora`, `use_rslora` and what else changes the formula stands here.
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl PeftAdapter {
    /// Reads a folder that peft's `save_pretrained` wrote.
    ///
    /// # Errors
    /// Another kind of adapter, or a variant of LoRA that computes something else.
    pub fn read(folder: &Path) -> Result<PeftAdapter> {
        let path = folder.join(CONFIG);
        let text = std::fs::read_to_string(&path).with_context(|| unreadable(&path))?;
        let config: Config = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let plain = config.peft_type == "LORA"
            && config.others.iter().all(|(key, value)| !key.starts_with("use_") || value != true)
            && !config.fan_in_fan_out
            && config.rank_pattern.is_empty()
            && config.alpha_pattern.is_empty()
            && config.bias.as_deref().is_none_or(|bias| bias == "none");
        ensure!(
            plain,
            "{}: only plain LoRA is read: one rank and scale, no bias, neither rsLoRA nor DoRA",
            path.display()
        );
        let path = folder.join(WEIGHTS);
        let mut tensors = BTreeMap::new();
        for (written, tensor) in weights::load_all(&path)? {
            let name = written.strip_prefix(ROOT).with_context(|| {
                format!("{}: tensor `{written}` does not begin with `{ROOT}`", path.display())
            })?;
            tensors.insert(split(name), tensor.f_to_kind(Kind::Float)?);
        }
        let Config { r, lora_alpha, lora_dropout, .. } = config;
        Ok(PeftAdapter { r, lora_alpha, lora_dropout, tensors })
    }

    /// The sha256 of the two files of a folder, by their names.
    pub fn sha256(folder: &Path) -> Result<BTreeMap<&'static str, String>> {
        let hash = |name: &'static str| {
            let path = folder.join(name);
            let (_, hash) = files::sha256(&path).with_context(|| unreadable(&path))?;
            Ok((name, format!("{:x}", hash.finalize())))
        };
        [CONFIG, WEIGHTS].into_iter().map(hash).collect()
    }

    /// What a cell whose stack has `lora` has trained.
    pub fn of_cell(cell: &Cell) -> Result<PeftAdapter> {
        let parameters = cell.parameters.borrow();
        let named = parameters.list().iter().map(|parameter| (parameter.name.as_str(), &parameter.tensor));
        let stack: Vec<&StackEntry> = cell.entries.iter().map(|entry| &entry.config).collect();
        PeftAdapter::of_parameters(named, &stack)
    }

    /// The same from tensors by name, as a run keeps them after each stage, and the stack of their method.
    pub fn of_parameters<'t>(
        parameters: impl Iterator<Item = (&'t str, &'t Tensor)>,
        stack: &[&StackEntry],
    ) -> Result<PeftAdapter> {
        let entry = stack.iter().find(|entry| entry.plugin == LORA).with_context(|| {
            let names: Vec<&str> = stack.iter().map(|entry| entry.plugin.as_str()).collect();
            format!(
                "a stack of {} is no LoRA, and PEFT's format has no place for it\nhint: only a method with `lora` in its stack has such an adapter",
                names.join(", ")
            )
        })?;
        let mut tensors = BTreeMap::new();
        let mut rank = None;
        for (name, tensor) in parameters {
            let Some((owner, rest)) = name.split_once('.') else { continue };
            let (site, part) = split(rest);
            let kept = owner == LORA || owner == HOST && site.starts_with(PROJECTOR);
            if !kept {
                continue;
            }
            if part == "lora_A.weight" {
                rank = tensor.size().first().copied();
            }
            tensors.insert((site, part), tensor.f_detach()?.f_to_kind(Kind::Float)?);
        }
        let r = rank.context("no tensor of `lora` is among the parameters")?;
        let number = |key: &str| {
            entry
                .config
                .get(key)
                .and_then(|value| value.as_float().or(value.as_integer().map(|number| number as f64)))
        };
        // The plugin's own defaults (plugins/lora/src/config.rs).
        Ok(PeftAdapter {
            r,
            lora_alpha: number("lora_alpha").unwrap_or(32.0),
            lora_dropout: number("lora_dropout").unwrap_or(0.0),
            tensors,
        })
    }

    /// Writes the two files; module names are those of transformers 5 (`model.language_model.layers..`).
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let mut named = BTreeMap::new();
        let (mut modules, mut projector) = (BTreeSet::new(), false);
        for ((site, part), tensor) in &self.tensors {
            let path = in_memory(site);
            match part.starts_with("lora_") {
                true => {
                    modules.insert(path.clone());
                }
                false => projector = true,
            }
            named.insert(format!("{ROOT}{path}.{part}"), tensor.shallow_clone());
        }
        weights::save(&folder.join(WEIGHTS), &named, None)?;
        let config = json!({
            "peft_type": "LORA",
            "task_type": null,
            "base_model_name_or_path": null,
            "inference_mode": true,
            "r": self.r,
            "lora_alpha": self.lora_alpha,
            "lora_dropout": self.lora_dropout,
            "bias": "none",
            "target_modules": modules,
            "modules_to_save": if projector { json!([PROJECTOR]) } else { Value::Null },
        });
        let path = folder.join(CONFIG);
        std::fs::write(&path, serde_json::to_string_pretty(&config)? + "\n")
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// What folding the adapter into a checkpoint changes: `lora_alpha / r * B A` on top of each site's weight, and the projector.
    ///
    /// # Errors
    /// One of a site's two tensors without the other; tensors that cannot be multiplied.
    pub fn changes(&self) -> Result<Changes> {
        let mut changes = Changes::new();
        for ((site, part), tensor) in &self.tensors {
            let of = |part: &str| {
                let found = self.tensors.get(&(site.clone(), part.to_owned()));
                found.with_context(|| {
                    format!("the adapter has no `{site}.{part}`\nhint: its file is not whole")
                })
            };
            match part.as_str() {
                "lora_A.weight" | "lora_B.weight" => {
                    let (a, b) = (of("lora_A.weight")?, of("lora_B.weight")?);
                    let delta =
                        b.f_matmul(a).and_then(|delta| delta.f_mul_scalar(self.lora_alpha / self.r as f64));
                    let delta = delta.with_context(|| {
                        format!(
                            "the adapter at `{site}`: {:?} and {:?} are no low-rank pair",
                            a.size(),
                            b.size()
                        )
                    })?;
                    changes.insert(format!("{site}.weight"), Change::Add(delta));
                }
                "weight" | "bias" if site.starts_with(PROJECTOR) => {
                    changes.insert(format!("{site}.{part}"), Change::Replace(tensor.shallow_clone()));
                }
                _ => bail!("the adapter's tensor `{site}.{part}` is none of LoRA's or the projector's"),
            }
        }
        Ok(changes)
    }

    /// Whether `given` has this adapter's low-rank tensors, and no others, in their shapes. The projector may be left out.
    fn expect(&self, given: &PeftAdapter) -> Result<()> {
        let mut faults = Vec::new();
        for ((site, part), own) in &self.tensors {
            match given.tensors.get(&(site.clone(), part.clone())) {
                None if part.starts_with("lora_") => faults.push(format!("missing: {site}.{part}")),
                Some(given) if given.size() != own.size() => {
                    faults.push(format!("{site}.{part}: shape {:?}, expected {:?}", given.size(), own.size()))
                }
                _ => {}
            }
        }
        let extra = given.tensors.keys().filter(|key| !self.tensors.contains_key(*key));
        faults.extend(extra.map(|(site, part)| format!("not expected: {site}.{part}")));
        if faults.is_empty() {
            return Ok(());
        }
        let more = faults.len().saturating_sub(SHOWN);
        faults.truncate(SHOWN);
        if more > 0 {
            faults.push(format!("and {more} more"));
        }
        bail!(
            "the adapter's tensors are not those of the method:\n  {}\nhint: target_modules must be the same on both sides, and the projector trained where the adapter has one (training.projector_learning_rate)",
            faults.join("\n  ")
        )
    }

    /// Puts the values into a cell whose stack has `lora`.
    ///
    /// # Errors
    /// Another rank or scale than the stack's; tensors that the cell has not, or that it has and the adapter has not.
    pub fn apply(&self, cell: &Cell) -> Result<()> {
        let own = PeftAdapter::of_cell(cell)?;
        ensure!(
            (own.r, own.lora_alpha) == (self.r, self.lora_alpha),
            "the adapter has r = {} and lora_alpha = {}, the method r = {} and lora_alpha = {}\nhint: give the method the adapter's values",
            self.r,
            self.lora_alpha,
            own.r,
            own.lora_alpha
        );
        own.expect(self)?;
        let parameters = cell.parameters.borrow();
        for ((site, part), tensor) in &self.tensors {
            let owner = if part.starts_with("lora_") { LORA } else { HOST };
            let name = format!("{owner}.{site}.{part}");
            let id = parameters.id(&name).with_context(|| format!("the method has no tensor `{name}`"))?;
            parameters.set_value(id, &tensor.f_to_device(cell.world.backbone.device())?)?;
        }
        Ok(())
    }
}

fn unreadable(path: &Path) -> String {
    format!("{} cannot be read\nhint: name a folder that peft's save_pretrained wrote", path.display())
}

/// Site path in our layout, and what stands behind it.
fn split(name: &str) -> (String, String) {
    let at = name.find(".lora_").or(name.rfind('.')).unwrap_or(name.len());
    let (site, part) = (&name[..at], name[at..].trim_start_matches('.'));
    // A layout is told by the beginning of a tensor's name.
    let site = canonical(&format!("{site}.weight"));
    (site.trim_end_matches(".weight").to_owned(), part.to_owned())
}

/// A site as transformers 5 calls the module.
fn in_memory(site: &str) -> String {
    match site.strip_prefix("language_model.model.") {
        Some(rest) => format!("model.language_model.{rest}"),
        None => format!("model.{site}"),
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn entry(plugin: &str) -> StackEntry {
        toml::from_str(&format!("plugin = {plugin:?}\nr = 2\nlora_alpha = 6")).unwrap()
    }

    fn parameters() -> Vec<(String, Tensor)> {
        let site = "language_model.model.layers.0.self_attn.q_proj";
        let rand = |size: [i64; 2]| Tensor::rand(size, (Kind::Float, Device::Cpu));
        vec![
            (format!("lora.{site}.lora_A.weight"), rand([2, 6])),
            (format!("lora.{site}.lora_B.weight"), rand([5, 2])),
            (String::from("host.multi_modal_projector.linear_1.weight"), rand([4, 3])),
            (String::from("replay.something"), rand([1, 1])),
        ]
    }

    #[test]
    fn an_adapter_survives_the_disk_under_pefts_names() {
        let parameters = parameters();
        let named = || parameters.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let lora = entry("lora");
        let adapter = PeftAdapter::of_parameters(named(), &[&entry("replay"), &lora]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        adapter.write(folder.path()).unwrap();
        let written = weights::load_all(&folder.path().join(WEIGHTS)).unwrap();
        let names: Vec<&str> = written.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight",
                "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_B.weight",
                "base_model.model.model.multi_modal_projector.linear_1.weight",
            ]
        );
        let read = PeftAdapter::read(folder.path()).unwrap();
        assert_eq!((read.r, read.lora_alpha, read.tensors), (2, 6.0, adapter.tensors));
        let refused = PeftAdapter::of_parameters(named(), &[&entry("moelora")]).err().unwrap().to_string();
        assert!(refused.contains("moelora") && refused.contains("hint:"), "{refused}");
    }

    #[test]
    fn a_pair_is_folded_with_its_scale() {
        let parameters = parameters();
        let lora = entry("lora");
        let named = || parameters.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let adapter = PeftAdapter::of_parameters(named(), &[&lora]).unwrap();
        let changes = adapter.changes().unwrap();
        let [(weight, Change::Add(delta)), (projector, Change::Replace(_))] =
            changes.iter().collect::<Vec<_>>()[..]
        else {
            panic!("{changes:?}")
        };
        assert_eq!(weight, "language_model.model.layers.0.self_attn.q_proj.weight");
        assert_eq!(projector, "multi_modal_projector.linear_1.weight");
        let expected = 3.0 * parameters[1].1.matmul(&parameters[0].1);
        let difference: Tensor = delta - expected;
        assert!(difference.abs().max().double_value(&[]) < 1e-6);
        let half = PeftAdapter::of_parameters(named().take(1), &[&lora]).unwrap();
        let error = half.changes().unwrap_err().to_string();
        assert!(error.contains("lora_B.weight") && error.contains("hint:"), "{error}");
    }

    #[test]
    fn every_tensor_that_does_not_fit_is_listed() {
        let site = "language_model.model.layers.0.self_attn.q_proj";
        let zeros = |size: [i64; 2]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
        let of = |tensors: &[(&str, &str, [i64; 2])]| PeftAdapter {
            r: 2,
            lora_alpha: 2.0,
            lora_dropout: 0.0,
            tensors: tensors
                .iter()
                .map(|(site, part, size)| (((*site).to_owned(), (*part).to_owned()), zeros(*size)))
                .collect(),
        };
        let method = [
            (site, "lora_A.weight", [2, 6]),
            (site, "lora_B.weight", [5, 2]),
            ("multi_modal_projector.linear_1", "weight", [4, 3]),
        ];
        assert!(of(&method).expect(&of(&method[..2])).is_ok(), "a projector may stay as it is");
        let other = "language_model.model.layers.1.mlp.up_proj";
        let error =
            of(&method).expect(&of(&[(site, "lora_A.weight", [2, 7]), (other, "lora_A.weight", [2, 6])]));
        let error = error.unwrap_err().to_string();
        for said in [
            format!("{site}.lora_A.weight: shape [2, 7], expected [2, 6]"),
            format!("missing: {site}.lora_B.weight"),
            format!("not expected: {other}.lora_A.weight"),
            String::from("hint:"),
        ] {
            assert!(error.contains(&said), "{said}: {error}");
        }
    }

    #[test]
    fn modules_of_older_transformers_are_the_same_sites() {
        let part = String::from("lora_A.weight");
        let site = String::from("language_model.model.layers.3.mlp.up_proj");
        for module in [
            "language_model.model.layers.3.mlp.up_proj",
            "model.language_model.layers.3.mlp.up_proj",
            "model.layers.3.mlp.up_proj",
        ] {
            assert_eq!(split(&format!("{module}.lora_A.weight")), (site.clone(), part.clone()));
        }
    }

    #[test]
    fn what_is_no_plain_lora_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let missing = PeftAdapter::read(folder.path()).err().unwrap().to_string();
        assert!(missing.contains("adapter_config.json") && missing.contains("hint:"), "{missing}");
        let config = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_dora": true}"#;
        std::fs::write(folder.path().join(CONFIG), config).unwrap();
        let dora = PeftAdapter::read(folder.path()).err().unwrap().to_string();
        assert!(dora.contains("DoRA"), "{dora}");
    }
}
