//! `manifest.json`: what a run is made of. A run that goes on must agree with it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::compare::check::Refused;
use crate::compare::content::Content;
use crate::compare::protocol::{Inputs, Refusal};
use crate::config::RunConfig;
use crate::report::results::PluginUse;

const FILE_NAME: &str = "manifest.json";

/// What a run is made of.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: u32,
    pub host_version: String,
    /// sha256 over the keys of the configuration that make the run what it is.
    pub config_sha256: String,
    pub config: RunConfig,
    /// Methods left out, with the reason.
    #[serde(default)]
    pub refused: Vec<Refusal>,
    /// The plugins of each method, by the bytes that were loaded.
    #[serde(default)]
    pub plugins: Vec<(String, Vec<PluginUse>)>,
    #[serde(flatten)]
    pub inputs: Inputs,
}

impl Manifest {
    pub fn new(
        config: &RunConfig,
        refused: &[Refusal],
        plugins: Vec<(String, Vec<PluginUse>)>,
        inputs: Inputs,
    ) -> Manifest {
        Manifest {
            schema: 1,
            host_version: env!("CARGO_PKG_VERSION").to_string(),
            config_sha256: config.content_hash(),
            config: config.clone(),
            refused: refused.to_vec(),
            plugins,
            inputs,
        }
    }

    /// Writes it into a run's folder, whole or not at all.
    pub fn write(&self, out: &Path) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(out)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.persist(out.join(FILE_NAME))
            .with_context(|| format!("{} cannot be written", out.join(FILE_NAME).display()))?;
        Ok(())
    }
}

/// Refuses a folder that holds another run, naming the keys that differ.
pub fn agree(out: &Path, config: &RunConfig) -> Result<()> {
    let Some(before) = before(out)? else { return Ok(()) };
    let differences = before.config.differences(config);
    if differences.is_empty() {
        return Ok(());
    }
    let show = |value: &Option<String>| value.clone().unwrap_or_else(|| String::from("nothing"));
    let lines: Vec<String> = differences
        .iter()
        .map(|difference| {
            format!(
                "  {}: {} there, {} now",
                difference.key,
                show(&difference.before),
                show(&difference.after)
            )
        })
        .collect();
    let message = format!(
        "{} holds a run with another configuration:\n{}\nhint: name another folder with --out, or go on with the configuration in {}",
        out.display(),
        lines.join("\n"),
        out.join(FILE_NAME).display()
    );
    Err(Refused::configuration(message).into())
}

/// Refuses to go on with other plugins than the run began with: its figures would be of two programs.
pub fn agree_on_plugins(
    out: &Path,
    methods: &[(String, Vec<PluginUse>)],
    datasets: &[PluginUse],
) -> Result<()> {
    let Some(before) = before(out)? else { return Ok(()) };
    let of_datasets = datasets.iter().zip(&before.inputs.datasets);
    let of_methods = methods.iter().flat_map(|(method, used)| {
        let known = before.plugins.iter().find(|(name, _)| name == method);
        used.iter().zip(known.map_or(&[][..], |(_, known)| known))
    });
    for (now, then) in of_datasets.chain(of_methods) {
        if now.sha256 != then.sha256 {
            let message = format!(
                "{} began with plugin `{}` {} ({}), which is now {} ({})\nhint: name another folder with --out, or bring the first one back",
                out.display(),
                then.name,
                then.version,
                then.sha256,
                now.version,
                now.sha256
            );
            return Err(Refused::configuration(message).into());
        }
    }
    Ok(())
}

/// Refuses to go on with other weights or data than the run began with.
pub fn agree_on_content(out: &Path, content: &[Content]) -> Result<()> {
    let before = before(out)?.map(|before| before.inputs.content).unwrap_or_default();
    if before.is_empty() {
        // Nothing began here, or a host began it that did not note it down.
        return Ok(());
    }
    let find = |list: &[Content], name: &str| {
        list.iter().find(|known| known.name == name).map_or("none", |known| &known.sha256).to_string()
    };
    for name in before.iter().chain(content).map(|known| &known.name) {
        let (then, now) = (find(&before, name), find(content, name));
        if then != now {
            let message = format!(
                "{} began with other content of {name}: sha256 {then} there, {now} now\nhint: name another folder with --out, or bring the first one back",
                out.display()
            );
            return Err(Refused::configuration(message).into());
        }
    }
    Ok(())
}

/// The manifest of the run that began in a folder, if one did.
fn before(out: &Path) -> Result<Option<Manifest>> {
    let path = out.join(FILE_NAME);
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
    let manifest = serde_json::from_str(&text);
    Ok(Some(manifest.with_context(|| format!("{} cannot be read", path.display()))?))
}

/// Keeps a second comparison out of a run's folder while the lock lives.
pub fn lock(out: &Path) -> Result<File> {
    let path = out.join(".lock");
    let file = File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => bail!(
            "{} is in use by another comparison\nhint: wait for it, or name another folder with --out",
            out.display()
        ),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Request};

    fn content(name: &str, sha256: &str) -> Content {
        Content { name: name.into(), sha256: sha256.into() }
    }

    #[test]
    fn changed_added_and_missing_content_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let none: &[String] = &[];
        let (seeds, path) = (&[][..], None);
        let request =
            Request { path, set: none, seeds, orders: none, methods: none, tasks: none, plugin_dirs: none };
        let config = config::load(&request).unwrap().config;
        let write = |content: Vec<Content>| {
            let inputs = Inputs { datasets: Vec::new(), content };
            Manifest::new(&config, &[], Vec::new(), inputs).write(folder.path()).unwrap();
        };
        let began = vec![content("model/a.safetensors", "12"), content("pictures of task gqa", "34")];
        assert!(agree_on_content(folder.path(), &began).is_ok(), "nothing began here");
        write(Vec::new());
        assert!(agree_on_content(folder.path(), &began).is_ok(), "it was not noted down");
        write(began.clone());
        assert!(agree_on_content(folder.path(), &began).is_ok());
        let mut changed = began.clone();
        changed[0].sha256 = "56".into();
        let more = [&began[..], &[content("model/b.safetensors", "78")]].concat();
        for (now, part) in [
            (&changed[..], "model/a.safetensors: sha256 12 there, 56 now\nhint: "),
            (&more, "model/b.safetensors: sha256 none there, 78 now\nhint: "),
            (&began[1..], "model/a.safetensors: sha256 12 there, none now\nhint: "),
        ] {
            let error = agree_on_content(folder.path(), now).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(error.downcast_ref::<Refused>().map(Refused::exit_code), Some(2));
        }
    }
}
