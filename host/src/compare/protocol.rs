//! What a comparison and its workers say to each other: one JSON object a line, requests on the worker's stdin, replies on its
//! stdout. The worker keeps both to itself: plugins find an empty stdin, and stderr in place of stdout.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::compare::content::Content;
use crate::compare::event::Line;
use crate::compare::outlook::tasks::Count;
use crate::compare::plan::Cell;
use crate::config::RunConfig;
use crate::report::format::{bytes, count};
use crate::report::results::{CellResult, PluginUse, References};

/// Something a worker can do by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Work {
    /// A cell of the grid.
    Cell { cell: Cell },
    /// Joint training on all tasks, as the reference of this number says.
    Joint { reference: usize, seed: u64 },
    /// Training on one task alone, as the reference of this number says.
    Single { reference: usize, seed: u64, task: String },
    /// Answers before any training, and the blind baselines.
    ZeroShot,
}

impl Work {
    /// Its folder in the run, and its name in events.
    pub fn name(&self) -> String {
        match self {
            Work::Cell { cell } => cell.to_string(),
            Work::Joint { seed, .. } => format!("joint/{seed}"),
            Work::Single { seed, task, .. } => format!("single/{seed}/{task}"),
            Work::ZeroShot => String::from("zero-shot"),
        }
    }

    /// Where it keeps its files, below the run's folder.
    pub fn folder(&self) -> PathBuf {
        match self {
            Work::Cell { cell } => PathBuf::from("cells").join(cell.to_string()),
            Work::Joint { .. } | Work::Single { .. } | Work::ZeroShot => {
                PathBuf::from("references").join(self.name())
            }
        }
    }
}

/// From the comparison to a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// First of all. `breadcrumb`: where the worker notes which hook runs.
    Setup { config: Box<RunConfig>, out: PathBuf, breadcrumb: PathBuf },
    /// Counts the records of a task.
    Count { task: String },
    /// Opens every task, or builds one method, and tells what is refused.
    Check { method: Option<String> },
    /// Does a piece of work. `beginning`: what a process that remembers more found of the stage that comes now.
    Run { work: Work, beginning: Option<String> },
}

/// Why a method or a task cannot run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The method; none where it concerns the whole run.
    pub method: Option<String>,
    pub message: String,
    /// The exit code that the run ends with: 2 for bad configuration, 3 for a refused plugin.
    pub exit: u8,
}

/// What a check found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Checked {
    pub refusals: Vec<Refusal>,
    /// The plugins of the method that was built.
    pub plugins: Vec<(String, Vec<PluginUse>)>,
    /// Where no method was named.
    pub inputs: Inputs,
    /// The same, where features are kept on disk.
    #[serde(default)]
    pub features: Option<FeatureSize>,
    /// What a person should know of the tasks.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// How large a cache of picture features gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureSize {
    pub folder: PathBuf,
    /// Pictures of all tasks, at most.
    pub pictures: u64,
    /// Of one picture.
    pub bytes: u64,
    /// Bytes in the folder now.
    pub held: u64,
    /// Bytes that it may grow to.
    pub most: u64,
    /// Of those in it the ones that other versions of the program keep there.
    pub others: u64,
    /// The folder in it that is not theirs.
    pub own: PathBuf,
}

impl std::fmt::Display for FeatureSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FeatureSize { folder, pictures, bytes: each, held, most, others, own } = self;
        let all = pictures * each;
        write!(
            f,
            "picture features: at most {} pictures of {}, {} in {}, which has {} and may grow to {}",
            count(*pictures as f64),
            bytes(*each as f64),
            bytes(all as f64),
            folder.display(),
            bytes(*held as f64),
            bytes(*most as f64)
        )?;
        if all.saturating_add(*others) > *most {
            write!(f, " (`feature_cache_gib`): the rest is computed in each run")?;
        }
        if *others > 0 {
            write!(
                f,
                "; {} of it are of other versions of this program, which this one does not read: all but {} may be removed",
                bytes(*others as f64),
                own.file_name().unwrap_or_default().display()
            )?;
        }
        Ok(())
    }
}

/// What a run reads besides its configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Inputs {
    /// The plugins that read the tasks, by the bytes that were loaded.
    pub datasets: Vec<PluginUse>,
    pub content: Vec<Content>,
}

/// From a worker to the comparison.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// What [`Request::Check`] found.
    Checked(Checked),
    /// What [`Request::Count`] found.
    Counted { count: Count },
    /// Progress of the work in hand.
    Event(Line),
    /// What a cell has measured so far: as it begins, and after each stage that it has answered.
    Measured(Box<CellResult>),
    /// A stage of a cell is done, and the next one is for another process. `beginning`: how this one would have gone on, or why that
    /// cannot be said.
    Stage { beginning: Option<Result<String, String>> },
    /// A cell or a joint training is done, or failed.
    Cell(Box<CellResult>),
    /// Zero-shot answers and blind baselines are done, by scorer.
    ZeroShot { references: Vec<(String, References)>, notes: Vec<String> },
    /// The work in hand cannot be done; where it is a cell, [`Reply::Cell`] tells.
    Failed { message: String },
}
