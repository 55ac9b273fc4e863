//! `coin-host score`: predictions of any tool against annotation files.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::cli::output::Output;
use crate::eval::file::{self, BenchmarkTask};
use crate::eval::scorer::{Scorer, Tally};

#[derive(Debug, Args)]
pub(crate) struct ScoreCommand {
    /// Task of the benchmark; `general-knowledge` for the replies of a judge
    #[arg(value_parser = PossibleValuesParser::new(BenchmarkTask::ALL.map(BenchmarkTask::name)))]
    task: String,
    /// Folder with the task's annotation files under their original names
    #[arg(long, value_name = "FOLDER")]
    annotations: Option<PathBuf>,
    /// Predictions in CoIN's form, one object a line: `{"question_id": .., "text": ..}`
    #[arg(long, value_name = "FILE")]
    predictions: PathBuf,
    /// Whose rules: the data set's own, or those of CoIN's scripts with their defects
    #[arg(long, default_value = "official")]
    scorer: Rules,
    /// Print JSON, with the score of each item
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Rules {
    Official,
    Coin,
}

impl ScoreCommand {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let task: BenchmarkTask = self.task.parse()?;
        let scorer = match self.scorer {
            Rules::Official => Scorer::Official,
            Rules::Coin => Scorer::Coin,
        };
        let tally = file::score(task, scorer, self.annotations.as_deref(), &self.predictions)
            .with_context(|| format!("{}, scorer {scorer}", task.name()))?;
        for remark in &tally.remarks {
            output.warning(remark);
        }
        if self.json {
            output.json(&as_json(task, scorer, &tally))?;
        } else {
            let total = printed(task, scorer, &tally);
            output.data(&format!(
                "{}, scorer {scorer}\ntotal  {total}\ncount  {}\n",
                task.name(),
                tally.count
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A judge's score is a whole number in the original.
fn printed(task: BenchmarkTask, scorer: Scorer, tally: &Tally) -> String {
    match (task, scorer) {
        (BenchmarkTask::GeneralKnowledge, Scorer::Coin) => format!("{:.0}", tally.total),
        _ => format!("{:.2}", tally.total),
    }
}

fn as_json(task: BenchmarkTask, scorer: Scorer, tally: &Tally) -> Value {
    let whole = printed(task, scorer, tally).parse::<i64>().ok();
    let per_sample: Map<String, Value> =
        tally.per_sample.iter().map(|(id, score)| (id.clone(), json!(score))).collect();
    json!({
        "task": task.name(),
        "scorer": scorer.name(),
        "total": whole.map_or(json!(tally.total), |whole| json!(whole)),
        "exact": tally.exact,
        "n": tally.count,
        "per_sample": per_sample,
    })
}
