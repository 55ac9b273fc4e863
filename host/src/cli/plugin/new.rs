//! `coin-host plugin new`: the crate of a plugin to start from.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::output::Output;
use crate::plugin::manifest::Kind;
use crate::plugin::scaffold::{self, Api};

#[derive(Debug, Args)]
pub(super) struct NewCommand {
    /// What it will be
    kind: NewKind,
    /// Its name: lower-case letters, digits and hyphens
    name: String,
    /// Folder of the crate [default: plugins/NAME in the project's repository, else ./NAME]
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
    /// Depend on coin-plugin-api from a folder, a git address or a published version [default: the repository's, else a copy that is
    /// written beside the plugin]
    #[arg(long, value_name = "PATH|GIT|VERSION")]
    api: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum NewKind {
    Method,
    Dataset,
}

impl NewCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let kind = match self.kind {
            NewKind::Method => Kind::Method,
            NewKind::Dataset => Kind::Dataset,
        };
        let folder = self.path.clone().unwrap_or_else(|| scaffold::folder(&self.name));
        let api = self.api.as_deref().map_or(Api::Nearest, Api::parse);
        let written = scaffold::write(kind, &self.name, &folder, &api)?;
        for path in written.iter().filter(|path| !path.starts_with(scaffold::API_FOLDER)) {
            output.note(&format!("wrote {}", folder.join(path).display()));
        }
        output.note(&format!("next: the commands in {}", folder.join("README.md").display()));
        output.data(&folder.display().to_string())?;
        Ok(ExitCode::SUCCESS)
    }
}
