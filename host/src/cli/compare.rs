//! `coin-host compare`: methods x orders x seeds, side by side.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::cli::output::Output;
use crate::compare::arguments::CompareArguments;
use crate::compare::outlook::rate::Rate;
use crate::compare::outlook::tasks::{self, Amount, SizesFrom};
use crate::compare::outlook::{self, Outlook};
use crate::compare::plan::Plan;
use crate::compare::protocol::Refusal;
use crate::compare::run::workers;
use crate::compare::{self, Refused, check};
use crate::config::{self, Location, Origins, Request, RunConfig, plugin_key};
use crate::report::results::Results;
use crate::report::tables;
use crate::stop::Stop;

/// What `--dry-run --json` prints.
#[derive(Serialize)]
struct PlanAndRefusals<'c> {
    #[serde(flatten)]
    plan: Plan,
    /// Estimates; left out where the model's shape or the size of the data is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    outlook: Option<Outlook>,
    /// What could not be checked, since it is not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    absent: Vec<String>,
    /// Tasks whose data is there and cannot be opened, with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    cannot_be_opened: BTreeMap<&'c str, &'c str>,
    /// `null` where the check itself failed.
    refusals: Option<&'c Vec<Refusal>>,
}

#[derive(Debug, Args)]
pub(crate) struct CompareCommand {
    /// Configuration file; without one, the embedded quickstart
    config: Option<PathBuf>,
    /// Only these methods, by name or as a `.toml` with a `stack`
    #[arg(long, value_delimiter = ',', value_name = "A,B,..", value_parser = item)]
    methods: Vec<String>,
    /// Only these tasks
    #[arg(long, value_delimiter = ',', value_name = "A,B,..", value_parser = item)]
    tasks: Vec<String>,
    /// Seeds in place of the configuration's
    #[arg(long, value_delimiter = ',', value_name = "0,1,..", value_parser = seed)]
    seeds: Vec<u64>,
    /// Task orders in place of the configuration's: names, or `random:N`
    #[arg(long, value_delimiter = ',', value_name = "A,B,..", value_parser = item)]
    orders: Vec<String>,
    /// Write a value over the configuration's: `training.steps=40`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// At most so many training steps and test items a task, for a proof that it runs: before all that `--set` says,
    /// `training.steps` and `evaluation.limit`
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Folder of the run; one that is there goes on, also with more methods, orders or seeds [default: runs/NAME]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Cells at a time [default: one on a GPU, else as many as the cores carry]
    #[arg(long, short, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Print the cells and what they will take, check what is there, and stop
    #[arg(long)]
    dry_run: bool,
    /// Operations a second, in 10^12, that estimates of time reckon with [default: on a CPU measured, of a GPU 300]
    #[arg(long, value_name = "NUMBER", requires = "dry_run", value_parser = tflops)]
    tflops: Option<f64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Train each stage in a new process that knows of the stages before only what the host was given to keep (sets
    /// `protocol.strict`), and tell which methods remember more
    #[arg(long)]
    strict_protocol: bool,
    /// Answer one question at a time, with adapters beside the weights (sets `evaluation.strict`); without, `evaluation.count_flips`
    /// counts the answers that this changes
    #[arg(long)]
    strict: bool,
    /// Leave out what cannot run instead of stopping before the first cell
    #[arg(long)]
    keep_going: bool,
    /// Train these methods again in a folder that has their cells already, or `all`
    #[arg(long, value_delimiter = ',', value_name = "A,B,..", value_parser = item)]
    redo: Vec<String>,
    /// Look for plugins here first
    #[arg(long, value_name = "FOLDER")]
    plugin_dir: Vec<String>,
}

/// An item of a list.
fn item(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err(String::from("an empty name in a list; write it with commas and without blanks: `a,b`")),
        name => Ok(name.to_string()),
    }
}

fn seed(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| {
        String::from("seeds are whole numbers with commas between them and without blanks: `0,1,2`")
    })
}

fn tflops(text: &str) -> Result<f64, String> {
    let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| String::from("a number above 0, in 10^12 operations a second: `300`"))
}

/// Refused methods with the places of the keys that their plugins do not know.
fn located(error: anyhow::Error, config: &RunConfig, origins: &Origins) -> anyhow::Error {
    match error.downcast::<Refused>() {
        Ok(mut refused) => {
            for refusal in &mut refused.refusals {
                if let Some(method) = &refusal.method {
                    refusal.message = plugin_key::located(&refusal.message, method, config, origins);
                }
            }
            refused.into()
        }
        Err(error) => error,
    }
}

/// Folders of weights and data that are not there.
fn absent(config: &RunConfig) -> Vec<String> {
    let roots = config.tasks.iter().map(|(_, task)| &task.root);
    let mut absent: Vec<String> = Vec::new();
    for place in [&config.backbone.path].into_iter().chain(roots) {
        if let Location::Folder(folder) = place
            && !folder.exists()
            && !absent.contains(&folder.display().to_string())
        {
            absent.push(folder.display().to_string());
        }
    }
    absent
}

impl CompareCommand {
    /// What is written over the configuration; the later one of two wins.
    fn settings(&self) -> Vec<String> {
        let limits = self
            .limit
            .iter()
            .flat_map(|limit| ["training.steps", "evaluation.limit"].map(|key| format!("{key}={limit}")));
        let strict = self.strict_protocol.then(|| String::from("protocol.strict=true"));
        let strictly = self.strict.then(|| String::from("evaluation.strict=true"));
        limits.chain(self.set.iter().cloned()).chain(strict).chain(strictly).collect()
    }

    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let loaded = config::load(&Request {
            path: self.config.as_deref(),
            set: &self.settings(),
            seeds: &self.seeds,
            orders: &self.orders,
            methods: &self.methods,
            tasks: &self.tasks,
            plugin_dirs: &self.plugin_dir,
        })?;
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(&loaded.config.name));
        let arguments = CompareArguments {
            config: loaded.config,
            out,
            jobs: self.jobs.map(usize::from),
            keep_going: self.keep_going,
            redo: self.redo.clone(),
            stop: Stop::on_signals()?,
            quiet: output.quiet(),
        };
        let located_here = |error| located(error, &arguments.config, &loaded.origins);
        if self.dry_run {
            return self.plan(&arguments, output).map_err(located_here);
        }
        let outcome = compare::run(&arguments).map_err(located_here)?;
        let whole = Results::read(&outcome.results)?;
        let cells = whole.cells.len();
        let results = Plan::new(&arguments.config).part(whole);
        if self.json {
            output.json(&results)?;
        } else {
            output.data(&tables::text(&results))?;
        }
        for (reference, message) in &outcome.failures {
            output.error(&format!("reference run {reference}: {message}"));
        }
        let hidden = match cells - results.cells.len() {
            0 => String::new(),
            1 => String::from(", with 1 more cell"),
            more => format!(", with {more} more cells"),
        };
        output.note(&format!("results: {}{hidden}", outcome.results.display()));
        output.note(&format!("report: {}", outcome.report.display()));
        Ok(if outcome.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Prints what would be done, what it would cost, and what is refused; nothing is written.
    fn plan(&self, arguments: &CompareArguments, output: &Output) -> anyhow::Result<ExitCode> {
        let mut plan = Plan::new(&arguments.config);
        let config = &arguments.config;
        let check::Counted { counts, refusals: lost } = check::counts(arguments)?;
        let broken = counts.iter().filter_map(|(task, count)| Some((task.as_str(), count.as_ref().err()?)));
        let cannot_be_opened: BTreeMap<&str, &str> = broken.map(|(task, why)| (task, why.as_str())).collect();
        let tasks = tasks::tasks(config, &counts);
        let mut outlook = None;
        if let Some(tasks) = tasks {
            let amount = Amount::of(config, &tasks);
            let is_counted = tasks.iter().all(|task| task.sizes_from == SizesFrom::Data);
            let rate = || Rate::of(config, self.tflops.map(|number| number * 1e12));
            outlook = outlook::of(config, tasks, workers(arguments), rate)?;
            // Sizes of CoIN's are not taken where nothing would say so.
            if is_counted || outlook.is_some() {
                plan.steps = Some(amount.steps);
                plan.answers = Some(amount.answers);
            }
        }
        if !self.json {
            output.data(&plan.to_string())?;
            if let Some(outlook) = &outlook {
                output.data(&outlook.to_string())?;
            }
            for (task, why) in &cannot_be_opened {
                output.data(&format!("{task} cannot be opened: {}", why.replace('\n', "\n  ")))?;
            }
        }
        let absent = absent(&arguments.config);
        // A plan for another machine: without an estimate there is nothing to say of what is missing but that.
        if outlook.is_some() && !absent.is_empty() {
            output.note(&format!(
                "nothing was checked, data neither, since this is not here: {}",
                absent.join(", ")
            ));
            if self.json {
                let refusals = None;
                output.json(&PlanAndRefusals { plan, outlook, absent, cannot_be_opened, refusals })?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        // A plugin that was lost is not waited for again.
        let checked =
            if lost.is_empty() { compare::check(arguments) } else { Err(Refused { refusals: lost }.into()) };
        if let Ok(checked) = &checked {
            checked.features.iter().for_each(|features| output.note(&features.to_string()));
            checked.notes.iter().for_each(|note| output.note(note));
        }
        if self.json {
            let refusals = match &checked {
                Ok(checked) => Some(&checked.refusals),
                Err(error) => error.downcast_ref::<Refused>().map(|refused| &refused.refusals),
            };
            output.json(&PlanAndRefusals { plan, outlook, absent, cannot_be_opened, refusals })?;
        }
        for refusal in &checked?.refusals {
            output.error(&refusal.to_string());
        }
        Ok(ExitCode::SUCCESS)
    }
}
