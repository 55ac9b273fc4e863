//! `coin-host plugin index`: what a folder of packages has to give.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::cli::output::Output;
use crate::config::ConfigError;
use crate::plugin::index;
use crate::plugin::signature::Key;

#[derive(Debug, Args)]
pub(super) struct IndexCommand {
    /// Folder with packages; its index.toml is written anew
    #[arg(default_value = "dist")]
    folder: PathBuf,
    /// A key of yours that must not be trusted any more (RW..): whoever adds from here is told
    #[arg(long, value_name = "KEY")]
    revoke: Vec<String>,
}

impl IndexCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let revoked: Result<Vec<Key>, String> = self.revoke.iter().map(|text| Key::parse(text)).collect();
        let index = index::of_folder(&self.folder, &revoked.map_err(ConfigError::new)?)?;
        let path = self.folder.join(index::FILE);
        index.write(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        for listed in &index.packages {
            let key =
                listed.key.as_ref().map_or(String::from("not signed"), |key| format!("signed by {key}"));
            output.note(&format!("{} {}  {key}", listed.name, listed.version));
        }
        output.data(&path.display().to_string())?;
        Ok(ExitCode::SUCCESS)
    }
}
