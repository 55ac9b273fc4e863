//! `coin-host plugin add`: taking in a plugin that somebody gave you.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::Search;
use crate::cli::output::Output;
use crate::plugin::discover::Surroundings;
use crate::plugin::manifest;
use crate::plugin::shelf::{Permissions, Shelf};

#[derive(Debug, Args)]
pub(super) struct AddCommand {
    /// A package: `.coinplugin.tar.zst`, its folder, its https address, or `LAB:NAME[@VERSION]` from a lab that `plugin trust` knows
    /// (`lab:NAME` asks all of them); or a bare library
    plugin: String,
    /// Let it take the place of the shipped plugin of its name
    #[arg(long)]
    replace_shipped: bool,
    /// Let it take the place of one that another lab signed
    #[arg(long)]
    replace_signed: bool,
    /// Take it over http, where anybody on the way can change it
    #[arg(long)]
    insecure_http: bool,
}

impl AddCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let shelf = Shelf::open(&Surroundings::of_process())?;
        let permissions = Permissions {
            replace_shipped: self.replace_shipped,
            replace_signed: self.replace_signed,
            insecure_http: self.insecure_http,
        };
        let mut told = Vec::new();
        let added = shelf.add(&self.plugin, permissions, &mut told);
        for told in &told {
            output.warning(told);
        }
        let added = added?;
        output.note(
            "note: a plugin is native code that runs with your rights; add it from people you trust only",
        );
        let locked = &added.locked;
        let version = locked.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        let signer = match &added.signer {
            Some(signer) => format!("signed by lab {}", signer.lab),
            None => String::from("not signed"),
        };
        output.data(&format!("added {}{version} ({}), {signer}", locked.name, locked.sha256))?;
        let catalog = Search::default().catalog();
        let (first, hidden) = catalog.find(&locked.name)?;
        if first.path != shelf.place(locked) {
            output.note(&format!("note: {} comes first and hides it", first.path.display()));
        } else {
            for other in hidden {
                output.note(&format!("note: it hides {}", other.path.display()));
            }
        }
        for example in examples(&shelf.place(locked)) {
            output.note(&format!("note: an example configuration is {}", example.display()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The TOML files of a package other than its manifest.
fn examples(library: &Path) -> Vec<PathBuf> {
    let folder = library.parent().filter(|folder| folder.join(manifest::FILE).is_file());
    let files = folder.and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = files.map(|file| file.path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "toml") && !path.ends_with(manifest::FILE));
    found.sort();
    found
}
