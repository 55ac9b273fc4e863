//! `coin-host plugin pack`: a plugin as one verified folder or file.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

use super::password;
use crate::cli::output::Output;
use crate::config::ConfigError;
use crate::plugin::discover::Candidate;
use crate::plugin::manifest::{Build, Manifest};
use crate::plugin::signature::Key;
use crate::plugin::{Catalog, PluginError, discover, manifest, package, secret};

#[derive(Debug, Args)]
pub(super) struct PackCommand {
    /// Folder of the plugin's crate
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The built library [default: target/release of the crate or of a folder above it]
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Where the package goes
    #[arg(long, value_name = "FOLDER", default_value = "dist")]
    out: PathBuf,
    /// Write a folder instead of one `.tar.zst`
    #[arg(long)]
    as_folder: bool,
    /// Sign it with a secret key that `plugin keygen` or `minisign -G` made
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
}

impl PackCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let path = self.folder.join(manifest::FILE);
        if !path.is_file() {
            let hint = "a package is made from the folder of a plugin's crate";
            return Err(ConfigError::new(format!("there is no {}", path.display())).hint(hint).into());
        }
        let manifest =
            Manifest::read(&path).map_err(|error| PluginError::refused(path.display().to_string(), error))?;
        let name = manifest.plugin.name.clone();
        let library = self.library.clone().unwrap_or_else(|| discover::built_library(&self.folder, &name));
        if !library.is_file() {
            let hint = "`cargo build --release` makes it; `--library` names another";
            return Err(ConfigError::new(format!("there is no {}", library.display())).hint(hint).into());
        }
        // What could not be loaded here is not given to others.
        let image = Catalog::empty().read(&Candidate::named(name, &library))?;
        let mut contents = package::gather(manifest, &self.folder, image.bytes, build(&self.folder))?;
        if let Some(path) = &self.sign {
            let secret = secret::read(path, password::known)?;
            contents.sign(&secret)?;
            let key = Key::of(&secret).map_err(anyhow::Error::msg)?;
            output.note(&format!("signed by {}, fingerprint {}", key.id(), key.fingerprint()));
        }
        let path = if self.as_folder {
            contents.write_folder(&self.out)?
        } else {
            contents.write_archive(&self.out)?
        };
        for file in &contents.manifest.files {
            output.note(&format!("{}  {} bytes", file.path, file.size));
        }
        output.data(&path.display().to_string())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the library comes from, as far as git and rustc are there to tell.
pub(super) fn build(folder: &Path) -> Build {
    let answer = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(folder).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    Build {
        commit: answer("git", &["rev-parse", "HEAD"]).map(|commit| {
            match answer("git", &["status", "--porcelain"]) {
                Some(_) => format!("{commit}-dirty"),
                None => commit,
            }
        }),
        rustc: answer("rustc", &["--version"]),
        glibc: None,
    }
}
