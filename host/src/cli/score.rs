//! `coin-host score`: predictions of any tool against annotation files, or the kept answers of a run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::cli::output::Output;
use crate::config;
use crate::data::bad_input::BadInput;
use crate::eval::file::{self, BenchmarkTask};
use crate::eval::measure;
use crate::eval::scorer::{Scorer, Tally};
use crate::judge::Judging;
use crate::kept::{Column, KeptRun, change};

#[derive(Debug, Args)]
pub(crate) struct ScoreCommand {
    /// Task of the benchmark; `general-knowledge` for the replies of a judge
    #[arg(
        value_parser = PossibleValuesParser::new(BenchmarkTask::ALL.map(BenchmarkTask::name)),
        required_unless_present = "run",
        conflicts_with = "run"
    )]
    task: Option<String>,
    /// Folder with the task's annotation files under their original names
    #[arg(long, value_name = "FOLDER", conflicts_with = "run")]
    annotations: Option<PathBuf>,
    /// Predictions in CoIN's form, one object a line: `{"question_id": .., "text": ..}`
    #[arg(long, value_name = "FILE", required_unless_present = "run", conflicts_with = "run")]
    predictions: Option<PathBuf>,
    /// Whose rules: the data set's own, or those of CoIN's scripts with their defects [default: official; of a run those that it has]
    #[arg(long, visible_alias = "scorers", value_name = "A,B", value_delimiter = ',')]
    scorer: Vec<Rules>,
    /// Score the kept answers of a run anew, without data or GPU, and write its results.json and report.html
    #[arg(long, value_name = "FOLDER")]
    run: Option<PathBuf>,
    #[command(flatten)]
    judge: JudgeOptions,
    /// Print JSON: the score of each item; of a run, its results
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Judge")]
struct JudgeOptions {
    /// Also have the run's answers judged by a language model, as `[judge]` of the configuration says
    #[arg(long, requires = "run")]
    judge: bool,
    /// File with a table `[judge]`, over that of the run
    #[arg(long, value_name = "FILE", requires = "judge")]
    config: Option<PathBuf>,
    /// Write a value over the configuration's: `judge.votes=3`
    #[arg(long, value_name = "KEY=VALUE", requires = "judge")]
    set: Vec<String>,
    /// Say what judging would cost, and stop
    #[arg(long, requires = "judge")]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Rules {
    Official,
    Coin,
}

impl Rules {
    fn scorer(self) -> Scorer {
        match self {
            Rules::Official => Scorer::Official,
            Rules::Coin => Scorer::Coin,
        }
    }
}

impl ScoreCommand {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        match (&self.run, &self.task, &self.predictions) {
            (Some(run), _, _) => self.score_run(run, output),
            (None, Some(task), Some(predictions)) => self.score_file(task, predictions, output),
            _ => Err(wrong("name a task and its --predictions, or a --run")),
        }
    }

    fn score_file(&self, task: &str, predictions: &Path, output: &Output) -> anyhow::Result<ExitCode> {
        let task: BenchmarkTask = task.parse()?;
        let scorer = match self.scorer[..] {
            [] => Scorer::Official,
            [rules] => rules.scorer(),
            _ => {
                return Err(wrong(
                    "a file of predictions is scored by one scorer at a time\nhint: `--scorer coin`",
                ));
            }
        };
        let tally = file::score(task, scorer, self.annotations.as_deref(), predictions)
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

    /// Scores the kept answers of a run; with `--judge` they are judged first.
    fn score_run(&self, folder: &Path, output: &Output) -> anyhow::Result<ExitCode> {
        let mut run = KeptRun::open(folder)?;
        let before = run.results.clone();
        let mut names: Vec<&'static str> = self.scorer.iter().map(|rules| rules.scorer().name()).collect();
        if names.is_empty() {
            names = run
                .results
                .scorers()
                .iter()
                .filter_map(|name| Some(name.parse::<Scorer>().ok()?.name()))
                .collect();
        }
        names.sort_unstable();
        names.dedup();
        names.extend(measure::COMPUTED);
        if self.judge.judge {
            let configured = before.config.get("judge").cloned().map(serde_json::from_value).transpose()?;
            let configured = configured.map(config::judge::of_a_run);
            let config = config::judge::judge(configured, self.judge.config.as_deref(), &self.judge.set)?;
            let judging = Judging::prepare(&run, &config)?;
            output.note(&judging.estimate());
            if self.judge.dry_run {
                return Ok(ExitCode::SUCCESS);
            }
            let verdicts = judging.ask(&mut |text| output.note(text))?;
            for remark in verdicts.fill(&mut run)? {
                output.warning(&remark);
            }
        }
        let columns: Vec<Column> = names.iter().map(|name| Column::mean(name)).collect();
        run.fill(&columns)?;
        for name in &names {
            run.fill_blind(name);
        }
        run.write()?;
        if self.judge.judge {
            names.extend([measure::KNOWLEDGE_JUDGE, measure::KNOWLEDGE_JUDGE_COIN]);
        }
        if self.json {
            output.json(&run.results)?;
        } else {
            let lines = change::lines(&before, &run.results, &names);
            output.data(&format!(
                "scored {}: {}\n{}",
                folder.display(),
                names.join(", "),
                lines.join("\n")
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn wrong(message: &str) -> anyhow::Error {
    BadInput::from(anyhow::anyhow!(message.to_owned())).into()
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
