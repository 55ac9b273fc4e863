//! `coin-host data verify`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rayon::prelude::*;
use serde::Serialize;

use super::{Opened, Selection, table};
use crate::cli::output::Output;
use crate::compare::message::message;
use crate::compare::world;
use crate::config::{Location, Task};
use crate::data::manifest::{FILE_NAME, Manifest, key};
use crate::data::release;
use crate::data::verify::{Verified, verify};
use crate::plugin::PluginError;

/// Pictures of a kind that are printed; `--json` has more of them.
const PRINTED: usize = 20;

#[derive(Debug, Args)]
pub(super) struct VerifyCommand {
    #[command(flatten)]
    selection: Selection,
    /// Decode every picture and take its sha256, in place of looking at headers and ends
    #[arg(long)]
    full: bool,
    /// File with the content of the last check [default: data-manifest.json in each root folder]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Take what is found now as the content from here on
    #[arg(long)]
    update: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What became of a task's check.
#[derive(Serialize)]
struct Outcome {
    task: String,
    dataset: String,
    root: Location,
    #[serde(flatten)]
    found: Verified,
    /// What a person may want to know and is no fault.
    notes: Vec<String>,
    manifest: Standing,
    differences: Vec<String>,
}

#[derive(Serialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Standing {
    /// Embedded data, and data with faults.
    NotKept,
    Written,
    Agrees,
    Differs,
}

impl VerifyCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let mut checks = Vec::new();
        for (name, task, opened) in self.selection.resolve()?.open() {
            checks.push(match opened {
                // Without its plugin nothing is found out about any task.
                Err(error) if error.chain().any(refused) => return Err(error),
                opened => (name, task, opened),
            });
        }
        let found: Vec<anyhow::Result<Outcome>> =
            checks.into_par_iter().map(|(name, task, opened)| self.check(name, task, opened)).collect();
        let mut outcomes = found.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        self.compare(&mut outcomes, output)?;
        let is_sound = |outcome: &Outcome| outcome.found.is_sound() && outcome.differences.is_empty();
        let faulty = outcomes.iter().filter(|outcome| !is_sound(outcome)).count();
        if self.json {
            output.json(&serde_json::json!({"sound": faulty == 0, "tasks": outcomes}))?;
        } else {
            output.data(&text(&outcomes))?;
        }
        if faulty == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        let differs = outcomes.iter().any(|outcome| outcome.manifest == Standing::Differs);
        let hint = match differs {
            true => "\nhint: if the change is meant, `--update` takes it as the content from here on",
            false => "",
        };
        output.error(&format!("{faulty} of {} tasks have faults{hint}", outcomes.len()));
        Ok(ExitCode::from(2))
    }

    fn check(&self, name: String, task: Task, opened: anyhow::Result<Opened>) -> anyhow::Result<Outcome> {
        let (found, notes) = match opened {
            Ok(opened) => {
                let found = verify(opened.source.as_ref(), &opened.root, self.full)
                    .map_err(|error| error.context(format!("task {}", opened.name)))?;
                let notes = match opened.task.root {
                    Location::Builtin(_) => Vec::new(),
                    Location::Folder(_) => release::differences(&opened.task.dataset, found.counts),
                };
                (found, notes)
            }
            Err(error) => (Verified { problems: vec![message(&error)], ..Verified::default() }, Vec::new()),
        };
        Ok(Outcome {
            task: name,
            dataset: task.dataset.clone(),
            root: task.root.clone(),
            found,
            notes,
            manifest: Standing::NotKept,
            differences: Vec::new(),
        }
        .with_key(&task))
    }

    /// Holds sound tasks against the manifests, and takes those in that are new.
    fn compare(&self, outcomes: &mut [Outcome], output: &Output) -> anyhow::Result<()> {
        let mut manifests: BTreeMap<PathBuf, (Manifest, bool)> = BTreeMap::new();
        for outcome in outcomes.iter_mut() {
            let Location::Folder(root) = &outcome.root else { continue };
            let path = self.manifest.clone().unwrap_or_else(|| root.join(FILE_NAME));
            if !manifests.contains_key(&path) {
                let known = if path.exists() { Manifest::read(&path)? } else { Manifest::default() };
                manifests.insert(path.clone(), (known, false));
            }
            let Some((manifest, changed)) = manifests.get_mut(&path) else { continue };
            let key = outcome.dataset.clone();
            let differences = manifest.differences(&key, &outcome.found.content);
            outcome.manifest = match differences {
                Some(differences) if !differences.is_empty() && !self.update => {
                    outcome.differences = differences;
                    Standing::Differs
                }
                _ if !outcome.found.is_sound() => Standing::NotKept,
                Some(differences) if differences.is_empty() => {
                    let before = manifest.tasks.get(&key).cloned();
                    manifest.insert(key.clone(), outcome.found.content.clone());
                    *changed |= manifest.tasks.get(&key) != before.as_ref();
                    Standing::Agrees
                }
                _ => {
                    manifest.insert(key, outcome.found.content.clone());
                    *changed = true;
                    Standing::Written
                }
            };
        }
        for (path, (manifest, _)) in manifests.iter().filter(|(_, (_, changed))| *changed) {
            manifest.write(path)?;
            output.note(&format!("manifest: {}", path.display()));
        }
        Ok(())
    }
}

impl Outcome {
    /// With the keys of the dataset in its name, as a manifest has it.
    fn with_key(mut self, task: &Task) -> Outcome {
        if let Ok(keys) = world::dataset_keys(&self.task, task) {
            self.dataset = key(&task.dataset, &keys);
        }
        self
    }
}

fn refused(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<PluginError>().is_some_and(|error| error.exit_code() == 3)
}

fn text(outcomes: &[Outcome]) -> String {
    let mut rows = vec![
        ["TASK", "MANIFEST", "TRAIN", "VAL", "TEST", "PICTURES", "MISSING", "CORRUPT", "PROBLEMS"]
            .map(String::from)
            .to_vec(),
    ];
    let mut lines = Vec::new();
    for outcome in outcomes {
        let found = &outcome.found;
        let standing = match outcome.manifest {
            Standing::NotKept => "-",
            Standing::Written => "written",
            Standing::Agrees => "agrees",
            Standing::Differs => "DIFFERS",
        };
        let [train, val, test] = found.counts;
        let pictures = found.content.pictures.count + found.missing.count + found.corrupt.count;
        let numbers =
            [train, val, test, pictures, found.missing.count, found.corrupt.count, found.problems.len()];
        let texts = [outcome.task.clone(), standing.to_string()];
        rows.push(texts.into_iter().chain(numbers.map(|number| number.to_string())).collect());
        let mut say = |what: String| lines.push(format!("{}: {what}", outcome.task));
        found.problems.iter().for_each(|problem| say(problem.clone()));
        for (listed, kind) in [(&found.missing, " is missing"), (&found.corrupt, "")] {
            listed.first.iter().take(PRINTED).for_each(|picture| say(format!("{picture}{kind}")));
            if listed.count > PRINTED {
                say(format!("{} more pictures like the last", listed.count - PRINTED));
            }
        }
        outcome
            .differences
            .iter()
            .for_each(|difference| say(format!("other than the manifest: {difference}")));
        outcome.notes.iter().for_each(|note| say(format!("note: {note}")));
    }
    [vec![table(&rows, 2)], lines].concat().join("\n")
}
