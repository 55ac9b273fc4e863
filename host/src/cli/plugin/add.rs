//! `coin-host plugin add`: taking in a plugin that somebody gave you.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Search;
use crate::cli::output::Output;
use crate::compare::message::message;
use crate::plugin::PluginError;
use crate::plugin::discover::Surroundings;
use crate::plugin::shelf::Shelf;

#[derive(Debug, Args)]
pub(super) struct AddCommand {
    /// A package (`.coinplugin.tar.zst`, or its folder) or a bare library
    plugin: PathBuf,
    /// Let it take the place of the shipped plugin of its name
    #[arg(long)]
    replace_shipped: bool,
}

impl AddCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let shelf = Shelf::open(&Surroundings::of_process())?;
        let added = shelf.add(&self.plugin, self.replace_shipped).map_err(|error| {
            match error.downcast_ref::<PluginError>() {
                Some(_) => error,
                None => PluginError::refused(self.plugin.display().to_string(), message(&error)).into(),
            }
        })?;
        output.note(
            "note: a plugin is native code that runs with your rights; add it from people you trust only",
        );
        let version = added.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        output.data(&format!("added {}{version} ({})", added.name, added.sha256))?;
        let catalog = Search::default().catalog();
        let (first, hidden) = catalog.find(&added.name)?;
        if first.path != shelf.place(&added) {
            output.note(&format!("note: {} comes first and hides it", first.path.display()));
        } else {
            for other in hidden {
                output.note(&format!("note: it hides {}", other.path.display()));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
