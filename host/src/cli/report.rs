//! `coin-host report`: the tables of a run, made again from its results.json.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::cli::output::Output;
use crate::data::bad_input::BadInput;
use crate::eval::measure::is_measure;
use crate::files;
use crate::report::against;
use crate::report::published::Published;
use crate::report::results::Results;
use crate::report::{csv, html, latex, markdown, tables};

#[derive(Debug, Args)]
pub(crate) struct ReportCommand {
    /// Folder of a run, or a results.json
    run: PathBuf,
    /// Form of the report
    #[arg(long, default_value = "text")]
    format: Format,
    /// Only this scorer or measure, with its matrices: `official`, `coin`, `gk-offline`, `gk-judge`, `format-failure`
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Set published results beside the run's: `coin-llava-lora`, .. (`coin-host results list`), or a TOML file
    #[arg(long, value_name = "NAME", conflicts_with = "only")]
    against: Option<String>,
    /// Write to a file in place of stdout
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal
    Text,
    Markdown,
    Latex,
    /// A line for each cell and scorer
    Csv,
    /// A line for each entry of each matrix
    CsvMatrices,
    Html,
    Json,
}

impl ReportCommand {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let bad = |error: anyhow::Error| anyhow::Error::from(BadInput::from(error));
        let mut results = Results::read(&self.run).map_err(|error| bad(error.into()))?;
        if let Some(name) = &self.only {
            results = only(results, name).map_err(bad)?;
        }
        let text = match &self.against {
            Some(name) => {
                let theirs = Published::find(name).map_err(|error| bad(error.into()))?;
                self.beside(&results, &theirs).map_err(bad)?
            }
            None => self.rendered(&results)?,
        };
        match &self.out {
            None => output.data(&text)?,
            Some(path) => {
                files::replace(path, text.as_bytes())
                    .with_context(|| format!("{} cannot be written", path.display()))?;
                output.note(&format!("report: {}", path.display()));
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn rendered(&self, results: &Results) -> anyhow::Result<String> {
        let named = self.only.as_deref().filter(|name| is_measure(name));
        Ok(match self.format {
            Format::Text => match named {
                Some(name) => {
                    format!("{}\n{}", tables::comparison(results, name), tables::matrices(results, name))
                }
                None => tables::text(results),
            },
            Format::Markdown => markdown::text(results),
            Format::Latex => latex::text(results),
            Format::Csv => csv::cells(results),
            Format::CsvMatrices => csv::matrices(results),
            Format::Html => html::page(results),
            Format::Json => serde_json::to_string_pretty(results)?,
        })
    }

    fn beside(&self, results: &Results, theirs: &Published) -> anyhow::Result<String> {
        let found = against::compare(results, theirs);
        let titles = [
            ("Metrics, beside published ones (percent)", &found.metrics),
            ("Scores by task (percent)", &found.tasks),
        ];
        match self.format {
            Format::Text => {
                let parts: Vec<String> =
                    titles.iter().map(|(title, grid)| tables::titled(title, grid)).collect();
                Ok(format!("{}\n{}\n", parts.join("\n"), found.notes.join("\n")))
            }
            Format::Markdown => {
                let parts =
                    titles.iter().map(|(title, grid)| format!("## {title}\n\n{}\n", markdown::table(grid)));
                let notes = found.notes.iter().map(|note| format!("- {note}\n"));
                Ok(parts.chain(notes).collect())
            }
            _ => anyhow::bail!("`--against` is written as text or markdown\nhint: `--format markdown`"),
        }
    }
}

/// The results under one name.
fn only(mut results: Results, name: &str) -> anyhow::Result<Results> {
    let known: Vec<String> =
        results.scorers().into_iter().chain(results.measures()).map(str::to_owned).collect();
    anyhow::ensure!(
        known.iter().any(|known| known == name),
        "the run has nothing under `{name}`\nhint: it has {}",
        known.join(", ")
    );
    for cell in &mut results.cells {
        cell.scorers.retain(|known, _| known == name);
    }
    results.references.retain(|known, _| known == name);
    Ok(results)
}
