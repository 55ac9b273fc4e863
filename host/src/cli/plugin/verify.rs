//! `coin-host plugin verify`: libraries against locks and manifests.

use std::process::ExitCode;

use clap::Args;

use super::Search;
use crate::cli::output::Output;
use crate::plugin::discover::Candidate;
use crate::plugin::package::Contents;

#[derive(Debug, Args)]
pub(super) struct VerifyCommand {
    /// `NAME` or `NAME@VERSION`; all of them without one
    plugin: Option<String>,
    #[command(flatten)]
    search: Search,
}

impl VerifyCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let catalog = self.search.catalog();
        let chosen: Vec<Candidate> = match &self.plugin {
            Some(wanted) => vec![catalog.find(wanted)?.0.clone()],
            None => catalog.candidates().to_vec(),
        };
        let mut code = ExitCode::SUCCESS;
        for candidate in &chosen {
            let version = candidate.version.as_deref().unwrap_or("?");
            // Of a package every file, as when it was added.
            let whole = |examined| match candidate.package() {
                Some(folder) => Contents::read(folder).map(|_| examined),
                None => Ok(examined),
            };
            match catalog.examine(candidate).and_then(whole) {
                Ok(examined) => output.data(&format!(
                    "{} {version}: {}, sha256 {}",
                    candidate.name, examined.ground.mark, examined.image.sha256
                ))?,
                Err(error) if self.plugin.is_some() => return Err(error.into()),
                Err(error) => {
                    output.data(&format!("{} {version}: refused", candidate.name))?;
                    output.note(&error.to_string());
                    code = ExitCode::from(3);
                }
            }
        }
        Ok(code)
    }
}
