//! What is asked of a dataset.

mod damage;

use std::collections::BTreeSet;
use std::path::{Component, Path};

use anyhow::{Context as _, Result};
use coin_plugin_api::{Record, Split};
use toml::{Table, Value};

use super::check::{Check, Verdict};
use super::child::Setup;
use crate::eval::scorer::Metric;
use crate::plugin::{Dataset, Plugin, PluginError};

const SPLITS: [Split; 3] = [Split::Train, Split::Val, Split::Test];
/// Records of a split that are looked at.
const LOOKED_AT: usize = 20_000;
/// Records that are read at a time.
const TOGETHER: usize = 1024;
/// Records whose ranges are compared.
const COMPARED: usize = 64;
/// Pictures of a split that must be there.
const PICTURES: usize = 32;
const UNKNOWN: &str = "no-such-key";

/// A check of one of the plugin's datasets.
pub(super) fn verdict(check: Check, plugin: &Plugin, name: &str, setup: &Setup) -> Result<Verdict> {
    if check == Check::MissingFiles {
        return missing_files(plugin, name, setup);
    }
    let Some(root) = &setup.root else {
        return Ok(Verdict::Skip(String::from("its files are not given: `--root FOLDER`")));
    };
    if check == Check::DamagedFiles {
        return damage::verdict(plugin, name, setup, root);
    }
    if check == Check::Keys {
        return Ok(keys(plugin, name, setup, root));
    }
    let dataset = match plugin.open_dataset(name, root, &setup.keys) {
        Ok(dataset) => dataset,
        Err(error) => return Ok(Verdict::Fail(error.to_string())),
    };
    let fault = match check {
        Check::Opens => opens(&dataset, root)?,
        Check::Records => records(&dataset, root)?,
        Check::Order => order(&dataset)?,
        _ => score(&dataset)?,
    };
    Ok(fault.map_or(Verdict::Pass, Verdict::Fail))
}

fn opens(dataset: &Dataset, root: &Path) -> Result<Option<String>> {
    let metric = dataset.describe()?.metric;
    if !metric.is_empty()
        && let Err(error) = metric.parse::<Metric>()
    {
        return Ok(Some(error.to_string()));
    }
    let lengths = SPLITS.iter().map(|split| Ok(dataset.len(*split)?)).collect::<Result<Vec<_>>>()?;
    if let Some(file) = dataset.files()?.into_iter().find(|file| !root.join(file).is_file()) {
        return Ok(Some(format!("`files` names {}, which is not there", file.display())));
    }
    dataset.verify()?;
    Ok((lengths == [0, 0, 0]).then(|| String::from("none of its splits has a record")))
}

fn records(dataset: &Dataset, root: &Path) -> Result<Option<String>> {
    for split in SPLITS {
        let (name, count) = (split.name(), dataset.len(split)?);
        let mut ids = BTreeSet::new();
        let mut pictures = 0;
        let looked_at = count.min(LOOKED_AT);
        for start in (0..looked_at).step_by(TOGETHER) {
            let end = (start + TOGETHER).min(looked_at);
            for (number, record) in (start..).zip(dataset.records(split, start..end)?) {
                let at = || format!("record {number} of {name}");
                if let Some(fault) = unsound(&record, split) {
                    return Ok(Some(format!("{} {fault}", at())));
                }
                if let Some(image) = record.image.as_ref().filter(|_| pictures < PICTURES) {
                    pictures += 1;
                    if !root.join(image).is_file() {
                        return Ok(Some(format!("{}: there is no picture {image} below its root", at())));
                    }
                }
                if !ids.insert(record.id.clone()) {
                    return Ok(Some(format!("{} has the id `{}` of an earlier one", at(), record.id)));
                }
            }
        }
        for beyond in [count..count + 1, 0..count + 1] {
            match dataset.records(split, beyond.clone()) {
                Ok(_) => return Ok(Some(format!("{name} has {count} records and gives {beyond:?}"))),
                Err(error) if error.is_panic() => {
                    return Ok(Some(format!("records {beyond:?} of {name}, which has {count}: {error}")));
                }
                Err(_) => {}
            }
        }
    }
    Ok(None)
}

fn unsound(record: &Record, split: Split) -> Option<String> {
    if record.id.is_empty() {
        return Some(String::from("has no id"));
    }
    if record.question.is_empty() {
        return Some(format!("(`{}`) has no question", record.id));
    }
    if record.answers.is_empty() && split == Split::Train {
        return Some(format!("(`{}`) has no answer to train on", record.id));
    }
    let leaves = |path: &str| {
        let path = Path::new(path);
        path.is_absolute() || path.components().any(|part| part == Component::ParentDir)
    };
    let image = record.image.as_deref().filter(|image| leaves(image))?;
    Some(format!("(`{}`) has the picture {image}, which leaves the root", record.id))
}

fn order(dataset: &Dataset) -> Result<Option<String>> {
    for split in SPLITS {
        let (name, count) = (split.name(), dataset.len(split)?);
        // From the middle on, where a reader that counts from the wrong end shows.
        let start = if count > 2 * COMPARED { count / 2 } else { 0 };
        let end = count.min(start + COMPARED);
        let whole = dataset.records(split, start..end)?;
        let differs = |range: std::ops::Range<usize>| -> Result<bool> {
            Ok(dataset.records(split, range.clone())? != whole[range.start - start..range.end - start])
        };
        for size in [end - start, 7, 1] {
            for from in (start..end).step_by(size.max(1)) {
                let range = from..(from + size.max(1)).min(end);
                if differs(range.clone())? {
                    return Ok(Some(format!(
                        "{name}: records {range:?} are others than within {start}..{end}"
                    )));
                }
            }
        }
        let together = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| dataset.records(split, start..end))).collect();
            threads.into_iter().map(|thread| thread.join().ok()).collect::<Vec<_>>()
        });
        for read in together {
            if read.context("a thread that reads records ended")?? != whole {
                return Ok(Some(format!(
                    "{name}: records {start}..{end} are others when threads ask for them"
                )));
            }
        }
    }
    Ok(None)
}

fn score(dataset: &Dataset) -> Result<Option<String>> {
    let long = "a ".repeat(5000);
    for split in SPLITS {
        let count = dataset.len(split)?.min(8);
        for record in dataset.records(split, 0..count)? {
            let right = record.answers.first().map_or("", String::as_str);
            for prediction in ["", right, "\u{0}\u{1f600}", "[0.1, 0.2", long.as_str()] {
                if let Err(error) = dataset.score(prediction, &record) {
                    return Ok(Some(error.to_string()));
                }
            }
        }
    }
    Ok(None)
}

fn keys(plugin: &Plugin, name: &str, setup: &Setup, root: &Path) -> Verdict {
    let mut keys = setup.keys.clone();
    keys.extend(Table::from_iter([(String::from(UNKNOWN), Value::Integer(1))]));
    match plugin.open_dataset(name, root, &keys) {
        Ok(_) => Verdict::Fail(format!(
            "the key `{UNKNOWN}` is accepted, and so is every misspelt one\nhint: `#[serde(deny_unknown_fields)]` on the configuration"
        )),
        Err(error @ PluginError::Config { .. }) if error.to_string().contains(UNKNOWN) => Verdict::Pass,
        Err(error) => Verdict::Fail(format!("the key `{UNKNOWN}` is refused without its name: {error}")),
    }
}

fn missing_files(plugin: &Plugin, name: &str, setup: &Setup) -> Result<Verdict> {
    let empty = setup.scratch.join("empty");
    std::fs::create_dir_all(&empty)?;
    for (what, root) in [
        ("an empty folder", empty.clone()),
        ("a folder that is not there", empty.join("none")),
        ("a file in a folder's place", setup.printed.clone()),
    ] {
        if let Some(panic) = panic_in(plugin, name, setup, &root) {
            return Ok(Verdict::Fail(format!("{what}: {panic}")));
        }
    }
    Ok(Verdict::Pass)
}

/// Opens a dataset and asks it for everything; gives the error of a call that panicked. Others are as they should be.
fn panic_in(plugin: &Plugin, name: &str, setup: &Setup, root: &Path) -> Option<String> {
    let asked = || -> Result<(), PluginError> {
        let dataset = plugin.open_dataset(name, root, &setup.keys)?;
        for split in SPLITS {
            let count = dataset.len(split)?;
            dataset.records(split, 0..count.min(COMPARED))?;
            dataset.records(split, count.saturating_sub(COMPARED)..count)?;
        }
        dataset.files()?;
        dataset.verify().map(drop)
    };
    asked().err().filter(PluginError::is_panic).map(|error| error.to_string())
}
