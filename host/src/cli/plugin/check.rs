//! `coin-host plugin check`: whether a plugin keeps its part of the bargain.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::cli::output::Output;
use crate::cli::worker::private_streams;
use crate::compare::world;
use crate::config::{ConfigError, Location};
use crate::conformance::run::Plan;
use crate::conformance::{Limits, Outcome, Subject, Verdict, child, run};

const REFUSED: u8 = 3;

#[derive(Debug, Args)]
pub(super) struct CheckCommand {
    /// A plugin's library, the folder of its built crate, or a package
    #[arg(value_name = "FILE|FOLDER")]
    plugin: PathBuf,
    /// The files of its datasets, or builtin:quickstart
    #[arg(long, value_name = "FOLDER")]
    root: Option<String>,
    /// Of its datasets only these
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    datasets: Vec<String>,
    /// Of its kinds only this one
    #[arg(long, value_name = "KIND", value_parser = ["method", "dataset"])]
    kind: Option<String>,
    /// A key of its configuration, as in `--set r=4`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seconds that a check may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// MiB of memory that its process may take
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    memory: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Does the checks for a parent process.
#[derive(Debug, Args)]
pub(super) struct ChildCommand {
    /// Where stdout goes
    printed: PathBuf,
}

impl CheckCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let scratch = tempfile::tempdir().context("no temporary folder can be made")?;
        let root = self.root.clone().map(|root| world::root(&Location::from(root))).transpose()?;
        if let Some(root) = root.as_ref().filter(|root| !root.is_dir()) {
            return Err(ConfigError::new(format!("there is no folder `{}`", root.display())).into());
        }
        let plan = Plan {
            subject: Subject::find(&self.plugin, scratch.path())?,
            keys: keys(&self.set)?,
            root,
            datasets: self.datasets.clone(),
            method: self.kind.as_deref() != Some("dataset"),
            dataset: self.kind.as_deref() != Some("method"),
            limits: Limits { seconds: self.timeout, memory: self.memory << 20 },
        };
        let report = run(&plan, &mut |outcome| {
            if self.json { Ok(()) } else { Ok(output.data(&shown(outcome))?) }
        })?;
        if self.json {
            output.json(&report)?;
        } else {
            output.data(&report.summary())?;
        }
        Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
    }
}

impl ChildCommand {
    pub(super) fn run(&self, _output: &Output) -> anyhow::Result<ExitCode> {
        let printed =
            File::options().append(true).open(&self.printed).context("stdout has no place to go")?;
        let (requests, replies) = private_streams(printed).context("the streams cannot be set up")?;
        child::serve(BufReader::new(requests), replies)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// One line a check; hints stand below it.
fn shown(outcome: &Outcome) -> String {
    let name = match &outcome.dataset {
        Some(dataset) => format!("{dataset}: {}", outcome.check.name()),
        None => outcome.check.name().to_string(),
    };
    let text = match &outcome.verdict {
        Verdict::Pass => outcome.check.meaning(),
        Verdict::Fail(reason) | Verdict::Skip(reason) => reason,
    };
    format!("{}  {name:<14}  {}", outcome.verdict.word(), text.replace('\n', "\n      "))
}

/// `r=4` as TOML; what is no TOML value is text.
fn keys(set: &[String]) -> anyhow::Result<toml::Table> {
    let mut keys = toml::Table::new();
    for text in set {
        let Some((key, value)) = text.split_once('=') else {
            let error = ConfigError::new(format!("--set {text} has no `=`"));
            return Err(error.hint("a key and its value, as in `--set r=4`").into());
        };
        let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"));
        let parsed = parsed.ok().and_then(|mut table| table.remove("value"));
        keys.insert(key.trim().to_string(), parsed.unwrap_or_else(|| toml::Value::String(value.to_string())));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_toml_or_text() {
        let keys =
            keys(&[String::from("r=4"), String::from("fault=panic"), String::from("on=true")]).unwrap();
        assert_eq!(keys.to_string(), "fault = \"panic\"\non = true\nr = 4\n");
        assert!(super::keys(&[String::from("r")]).is_err());
    }
}
