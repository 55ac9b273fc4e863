//! Where a pre-training run stands, so that it can go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::origin::{ORIGIN, Origin};
use super::pace::Recent;
use crate::files;
use crate::model::weights;

/// The next step to take, and what the next line of the log needs to know of those before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub stage: usize,
    pub step: usize,
    /// Losses since the last line.
    #[serde(default)]
    pub recent: Recent,
    /// Time that the stage has taken.
    #[serde(default)]
    pub seconds: f64,
}

const FOLDER: &str = "checkpoint";
/// One that has [`PROGRESS`] is whole, and later than [`FOLDER`].
const FRESH: &str = "checkpoint.new";
/// What is being removed.
const OLD: &str = "checkpoint.old";
const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
/// Written last.
const PROGRESS: &str = "progress.json";

/// A checkpoint in memory.
pub struct Saved {
    pub progress: Progress,
    pub weights: BTreeMap<String, Tensor>,
    pub optimizer: BTreeMap<String, Tensor>,
}

/// Writes `out/checkpoint`, complete before it takes the place of the one before. Whenever it is killed, a whole one is left, which [`load`] finds.
pub fn save(
    out: &Path,
    origin: &Origin,
    progress: Progress,
    weights: &BTreeMap<String, Tensor>,
    optimizer: &BTreeMap<String, Tensor>,
) -> Result<()> {
    let fresh = out.join(FRESH);
    remove(out, FRESH)?;
    fs::create_dir_all(&fresh).with_context(|| format!("folder {} cannot be made", fresh.display()))?;
    weights::save(&fresh.join(WEIGHTS), weights, None)?;
    weights::save(&fresh.join(OPTIMIZER), optimizer, None)?;
    let write = |name: &str, text: String| {
        let path = fresh.join(name);
        files::replace(&path, text.as_bytes())
            .with_context(|| format!("{} cannot be written", path.display()))
    };
    write(ORIGIN, serde_json::to_string_pretty(origin)?)?;
    write(PROGRESS, serde_json::to_string(&progress)?)?;
    put(out)
}

/// Gives the fresh checkpoint its name.
fn put(out: &Path) -> Result<()> {
    let (folder, fresh) = (out.join(FOLDER), out.join(FRESH));
    remove(out, OLD)?;
    let failed = || format!("{} cannot be replaced", folder.display());
    if folder.exists() {
        fs::rename(&folder, out.join(OLD)).with_context(failed)?;
    }
    fs::rename(&fresh, &folder).with_context(failed)?;
    remove(out, OLD)
}

/// Removes a folder, in one move under its name: what is half removed is never taken for a checkpoint.
fn remove(out: &Path, name: &str) -> Result<()> {
    let (path, old) = (out.join(name), out.join(OLD));
    let failed = || format!("{} cannot be removed", path.display());
    if old.exists() {
        fs::remove_dir_all(&old).with_context(failed)?;
    }
    if name != OLD && path.exists() {
        fs::rename(&path, &old).with_context(failed)?;
        fs::remove_dir_all(&old).with_context(failed)?;
    }
    Ok(())
}

/// The progress of a checkpoint that has all its files.
fn progress(folder: &Path) -> Option<Progress> {
    let is_there = [WEIGHTS, OPTIMIZER, ORIGIN].iter().all(|name| folder.join(name).is_file());
    let text = fs::read_to_string(folder.join(PROGRESS)).ok().filter(|_| is_there)?;
    serde_json::from_str(&text).ok()
}

/// The checkpoint in `out`, if there is one.
///
/// # Errors
/// One that is damaged, or began with another configuration or another model; `alignment.steps` alone may have grown.
pub fn load(out: &Path, origin: &Origin) -> Result<Option<Saved>> {
    let hint = || format!("hint: remove {} to begin anew, or name an empty folder with --out", out.display());
    let whole = |name: &str| Some((out.join(name), progress(&out.join(name))?));
    let Some((folder, progress)) = whole(FRESH).or_else(|| whole(FOLDER)) else {
        let folder = out.join(FOLDER);
        ensure!(
            !folder.exists(),
            "{} is not whole, and no other checkpoint is\n{}",
            folder.display(),
            hint()
        );
        return Ok(None);
    };
    origin.check(&folder)?;
    let tensors = |name: &str| {
        weights::load_all(&folder.join(name))
            .with_context(|| format!("{} is damaged\n{}", folder.display(), hint()))
    };
    let saved = Saved { progress, weights: tensors(WEIGHTS)?, optimizer: tensors(OPTIMIZER)? };
    if folder.ends_with(FRESH) {
        put(out)?;
    }
    Ok(Some(saved))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        serde_json::from_value(serde_json::json!({"config": {}, "content": {}})).expect("JSON")
    }

    fn save_step(out: &Path, step: usize) {
        let tensors = BTreeMap::from([("a".to_owned(), Tensor::from_slice(&[step as f32]))]);
        let progress = Progress { step, ..Progress::default() };
        save(out, &origin(), progress, &tensors, &tensors).expect("saved");
    }

    fn step(out: &Path) -> usize {
        let saved = load(out, &origin()).expect("sound").expect("there");
        assert_eq!(saved.weights["a"].double_value(&[0]), saved.progress.step as f64);
        assert_eq!(saved.optimizer["a"].double_value(&[0]), saved.progress.step as f64);
        saved.progress.step
    }

    /// A folder with step 2 as the checkpoint and step 3 as the fresh one, as just before they change places.
    fn both() -> tempfile::TempDir {
        let out = tempfile::tempdir().expect("a folder");
        save_step(out.path(), 3);
        fs::rename(out.path().join(FOLDER), out.path().join("three")).expect("moved");
        save_step(out.path(), 2);
        fs::rename(out.path().join("three"), out.path().join(FRESH)).expect("moved");
        out
    }

    fn refused(out: &Path) -> String {
        format!("{:#}", load(out, &origin()).err().expect("refused"))
    }

    #[test]
    fn a_torn_checkpoint_never_wins_over_a_whole_one() {
        for name in [WEIGHTS, OPTIMIZER, ORIGIN, PROGRESS] {
            for (torn, left) in [(FOLDER, 3), (FRESH, 2)] {
                let out = both();
                fs::remove_file(out.path().join(torn).join(name)).expect("removed");
                assert_eq!(step(out.path()), left, "{torn} without {name}");
                // What was found stays found, and gives way to what is saved next.
                assert_eq!(step(out.path()), left, "{torn} without {name}");
                save_step(out.path(), 4);
                assert_eq!(step(out.path()), 4, "{torn} without {name}");
                assert_eq!(fs::read_dir(out.path()).expect("there").count(), 1);
            }
        }
    }

    #[test]
    fn the_fresh_one_wins_once_it_is_whole() {
        let out = both();
        fs::rename(out.path().join(FOLDER), out.path().join(OLD)).expect("moved");
        assert_eq!(step(out.path()), 3);
        assert!(out.path().join(FOLDER).is_dir() && !out.path().join(FRESH).exists());
        assert_eq!(step(both().path()), 3);
    }

    #[test]
    fn a_checkpoint_that_is_not_whole_or_damaged_says_what_to_do() {
        let out = tempfile::tempdir().expect("a folder");
        assert!(load(out.path(), &origin()).expect("nothing").is_none());
        save_step(out.path(), 1);
        fs::write(out.path().join(FOLDER).join(OPTIMIZER), "torn").expect("written");
        let said = refused(out.path());
        assert!(said.contains("is damaged") && said.contains("hint: "), "{said}");
        fs::remove_file(out.path().join(FOLDER).join(WEIGHTS)).expect("removed");
        let said = refused(out.path());
        assert!(said.contains("is not whole") && said.contains("hint: "), "{said}");
    }

    #[test]
    fn one_of_before_the_log_was_gone_on_with_is_read() {
        let old: Progress = serde_json::from_str(r#"{"stage":1,"step":30}"#).expect("read");
        assert_eq!(old, Progress { stage: 1, step: 30, ..Progress::default() });
    }
}
