//! What a run reads besides its configuration, by content: the backbone's files, the tasks' records and pictures.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use coin_plugin_api::{Record, Split};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::compare::world::{self, Parts};
use crate::config::{self, Location, RunConfig};
use crate::data::manifest::{self, Manifest};
use crate::data::task::Task;
use crate::data::verify::FileContent;
use crate::files;
use crate::model::{Backbone, Checkpoint};
use crate::quickstart;
use crate::train::peft::PeftAdapter;

/// A part of what a run reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The path of a file, or what else it is.
    pub name: String,
    pub sha256: String,
}

impl Content {
    /// Whether it is a part of a task, and not of the backbone.
    pub fn is_data(&self) -> bool {
        self.name.contains(" of task ")
    }

    /// Whether it is what one method starts from: a run may have more methods later, or be asked for fewer.
    pub fn is_of_method(&self) -> bool {
        self.name.contains(OF_METHOD)
    }
}

const OF_METHOD: &str = " of method ";

/// Pictures of a split that are looked at.
const PICTURES: usize = 4096;

/// The content of everything that a run reads: files of the backbone and of the records byte by byte, pictures by path and size, embedded
/// ones byte by byte, adapters that methods start from byte by byte. Of a split with many pictures [`PICTURES`] are looked at, evenly
/// spaced: training begins without a pass over all records. Where a dataset does not name its files, that pass is made.
pub fn of(config: &RunConfig, parts: &Parts) -> Result<Vec<Content>> {
    let mut contents = backbone(&config.backbone)?;
    for task in &parts.tasks {
        let configured = config.task(&task.name);
        let is_builtin = configured.is_some_and(|task| matches!(task.root, Location::Builtin(_)));
        let records = records(task)?;
        // A manifest has files; records that come from none that are named are in no manifest.
        let has_files = !task.source.files()?.is_empty();
        if let Some(configured) = configured.filter(|_| has_files && !is_builtin) {
            against_manifest(task, configured, &records)?;
        }
        contents.extend(records);
        contents.push(pictures(task, is_builtin)?);
    }
    contents.extend(adapters(config)?);
    Ok(contents)
}

/// The adapters that methods and references start from.
fn adapters(config: &RunConfig) -> Result<Vec<Content>> {
    let methods = config.methods.iter().map(|(name, method)| (name, &method.adapter));
    let references = config.references.iter().map(|reference| (&reference.method, &reference.adapter));
    let mut contents: Vec<Content> = Vec::new();
    for (method, folder) in methods.chain(references) {
        let Some(folder) = folder else { continue };
        for (file, sha256) in PeftAdapter::sha256(folder)? {
            let name = format!("{file}{OF_METHOD}{method}");
            if contents.iter().all(|known| known.name != name) {
                contents.push(Content { name, sha256 });
            }
        }
    }
    Ok(contents)
}

/// The files that a backbone is read from.
pub(crate) fn backbone(backbone: &config::Backbone) -> Result<Vec<Content>> {
    match &backbone.path {
        Location::Builtin(name) => {
            let mut hash = Sha256::new();
            Backbone::builtin_tiny_files().iter().for_each(|bytes| hash.update(bytes));
            Ok(vec![content(format!("builtin:{name}"), hash)])
        }
        Location::Folder(folder) => {
            let file = |path: &std::path::PathBuf| Ok(content(path.display().to_string(), file(path)?));
            Checkpoint::open(folder, backbone.vision_tower.as_deref())?.files()?.iter().map(file).collect()
        }
    }
}

/// The sha256 of a file, read block by block.
pub fn sha256(path: &Path) -> Result<String> {
    Ok(format!("{:x}", file(path)?.finalize()))
}

fn file(path: &Path) -> Result<Sha256> {
    let (_, hash) = files::sha256(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(hash)
}

/// Holds the annotation files of a task against the manifest of `coin-host data verify`, where its root has one.
fn against_manifest(task: &Task, configured: &config::Task, contents: &[Content]) -> Result<()> {
    let path = task.pictures.root.join(manifest::FILE_NAME);
    let manifest = Manifest::read(&path)?;
    let key = manifest::key(&configured.dataset, &world::dataset_keys(&task.name, configured)?);
    let Some(known) = manifest.tasks.get(&key) else { return Ok(()) };
    let hint = "hint: `coin-host data verify` says more, and with `--update` takes a change that is meant";
    let by_name = |name: &str| known.files.iter().find(|file| named(Path::new(&file.path), task) == name);
    for found in contents {
        let Some(then) = by_name(&found.name) else {
            bail!("{} is read, which {} does not know\n{hint}", found.name, path.display());
        };
        ensure!(
            found.sha256 == then.sha256,
            "task {}: {} is not what {} has: sha256 {}, then {}\n{hint}",
            task.name,
            task.pictures.root.join(&then.path).display(),
            path.display(),
            found.sha256,
            then.sha256
        );
    }
    let is_read =
        |file: &&FileContent| contents.iter().any(|found| found.name == named(Path::new(&file.path), task));
    if let Some(gone) = known.files.iter().find(|file| !is_read(file)) {
        bail!(
            "task {}: {} is not there any more, which {} has with sha256 {}\n{hint}",
            task.name,
            task.pictures.root.join(&gone.path).display(),
            path.display(),
            gone.sha256
        );
    }
    Ok(())
}

/// What a file of a task's records is called.
fn named(file: &Path, task: &Task) -> String {
    format!("{} of task {}", file.display(), task.name)
}

/// The files that the records come from, or the records themselves where nobody says which those are.
fn records(task: &Task) -> Result<Vec<Content>> {
    let files = task.source.files()?;
    if !files.is_empty() {
        let root = &task.pictures.root;
        let hashes: Vec<Sha256> =
            files.par_iter().map(|path| file(&root.join(path))).collect::<Result<_>>()?;
        let named = files.iter().map(|path| named(path, task));
        return Ok(named.zip(hashes).map(|(name, hash)| content(name, hash)).collect());
    }
    let one = |(split, name): (Split, &str)| {
        let mut hash = Sha256::new();
        task.each_record(split, None, &mut |record| {
            hash.update(line(&record));
            Ok(())
        })?;
        Ok(content(format!("{name} records of task {}", task.name), hash))
    };
    [(Split::Train, "train"), (Split::Test, "test")].into_iter().map(one).collect()
}

fn pictures(task: &Task, are_embedded: bool) -> Result<Content> {
    let mut hash = Sha256::new();
    if are_embedded {
        hash.update(quickstart::content_hash());
    } else {
        let mut pictures = BTreeSet::new();
        for split in [Split::Train, Split::Test] {
            let count = task.source.len(split)?;
            let looked_at = count.min(PICTURES);
            let numbers: Vec<usize> = (0..looked_at).map(|at| at * count / looked_at).collect();
            pictures.extend(task.records(split, &numbers)?.into_iter().filter_map(|record| record.image));
        }
        for path in &pictures {
            // One that is not there is named when it is needed.
            let size = std::fs::metadata(task.pictures.root.join(path)).ok().map(|picture| picture.len());
            hash.update(format!("{}\n", json!([path, size])));
        }
    }
    Ok(content(format!("pictures of task {}", task.name), hash))
}

fn line(record: &Record) -> String {
    let Record { id, image, question, instruction, options, answers, target, bbox, size } = record;
    format!("{}\n", json!([id, image, question, instruction, options, answers, target, bbox, size]))
}

fn content(name: String, hash: Sha256) -> Content {
    Content { name, sha256: format!("{:x}", hash.finalize()) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::config::tests::small;

    #[test]
    fn a_changed_file_of_a_backbone_is_the_only_one_that_changes() {
        let folder = tempfile::tempdir().unwrap();
        let weights = vec![7; 2 * files::BLOCK + 3];
        let config = serde_json::to_string(&small()).unwrap();
        for (name, bytes) in
            [("config.json", config.as_bytes()), ("tokenizer.json", b"{}"), ("model.safetensors", &weights)]
        {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let location = config::Backbone {
            path: Location::Folder(folder.path().to_path_buf()),
            vision_tower: None,
            feature_cache: None,
            feature_cache_gib: None,
            shape: None,
            device: config::Device::Cpu,
            dtype: config::Dtype::Float32,
        };
        let before = backbone(&location).unwrap();
        assert_eq!(before[0].name, folder.path().join("config.json").display().to_string());
        // sha256 of `{}`.
        assert!(before[1].sha256.starts_with("44136fa355b3678a"), "{before:?}");
        let mut changed = weights;
        changed[2 * files::BLOCK] = 8;
        fs::write(folder.path().join("model.safetensors"), changed).unwrap();
        let after = backbone(&location).unwrap();
        let same: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before == after).collect();
        assert_eq!(same, [true, true, false], "{after:?}");
    }

    #[test]
    fn every_field_of_a_record_counts() {
        let record = Record {
            id: "1".into(),
            image: Some("a.png".into()),
            question: "What?".into(),
            instruction: Some("One word.".into()),
            options: vec!["cat".into(), "dog".into()],
            answers: vec!["dog".into()],
            target: Some("hound".into()),
            bbox: Some([0.0, 0.25, 0.5, 1.0]),
            size: Some([4, 3]),
        };
        let mut lines = BTreeSet::from([line(&record)]);
        for change in [
            |record: &mut Record| record.id.push('0'),
            |record: &mut Record| record.image = None,
            |record: &mut Record| record.question.push('?'),
            |record: &mut Record| record.instruction = None,
            |record: &mut Record| record.options.swap(0, 1),
            |record: &mut Record| record.answers.clear(),
            |record: &mut Record| record.target = None,
            |record: &mut Record| record.bbox = Some([0.0, 0.25, 0.5, 0.75]),
            |record: &mut Record| record.size = None,
        ] {
            let mut changed = record.clone();
            change(&mut changed);
            assert!(lines.insert(line(&changed)), "{changed:?}");
        }
    }
}
