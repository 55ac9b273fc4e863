//! `coin-host plugin keygen`: a key to sign packages with.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::password;
use crate::cli::output::Output;
use crate::config::ConfigError;
use crate::plugin::discover::Surroundings;
use crate::plugin::secret;

#[derive(Debug, Args)]
pub(super) struct KeygenCommand {
    /// Where the secret key goes; the public one stands beside it, with the ending `.pub` [default: signing.key in your configuration,
    /// ~/.config/coin-host]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Protect the secret key by nothing but the permissions of its file
    #[arg(long)]
    no_password: bool,
}

impl KeygenCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let path = match &self.out {
            Some(path) => path.clone(),
            None => {
                let keys = Surroundings::of_process().keys();
                let nowhere =
                    || ConfigError::new("the user has no folder for keys").hint("name a file with --out");
                keys.ok_or_else(nowhere)?.with_file_name("signing.key")
            }
        };
        let password = if self.no_password { None } else { Some(password::new()?) };
        let (key, public) = secret::generate(&path, password)?;
        output.note(&format!("secret key   {} (keep it to yourself)", path.display()));
        output.note(&format!("public key   {}", public.display()));
        output.note(&format!("id           {}", key.id()));
        output.note(&format!("fingerprint  {}", key.fingerprint()));
        output.data(&key.line())?;
        Ok(ExitCode::SUCCESS)
    }
}
