//! `coin-host plugin trust`: whose signatures count.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use toml::value::Datetime;

use crate::cli::output::Output;
use crate::config::ConfigError;
use crate::plugin::discover::Surroundings;
use crate::plugin::keyring::{self, Keyring};
use crate::plugin::signature::Key;
use crate::plugin::{index, verify};

#[derive(Debug, Args)]
pub(super) struct TrustCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trust a key of a lab, or say where its packages are
    Add(AddCommand),
    /// Forget a lab with its keys, or one of its keys; what it signed and you locked stays
    Remove(RemoveCommand),
    /// Show the labs and keys that are trusted, and keys that are revoked
    List(ListCommand),
    /// Refuse from now on everything that a key signed, also where it is locked
    Revoke(RevokeCommand),
}

#[derive(Debug, Args)]
struct AddCommand {
    /// Your name for the lab: lower-case letters, digits and hyphens
    lab: String,
    /// The public key: its line (RW..) or its `.pub` file
    #[arg(long, required_unless_present = "index")]
    key: Option<String>,
    /// Folder or web address with the lab's index.toml, for `plugin add LAB:NAME`
    #[arg(long, value_name = "FOLDER|URL")]
    index: Option<String>,
    /// The last day on which the key is trusted, as 2027-12-31
    #[arg(long, value_name = "DAY", requires = "key")]
    until: Option<Datetime>,
}

#[derive(Debug, Args)]
struct RemoveCommand {
    lab: String,
    /// Only this key: its line, its file, its id or its fingerprint
    #[arg(long)]
    key: Option<String>,
}

#[derive(Debug, Args)]
struct ListCommand {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RevokeCommand {
    /// The public key: its line, its file, or the id or fingerprint of a known one
    key: String,
    /// Why, for whoever meets the refusal
    #[arg(long)]
    reason: Option<String>,
}

impl TrustCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let nowhere =
            || ConfigError::new("the user has no folder for keys").hint("set XDG_CONFIG_HOME or HOME");
        let path = Surroundings::of_process().keys().ok_or_else(nowhere)?;
        match &self.command {
            Command::List(command) => {
                return command.run(&Keyring::read(&path).map_err(ConfigError::new)?, output);
            }
            Command::Add(command) => Keyring::change(&path, |keyring| command.run(keyring, output))?,
            Command::Remove(command) => Keyring::change(&path, |keyring| command.run(keyring, output))?,
            Command::Revoke(command) => Keyring::change(&path, |keyring| {
                let key = key(keyring, &command.key)?;
                keyring.revoke(&key, command.reason.clone());
                output.note(&format!("revoked {} ({})", key.id(), key.fingerprint()));
                Ok(())
            })?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A key by its line, its file, its id or its fingerprint.
fn key(keyring: &Keyring, text: &str) -> Result<Key, ConfigError> {
    let file = Path::new(text);
    if file.is_file() {
        let in_file = |error: String| ConfigError::new(format!("{text}: {error}"));
        let bytes = verify::read_up_to(file, 4 << 10, "a public key").map_err(in_file)?;
        return Key::parse(&String::from_utf8_lossy(&bytes)).map_err(in_file);
    }
    keyring.key(text).map_err(ConfigError::new)
}

impl AddCommand {
    fn run(&self, keyring: &mut Keyring, output: &Output) -> anyhow::Result<()> {
        let key = self.key.as_deref().map(|text| key(keyring, text)).transpose()?;
        let index = self.index.as_deref().map(|text| match index::Place::parse(text) {
            index::Place::Web(address) => Ok(address),
            index::Place::Folder(folder) => {
                std::path::absolute(folder).map(|folder: PathBuf| folder.display().to_string())
            }
        });
        keyring.trust(&self.lab, key.as_ref(), self.until, index.transpose()?).map_err(ConfigError::new)?;
        if let Some(key) = &key {
            output.note(&format!(
                "lab {}: trusted key {}, fingerprint {}",
                self.lab,
                key.id(),
                key.fingerprint()
            ));
            output.note("note: compare the fingerprint with one that the lab itself gave you, by another way than the package");
        }
        Ok(())
    }
}

impl RemoveCommand {
    fn run(&self, keyring: &mut Keyring, output: &Output) -> anyhow::Result<()> {
        let of_key = self.key.as_deref().map(|text| key(keyring, text)).transpose()?;
        keyring.forget(&self.lab, of_key.as_ref()).map_err(ConfigError::new)?;
        output.note(&match of_key {
            Some(key) => format!("lab {}: key {} is forgotten", self.lab, key.id()),
            None => format!("lab {} is forgotten", self.lab),
        });
        Ok(())
    }
}

impl ListCommand {
    fn run(&self, keyring: &Keyring, output: &Output) -> anyhow::Result<ExitCode> {
        let shown = |public: &str| {
            let key = Key::parse(public).ok();
            (
                key.as_ref().map(Key::id).unwrap_or_default(),
                key.map(|key| key.fingerprint()).unwrap_or_default(),
            )
        };
        if self.json {
            let keys = |lab: &keyring::Lab| -> Vec<_> {
                let key = |key: &keyring::LabKey| {
                    let (id, fingerprint) = shown(&key.public);
                    json!({ "public": key.public, "id": id, "fingerprint": fingerprint, "until": key.last_day().map(|day| day.to_string()) })
                };
                lab.keys.iter().map(key).collect()
            };
            let labs: Vec<_> = keyring
                .labs
                .iter()
                .map(|lab| json!({ "name": lab.name, "index": lab.index, "keys": keys(lab) }))
                .collect();
            let revoked: Vec<_> = keyring.revoked.iter().map(|revoked| {
                let (id, fingerprint) = shown(&revoked.public);
                json!({ "public": revoked.public, "id": id, "fingerprint": fingerprint, "lab": revoked.lab, "reason": revoked.reason })
            }).collect();
            output.json(&json!({ "labs": labs, "revoked": revoked }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut lines = Vec::new();
        for lab in &keyring.labs {
            let index = lab.index.as_ref().map(|index| format!("  {index}")).unwrap_or_default();
            lines.push(format!("{}{index}", lab.name));
            for key in &lab.keys {
                let (id, fingerprint) = shown(&key.public);
                let until = match key.last_day() {
                    Some(day) if keyring::later(keyring::today(), day) => format!("  expired {day}"),
                    Some(day) => format!("  until {day}"),
                    None => String::new(),
                };
                lines.push(format!("  {id}  {fingerprint}{until}"));
            }
        }
        for revoked in &keyring.revoked {
            lines.push(format!("revoked  {}", revoked.words()));
        }
        if lines.is_empty() {
            output.note("no lab is trusted\nhint: `coin-host plugin trust add LAB --key RW..`");
        } else {
            output.data(&lines.join("\n"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
