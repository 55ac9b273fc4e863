//! LoRA adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`, whose tensors are named
//! `base_model.model.<module>.lora_A.weight` and `lora_B.weight` (Hugging Face peft, `LoraConfig`).

mod config;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use sha2::Digest as _;
use tch::{Kind, Tensor};

use crate::config::StackEntry;
use crate::files;
use crate::model::construction::Construction;
use crate::model::layout::canonical;
use crate::model::merge::{Change, Changes};
use crate::model::weights;
use crate::train::cell::Cell;
use crate::train::parameters::HOST;
use config::LoraConfig;

/// The plugin whose tensors these are.
pub const LORA: &str = "lora";
const ROOT: &str = "base_model.model.";
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What peft wrote before safetensors.
const TORCH_WEIGHTS: &str = "adapter_model.bin";
/// The trained projector, which LLaVA's code writes beside an adapter.
const BESIDE: &str = "non_lora_trainables.bin";
/// The host's projector, which is trained whole.
const PROJECTOR: &str = "multi_modal_projector";
const A: &str = "lora_A.weight";
const B: &str = "lora_B.weight";
/// Lines after which a list of tensors is cut.
const SHOWN: usize = 24;

/// Tensors by the path of their site in our layout, and what stands behind it.
type Tensors = BTreeMap<(String, String), Tensor>;

/// A LoRA adapter and, where it was trained too, the projector.
pub struct PeftAdapter {
    pub r: i64,
    pub lora_alpha: f64,
    pub lora_dropout: f64,
    /// `r` and `lora_alpha` of the sites where they are others.
    exceptions: BTreeMap<String, (i64, f64)>,
    /// `lora_A.weight` `[r, in]` and `lora_B.weight` `[out, r]` by site path; `weight` and `bias` of the projector.
    tensors: Tensors,
}

impl PeftAdapter {
    /// Reads a folder that peft's `save_pretrained` wrote, or LLaVA's training with LoRA: `adapter_model.safetensors` or `.bin`, and
    /// `non_lora_trainables.bin` where it is there.
    ///
    /// # Errors
    /// Another kind of adapter, or a variant of LoRA that computes something else; tensors of another rank than the configuration's;
    /// numbers that are not finite.
    pub fn read(folder: &Path) -> Result<PeftAdapter> {
        let config = LoraConfig::read(&folder.join(CONFIG))?;
        let [path, others @ ..] = &files_of(folder)?[1..] else {
            bail!("{} holds neither {WEIGHTS} nor {TORCH_WEIGHTS}\nhint: {SAVED}", folder.display())
        };
        let (mut tensors, mut exceptions, mut faults) = (Tensors::new(), BTreeMap::new(), Vec::new());
        for (written, tensor) in weights::load_all(path)? {
            let name = written.strip_prefix(ROOT).with_context(|| {
                format!("{}: tensor `{written}` does not begin with `{ROOT}`\nhint: {SAVED}", path.display())
            })?;
            let tensor = sound(&tensor, &written, path)?;
            let (site, part) = split(name);
            let module = &name[..name.len() - part.len()];
            let module = module.trim_end_matches('.');
            let scale = config.scale(module)?;
            ensure!(
                !part.starts_with("lora_") || config.is_target(module),
                "{}: `{written}` is there, and {CONFIG} does not have `{module}` among its target_modules\nhint: peft would leave it out; both files must come from the same save_pretrained",
                path.display()
            );
            let of_rank = match part.as_str() {
                A => Some((tensor.size2(), 0)),
                B => Some((tensor.size2(), 1)),
                _ => None,
            };
            if let Some((size, axis)) = of_rank {
                let rank = size.ok().map(|size| if axis == 0 { size.0 } else { size.1 });
                if rank != Some(scale.0) {
                    faults.push(format!("{written}: shape {:?}, and its rank is {}", tensor.size(), scale.0));
                }
                if scale != (config.r, config.lora_alpha) {
                    exceptions.insert(site.clone(), scale);
                }
            }
            ensure!(
                tensors.insert((site, part), tensor).is_none(),
                "{}: two names of one tensor, the second is `{written}`\nhint: the file is none that save_pretrained wrote",
                path.display()
            );
        }
        ensure!(
            faults.is_empty(),
            "{}: the tensors are not of the ranks that {CONFIG} says:\n  {}\nhint: both files must come from the same save_pretrained",
            path.display(),
            listed(faults)
        );
        for path in others {
            for (written, tensor) in weights::load_all(path)? {
                let (site, part) = split(written.strip_prefix(ROOT).unwrap_or(&written));
                ensure!(
                    site.starts_with(PROJECTOR),
                    "{}: `{written}` was trained beside the adapter, and only the projector is read\nhint: merge it with LLaVA's scripts/merge_lora_weights.py",
                    path.display()
                );
                let tensor = sound(&tensor, &written, path)?;
                ensure!(
                    tensors.insert((site, part), tensor).is_none(),
                    "{}: `{written}` is among the adapter's own tensors too\nhint: leave one of the two",
                    path.display()
                );
            }
        }
        let LoraConfig { r, lora_alpha, lora_dropout, .. } = config;
        Ok(PeftAdapter { r, lora_alpha, lora_dropout, exceptions, tensors })
    }

    /// The keys of one `lora` stack entry with the adapter's rank, scale and modules; of which layers they are is not among them.
    ///
    /// # Errors
    /// Several ranks or scales, which are several entries.
    pub fn keys(&self) -> Result<toml::Table> {
        let sites: Vec<&str> =
            self.tensors.keys().filter(|(_, part)| part == A).map(|(site, _)| site.as_str()).collect();
        let (r, lora_alpha) = sites.first().map_or((self.r, self.lora_alpha), |site| self.scale(site));
        if let Some(other) = sites.iter().find(|site| self.scale(site) != (r, lora_alpha)) {
            let (other_r, other_alpha) = self.scale(other);
            bail!(
                "the adapter has r = {r} and lora_alpha = {lora_alpha} at `{}`, r = {other_r} and lora_alpha = {other_alpha} at `{other}`, and there is one LoRA here\nhint: `coin-host model merge` folds it into its checkpoint, whatever its ranks",
                sites[0]
            );
        }
        let modules: BTreeSet<&str> =
            sites.iter().map(|site| site.rsplit('.').next().unwrap_or(site)).collect();
        let modules = modules.into_iter().map(toml::Value::from).collect();
        Ok(toml::Table::from_iter([
            (String::from("r"), r.into()),
            (String::from("lora_alpha"), lora_alpha.into()),
            (String::from("target_modules"), toml::Value::Array(modules)),
        ]))
    }

    /// Whether the projector was trained beside it.
    pub fn has_projector(&self) -> bool {
        self.tensors.keys().any(|(_, part)| !part.starts_with("lora_"))
    }

    /// The sha256 of the files of a folder, by their names.
    pub fn sha256(folder: &Path) -> Result<BTreeMap<String, String>> {
        let hash = |path: PathBuf| {
            let (_, hash) = files::sha256(&path).with_context(|| unreadable(&path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, format!("{:x}", hash.finalize())))
        };
        files_of(folder)?.into_iter().map(hash).collect()
    }

    /// What a cell whose stack is `lora`, with whatever strategies, has trained.
    pub fn of_cell(cell: &Cell) -> Result<PeftAdapter> {
        let (adapter, others) = PeftAdapter::part_of_cell(cell)?;
        alone(&others)?;
        Ok(adapter)
    }

    /// What `lora` has in a cell, and the trained tensors of others.
    fn part_of_cell(cell: &Cell) -> Result<(PeftAdapter, Vec<String>)> {
        let parameters = cell.parameters.borrow();
        let kept = parameters.list().iter().filter(|parameter| !parameter.buffer);
        let named = kept.map(|parameter| (parameter.name.as_str(), &parameter.tensor));
        let stack: Vec<&StackEntry> = cell.entries.iter().map(|entry| &entry.config).collect();
        PeftAdapter::part_of(named, &stack)
    }

    /// The same from tensors by name, as a run keeps them after each stage, and the stack of their method.
    ///
    /// # Errors
    /// A stack without `lora`, or with trained tensors of another plugin, which the format has no place for.
    pub fn of_parameters<'t>(
        parameters: impl Iterator<Item = (&'t str, &'t Tensor)>,
        stack: &[&StackEntry],
    ) -> Result<PeftAdapter> {
        let (adapter, others) = PeftAdapter::part_of(parameters, stack)?;
        alone(&others)?;
        Ok(adapter)
    }

    fn part_of<'t>(
        parameters: impl Iterator<Item = (&'t str, &'t Tensor)>,
        stack: &[&StackEntry],
    ) -> Result<(PeftAdapter, Vec<String>)> {
        let entries: Vec<&StackEntry> = stack.iter().copied().filter(|entry| entry.plugin == LORA).collect();
        let first = entries.first().with_context(|| {
            let names: Vec<&str> = stack.iter().map(|entry| entry.plugin.as_str()).collect();
            format!(
                "a stack of {} is no LoRA, and PEFT's format has no place for it\nhint: only a method with `lora` in its stack has such an adapter",
                names.join(", ")
            )
        })?;
        let lora_dropout = number(first, "lora_dropout").unwrap_or(0.0);
        let (mut tensors, mut others, mut scales) = (Tensors::new(), Vec::new(), BTreeMap::new());
        for (name, tensor) in parameters {
            let Some((owner, rest)) = name.split_once('.') else { continue };
            let (site, part) = split(rest);
            if owner != LORA && owner != HOST {
                others.push(name.to_owned());
                continue;
            }
            if owner == HOST && !site.starts_with(PROJECTOR) {
                continue;
            }
            if part == A {
                let rank = tensor.size().first().copied().unwrap_or_default();
                // The plugin's own default (plugins/lora/src/config.rs).
                let alpha = number(entry_of(&entries, &site)?, "lora_alpha").unwrap_or(32.0);
                scales.insert(site.clone(), (rank, alpha));
            }
            tensors.insert((site, part), tensor.f_detach()?.f_to_kind(Kind::Float)?);
        }
        let most = scales.values().next().copied();
        let (r, lora_alpha) = most.context("no tensor of `lora` is among the parameters")?;
        scales.retain(|_, scale| *scale != (r, lora_alpha));
        Ok((PeftAdapter { r, lora_alpha, lora_dropout, exceptions: scales, tensors }, others))
    }

    /// `r` and `lora_alpha` of a site.
    fn scale(&self, site: &str) -> (i64, f64) {
        self.exceptions.get(site).copied().unwrap_or((self.r, self.lora_alpha))
    }

    /// Writes a new folder; module names are those of transformers 5 (`model.language_model.layers..`).
    ///
    /// # Errors
    /// A folder that is there and holds something.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let construction = Construction::begin(folder)?;
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
        let (mut ranks, mut alphas) = (Map::new(), Map::new());
        for (site, (rank, alpha)) in &self.exceptions {
            if *rank != self.r {
                ranks.insert(in_memory(site), json!(rank));
            }
            if *alpha != self.lora_alpha {
                alphas.insert(in_memory(site), json!(alpha));
            }
        }
        weights::save(&construction.path().join(WEIGHTS), &named, None)?;
        let config = json!({
            "peft_type": "LORA",
            "task_type": null,
            "base_model_name_or_path": null,
            "inference_mode": true,
            "r": self.r,
            "lora_alpha": self.lora_alpha,
            "rank_pattern": ranks,
            "alpha_pattern": alphas,
            "lora_dropout": self.lora_dropout,
            "bias": "none",
            "target_modules": modules,
            "modules_to_save": if projector { json!([PROJECTOR]) } else { Value::Null },
        });
        construction.write_json(CONFIG, &config)?;
        construction.finish()
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
                A | B => {
                    let (a, b) = (of(A)?, of(B)?);
                    let (rank, alpha) = self.scale(site);
                    ensure!(
                        a.dim() == 2 && b.dim() == 2 && a.size()[0] == rank && b.size()[1] == rank,
                        "the adapter at `{site}`: {:?} and {:?} are no pair of rank {rank}\nhint: the adapter's file is not whole",
                        a.size(),
                        b.size()
                    );
                    let (a, b) = (a.shallow_clone(), b.shallow_clone());
                    let change = Change::LowRank { a, b, scale: alpha / rank as f64 };
                    changes.insert(format!("{site}.weight"), change);
                }
                "weight" | "bias" if site.starts_with(PROJECTOR) => {
                    changes.insert(format!("{site}.{part}"), Change::Replace(tensor.shallow_clone()));
                }
                _ => bail!(
                    "the adapter's tensor `{site}.{part}` is none of LoRA's or the projector's\nhint: adapters of linears alone are read, and a projector trained beside them"
                ),
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
        bail!(
            "the adapter's tensors are not those of the method:\n  {}\nhint: target_modules must be the same on both sides, and the projector trained where the adapter has one (training.projector_learning_rate); `coin-host model merge` folds in an adapter of some layers or of the vision tower",
            listed(faults)
        )
    }

    /// Puts the values into a cell whose stack has `lora`.
    ///
    /// # Errors
    /// Another rank or scale than the stack's; tensors that the cell has not, or that it has and the adapter has not.
    pub fn apply(&self, cell: &Cell) -> Result<()> {
        let (own, _) = PeftAdapter::part_of_cell(cell)?;
        for (site, _) in own.tensors.keys().filter(|key| key.1 == A && self.tensors.contains_key(*key)) {
            let ((r, alpha), (own_r, own_alpha)) = (self.scale(site), own.scale(site));
            ensure!(
                (r, alpha) == (own_r, own_alpha),
                "the adapter has r = {r} and lora_alpha = {alpha}, the method r = {own_r} and lora_alpha = {own_alpha}, at `{site}`\nhint: give the method the adapter's values, r = {r} and lora_alpha = {alpha} (`--set r={r} --set lora_alpha={alpha}` for bench)"
            );
        }
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
    format!("{} cannot be read\nhint: {SAVED}", path.display())
}

const SAVED: &str = "name a folder that peft's save_pretrained wrote";

/// The files of an adapter's folder: the configuration, the tensors if they are there, and what LLaVA's code writes beside them.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let weights = [WEIGHTS, TORCH_WEIGHTS].map(|name| folder.join(name));
    let mut files = vec![folder.join(CONFIG)];
    if let Some(path) = weights.into_iter().find(|path| path.is_file()) {
        files.push(path);
        files.extend(Some(folder.join(BESIDE)).filter(|path| path.is_file()));
    }
    Ok(files)
}

/// A stored tensor as float32.
fn sound(tensor: &Tensor, written: &str, path: &Path) -> Result<Tensor> {
    let place = || format!("{}: tensor `{written}`", path.display());
    ensure!(
        tensor.is_floating_point(),
        "{} is of {:?}, not of floating point\nhint: {SAVED}",
        place(),
        tensor.kind()
    );
    let tensor = tensor.f_to_kind(Kind::Float)?;
    ensure!(
        weights::is_finite(&tensor)?,
        "{} holds numbers that are not finite\nhint: the training that wrote it has diverged, or the file is damaged",
        place()
    );
    Ok(tensor)
}

/// Refuses to leave out what others have trained.
fn alone(others: &[String]) -> Result<()> {
    ensure!(
        others.is_empty(),
        "the method has trained tensors that are not those of `lora`, and PEFT's format has no place for them:\n  {}\nhint: only a method whose one adapter is `lora` has such an adapter",
        listed(others.to_vec())
    );
    Ok(())
}

/// The entry of the stack that has a site: the one whose `target_modules` name its module.
fn entry_of<'s>(entries: &[&'s StackEntry], site: &str) -> Result<&'s StackEntry> {
    let module = site.rsplit('.').next().unwrap_or(site);
    let names =
        |entry: &StackEntry| match entry.config.get("target_modules").and_then(|value| value.as_array()) {
            None => true,
            Some(list) => list
                .iter()
                .any(|name| name.as_str().is_some_and(|name| name == module || name == "all-linear")),
        };
    let of_site = || entries.iter().copied().filter(|entry| names(entry));
    match (entries, of_site().collect::<Vec<_>>().as_slice()) {
        ([one], _) | (_, [one]) => Ok(one),
        _ => bail!(
            "which entry of the stack has `{site}` is not known: not one names it in target_modules alone\nhint: give each its own target_modules"
        ),
    }
}

fn number(entry: &StackEntry, key: &str) -> Option<f64> {
    let value = entry.config.get(key)?;
    value.as_float().or(value.as_integer().map(|number| number as f64))
}

/// Lines for a message.
fn listed(mut lines: Vec<String>) -> String {
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n  ")
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
mod tests;
