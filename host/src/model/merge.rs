//! A checkpoint with an adapter folded into its weights, as a checkpoint of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::Digest as _;
use tch::{Kind, Tensor, no_grad};

use super::checkpoint::Checkpoint;
use super::construction::Construction;
use super::layout::canonical;
use super::weights;
use crate::files;

/// What the folder was made from, as JSON.
const MARKER: &str = "merged.json";

/// What becomes of a tensor.
#[derive(Debug)]
pub enum Change {
    /// `scale * b a` is added, with float32 `a` `[r, in]` and `b` `[out, r]`; the sum is rounded once.
    LowRank { a: Tensor, b: Tensor, scale: f64 },
    /// These values take its place.
    Replace(Tensor),
}

/// Changes by the tensors' names in our layout ([`canonical`]).
pub type Changes = BTreeMap<String, Change>;

impl Change {
    fn shape(&self) -> Vec<i64> {
        match self {
            Change::LowRank { a, b, .. } => {
                [b, a].iter().zip(0..).filter_map(|(t, axis)| t.size().get(axis).copied()).collect()
            }
            Change::Replace(value) => value.size(),
        }
    }

    /// Computed in float32, in the tensor's own element type.
    ///
    /// # Errors
    /// A result that is not finite.
    fn apply(&self, tensor: &Tensor) -> Result<Tensor> {
        no_grad(|| {
            let value = match self {
                Change::LowRank { a, b, scale } => {
                    tensor.f_to_kind(Kind::Float)?.f_add(&b.f_matmul(a)?.f_mul_scalar(*scale)?)?
                }
                Change::Replace(value) => value.shallow_clone(),
            };
            let value = value.f_to_kind(tensor.kind())?;
            ensure!(
                weights::is_finite(&value)?,
                "what is merged is not finite as {:?}\nhint: the adapter or the checkpoint is damaged, or the sum is too large for that type",
                value.kind()
            );
            Ok(value)
        })
    }
}

/// Writes the checkpoint of the folder `source` with `changes` to the new folder `out`: tensors under their names, in files as they were
/// (safetensors in place of `torch.save`'s), in their element types; every other file as it is. `origin` is noted down beside what it was made from.
///
/// # Errors
/// A change without a tensor or of another shape; a checkpoint that does not fit its `config.json`; a folder `out` that is there.
pub fn merge(
    source: &Path,
    vision_tower: Option<&Path>,
    changes: &Changes,
    origin: &Value,
    out: &Path,
) -> Result<()> {
    ensure!(!changes.is_empty(), "there is nothing to merge: the adapter changes no tensor");
    let checkpoint = Checkpoint::open(source, vision_tower)?;
    let sources = checkpoint.weights()?;
    let mut shapes = Vec::new();
    for path in &sources {
        shapes.extend(weights::shapes(path)?);
    }
    weights::check_shapes(checkpoint.config(), &shapes, checkpoint.has_own_tower())
        .with_context(|| source.display().to_string())?;
    check(changes, &shapes)?;
    let construction = Construction::begin(out)?;
    rewrite(&sources, changes, construction.path())?;
    let mut base = serde_json::Map::new();
    for path in &sources {
        let (_, sha256) =
            files::sha256(path).with_context(|| format!("{} cannot be read", path.display()))?;
        base.insert(name(path)?, format!("{:x}", sha256.finalize()).into());
    }
    copy_others(source, construction.path())?;
    construction.write_json(MARKER, &json!({"base": base, "adapter": origin}))?;
    construction.finish()
}

/// Writes files of weights with `changes` into a folder, and the index that several of them need. One tensor is in memory at a time.
pub(crate) fn rewrite(sources: &[PathBuf], changes: &Changes, folder: &Path) -> Result<()> {
    let mut map = serde_json::Map::new();
    for path in sources {
        let written = as_safetensors(&name(path)?);
        weights::rewrite(
            path,
            &folder.join(&written),
            &|name, tensor| match changes.get(&canonical(name)) {
                Some(change) => change.apply(&tensor),
                None => Ok(tensor),
            },
        )?;
        let names = weights::shapes(path)?.into_iter();
        map.extend(names.map(|(tensor, _)| (tensor, Value::from(written.clone()))));
    }
    if sources.len() > 1 {
        let index = serde_json::to_string_pretty(&json!({"metadata": {}, "weight_map": map}))? + "\n";
        let path = folder.join("model.safetensors.index.json");
        files::replace(&path, index.as_bytes())
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

/// Faults that are listed; the others are counted.
const SHOWN: usize = 8;

fn check(changes: &Changes, shapes: &[(String, Vec<i64>)]) -> Result<()> {
    let known: BTreeMap<String, &Vec<i64>> =
        shapes.iter().map(|(written, shape)| (canonical(written), shape)).collect();
    let mut faults = Vec::new();
    for (name, change) in changes {
        let found = change.shape();
        match known.get(name) {
            None => faults.push(format!("{name}: the checkpoint has no such tensor")),
            Some(shape) if **shape != found => {
                faults.push(format!("{name}: shape {found:?}, and {shape:?} in the checkpoint"));
            }
            Some(_) => {}
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let more = faults.len().saturating_sub(SHOWN);
    faults.truncate(SHOWN);
    if more > 0 {
        faults.push(format!("and {more} more"));
    }
    bail!(
        "the adapter does not fit the checkpoint:\n  {}\nhint: name the checkpoint that it was trained on",
        faults.join("\n  ")
    )
}

/// What a file of weights is called that becomes one of safetensors.
fn as_safetensors(name: &str) -> String {
    match name.strip_suffix(".bin") {
        Some(stem) => format!("{}.safetensors", stem.replacen("pytorch_model", "model", 1)),
        None => name.to_owned(),
    }
}

/// Configuration, tokenizer, card: what is no weights and not hidden.
fn copy_others(source: &Path, to: &Path) -> Result<()> {
    let entries =
        std::fs::read_dir(source).with_context(|| format!("{} cannot be read", source.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = name(&path)?;
        let is_weights = [".safetensors", ".bin", ".index.json", ".pt", ".pth", ".gguf", ".h5", ".msgpack"];
        if path.is_file() && !name.starts_with('.') && !is_weights.iter().any(|end| name.ends_with(end)) {
            std::fs::copy(&path, to.join(&name))
                .with_context(|| format!("{} cannot be copied", path.display()))?;
        }
    }
    Ok(())
}

fn name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(name.with_context(|| format!("{} has a name that is not text", path.display()))?.to_owned())
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::super::config::tests::small;
    use super::super::parameter::parameters;
    use super::*;

    const SITE: &str = "language_model.model.layers.0.self_attn.q_proj.weight";

    /// A checkpoint of bfloat16, all ones.
    fn source() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let config = serde_json::to_string(&small()).unwrap();
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
        std::fs::write(folder.path().join(".hidden"), "x").unwrap();
        let ones = |shape: &[i64]| Tensor::ones(shape, (Kind::BFloat16, Device::Cpu));
        let tensors: BTreeMap<String, Tensor> =
            parameters(&small()).into_iter().map(|p| (p.name, ones(&p.shape))).collect();
        weights::save(&folder.path().join("model.safetensors"), &tensors, None).unwrap();
        folder
    }

    fn change(shape: [i64; 2], value: f64) -> Tensor {
        Tensor::full(shape, value, (Kind::Float, Device::Cpu))
    }

    /// All elements grow by `value`.
    fn low_rank([rows, columns]: [i64; 2], value: f64) -> Change {
        Change::LowRank { a: change([2, columns], 1.0), b: change([rows, 2], value), scale: 0.5 }
    }

    #[test]
    fn what_changes_is_rounded_once_and_the_rest_stays() {
        let (source, place) = (source(), tempfile::tempdir().unwrap());
        let out = place.path().join("merged");
        let projector = "multi_modal_projector.linear_2.weight";
        let changes = Changes::from([
            (SITE.to_owned(), low_rank([16, 16], 0.5)),
            (projector.to_owned(), Change::Replace(change([16, 16], 3.0))),
        ]);
        merge(source.path(), None, &changes, &json!("test"), &out).unwrap();
        let before = weights::load_all(&source.path().join("model.safetensors")).unwrap();
        let after = weights::load_all(&out.join("model.safetensors")).unwrap();
        assert_eq!(before.len(), after.len());
        for (name, tensor) in &after {
            let expected = match name.as_str() {
                SITE => 1.5,
                name if name == projector => 3.0,
                _ => 1.0,
            };
            assert_eq!((tensor.kind(), tensor.max().double_value(&[])), (Kind::BFloat16, expected), "{name}");
        }
        let names = |folder: &Path| {
            let mut names: Vec<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| name(&entry.unwrap().path()).unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&out), ["config.json", "merged.json", "model.safetensors", "tokenizer.json"]);
        assert_eq!(names(place.path()), ["merged"]);
        let again = merge(source.path(), None, &changes, &json!("test"), &out).unwrap_err().to_string();
        assert!(again.contains("there already") && again.contains("hint:"), "{again}");
    }

    #[test]
    fn what_is_not_finite_is_not_written() {
        let (source, place) = (source(), tempfile::tempdir().unwrap());
        for value in [f64::NAN, 3.4e38] {
            let changes = Changes::from([
                (SITE.to_owned(), low_rank([16, 16], value)),
                (
                    "multi_modal_projector.linear_2.weight".to_owned(),
                    Change::Replace(change([16, 16], 3.4e38)),
                ),
            ]);
            let error = merge(source.path(), None, &changes, &json!("test"), &place.path().join("merged"));
            let error = format!("{:#}", error.unwrap_err());
            assert!(error.contains("not finite") && error.contains("hint:"), "{error}");
            assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_does_not_fit_is_listed_and_nothing_is_written() {
        let (source, place) = (source(), tempfile::tempdir().unwrap());
        let out = place.path().join("merged");
        let changes = Changes::from([
            (SITE.to_owned(), low_rank([16, 15], 0.5)),
            ("language_model.model.layers.9.mlp.up_proj.weight".to_owned(), low_rank([2, 2], 1.0)),
        ]);
        let error = merge(source.path(), None, &changes, &json!("test"), &out).unwrap_err().to_string();
        for said in ["layers.9.mlp.up_proj.weight: the checkpoint has no", "[16, 15], and [16, 16]", "hint:"]
        {
            assert!(error.contains(said), "{said}: {error}");
        }
        assert!(merge(source.path(), None, &Changes::new(), &json!("test"), &out).is_err());
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
