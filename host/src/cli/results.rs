//! `coin-host results`: results that other people published.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::cli::output::Output;
use crate::data::bad_input::BadInput;
use crate::report::published::{EMBEDDED, Published};
use crate::report::results::FILE_NAME;
use crate::report::{against, tables};

#[derive(Debug, Args)]
pub(crate) struct ResultsCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the published results that come with the program
    List,
    /// Read a published matrix: compute what its known cells allow, and write it as a results.json
    Import(Import),
}

#[derive(Debug, Args)]
struct Import {
    /// TOML file as in docs/published, or the name of one that comes with the program
    file: String,
    /// Folder for the results.json; without one, nothing is written
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

impl ResultsCommand {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::List => {
                let line =
                    |(name, _): &(&str, &str)| Ok(format!("{name}  {}\n", Published::find(name)?.title));
                let lines: Vec<String> = EMBEDDED.iter().map(line).collect::<anyhow::Result<_>>()?;
                output.data(&lines.concat())?;
            }
            Command::Import(import) => import.run(output)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Import {
    fn run(&self, output: &Output) -> anyhow::Result<()> {
        let published =
            Published::find(&self.file).map_err(|error| BadInput::from(anyhow::Error::from(error)))?;
        let results = published.results();
        if let Some(folder) = &self.out {
            let path = folder.join(FILE_NAME);
            if path.exists() {
                let message =
                    format!("{} is there already\nhint: name a new folder with --out", path.display());
                return Err(BadInput::from(anyhow::anyhow!(message)).into());
            }
            std::fs::create_dir_all(folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
            results.write(&path)?;
            output.note(&format!("results: {}", path.display()));
        }
        if self.json {
            return output.json(&results);
        }
        let title = format!("{} ({})", published.title, published.paper);
        let figures = tables::titled("Metrics (percent)", &against::own_figures(&published));
        output.data(&format!(
            "{title}\n\n{figures}\n{}",
            tables::matrices(&results, published.scorer.name())
        ))?;
        Ok(())
    }
}
