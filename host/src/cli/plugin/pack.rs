//! `coin-host plugin pack`: a plugin as one verified folder or file.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;
use clap::Args;

use super::password;
use crate::cli::output::Output;
use crate::config::ConfigError;
use crate::plugin::discover::Candidate;
use crate::plugin::manifest::{Build, Manifest};
use crate::plugin::package::Contents;
use crate::plugin::signature::Key;
use crate::plugin::{Catalog, PluginError, discover, elf, manifest, package, secret};

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
        let glibc = elf::read(&image.bytes).ok().and_then(|headers| headers.glibc);
        let glibc = glibc.map(|(major, minor)| format!("{major}.{minor}"));
        let build = Build { glibc, ..build(&self.folder) };
        let mut contents = package::gather(manifest, &self.folder, image.bytes, build)?;
        describe(&contents)?;
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

/// Has the library loaded by a process of its own, as others will load it: what it says of itself must be what the manifest says.
fn describe(contents: &Contents) -> anyhow::Result<()> {
    let stage = tempfile::tempdir().context("no temporary folder can be made")?;
    contents.write_folder(stage.path())?;
    let about = &contents.manifest.plugin;
    let described = Command::new(std::env::current_exe()?)
        .args(["plugin", "info", &about.name, "--trust", "any", "--plugin-dir"])
        .arg(stage.path())
        // What is trusted here is no matter: it is a question to the library alone.
        .current_dir(stage.path())
        .env("XDG_DATA_HOME", stage.path().join("none"))
        .env("XDG_CONFIG_HOME", stage.path().join("none"))
        .stdin(Stdio::null())
        .output()?;
    if described.status.success() {
        return Ok(());
    }
    // Where it was put for that is gone by then.
    let told =
        String::from_utf8_lossy(&described.stderr).replace(&format!("{}/", stage.path().display()), "");
    let told = told.lines().skip_while(|line| !line.starts_with("error: ")).collect::<Vec<_>>().join("\n");
    let reason = match told.split_once("refused: ") {
        Some((_, reason)) => reason.to_owned(),
        None => format!(
            "it cannot be loaded ({}) {told}\nhint: `coin-host plugin check` says more",
            described.status
        ),
    };
    Err(PluginError::refused(format!("`{}` {}", about.name, about.version), reason).into())
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
            match answer("git", &["status", "--porcelain", "--untracked-files=no"]) {
                Some(_) => format!("{commit}-dirty"),
                None => commit,
            }
        }),
        rustc: answer("rustc", &["--version"]),
        glibc: None,
    }
}
