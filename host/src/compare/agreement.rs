//! What a comparison finds in its folder: the run that began there, which may grow, and must not become another one.

use std::path::Path;

use anyhow::Result;

use crate::compare::check::{Checked, Refused};
use crate::compare::content::Content;
use crate::compare::manifest::{CONFIG_FILE, Manifest};
use crate::config::{RunConfig, nearest};
use crate::report::results::{FILE_NAME, PluginUse, Results, Status};

/// The word that stands for every method, the zero-shot answers, and the blind baselines.
pub const ALL: &str = "all";

/// The run that a folder holds once `asked` is part of it.
///
/// # Errors
/// [`Refused`] where `asked` is another run than the one that began there.
pub fn grown(out: &Path, began: Option<&Manifest>, asked: &RunConfig) -> Result<RunConfig> {
    let Some(began) = began else { return Ok(asked.clone()) };
    began.config.grown(asked).map_err(|differences| {
        let config = out.join(CONFIG_FILE);
        let there = match config.is_file() {
            true => format!(
                ", or go on with the run that is there: `coin-host compare {} --out {}`",
                config.display(),
                out.display()
            ),
            false => String::new(),
        };
        let message = format!(
            "{} holds a run with another configuration:\n  {}\nhint: name another folder with --out{there}",
            out.display(),
            differences.join("\n  ")
        );
        Refused::configuration(message).into()
    })
}

/// The methods whose cells are done from their beginning: those named, and those of which no cell was finished and a plugin is another
/// one than the run began with.
///
/// # Errors
/// [`Refused`] where figures would be of two programs, or of other weights or data.
pub fn to_redo(
    out: &Path,
    began: Option<&Manifest>,
    asked: &RunConfig,
    checked: &Checked,
    named: &[String],
) -> Result<Vec<String>> {
    check_names(asked, named)?;
    let Some(began) = began else { return Ok(Vec::new()) };
    let results = if out.join(FILE_NAME).is_file() { Some(Results::read(out)?) } else { None };
    if named.iter().any(|name| name == ALL) {
        let known = began.config.methods.iter().chain(&asked.methods).map(|(name, _)| name.clone());
        return Ok(known.chain([String::from(ALL)]).collect());
    }
    agree_on_datasets(out, &began.inputs.datasets, &checked.inputs.datasets)?;
    agree_on_content(out, &began.inputs.content, &checked.inputs.content)?;
    let mut redo = named.to_vec();
    let (mut changes, mut finished) = (Vec::new(), Vec::new());
    for (method, used) in &checked.plugins {
        let known = began.plugins.iter().find(|(name, _)| name == method);
        let Some(change) = known.and_then(|(_, known)| change(known, used)) else { continue };
        if redo.contains(method) {
            continue;
        }
        if results.as_ref().is_some_and(|results| has_finished(results, asked, method)) {
            finished.push(method.clone());
            if !changes.contains(&change) {
                changes.push(change);
            }
        } else {
            redo.push(method.clone());
        }
    }
    if finished.is_empty() {
        return Ok(redo);
    }
    let message = format!(
        "{} began with {}; {} finished with it\nhint: `--redo {}` trains again what they finished; else name another folder with --out, or bring the first one back",
        out.display(),
        changes.join(", and with "),
        match &finished[..] {
            [one] => format!("method {one} has cells or a joint training"),
            more => format!("methods {} have cells or a joint training", more.join(", ")),
        },
        finished.join(",")
    );
    Err(Refused::configuration(message).into())
}

fn check_names(asked: &RunConfig, named: &[String]) -> Result<()> {
    let known = || asked.methods.iter().map(|(name, _)| name.as_str()).chain([ALL]);
    match named.iter().find(|name| known().all(|known| known != name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let hint = nearest::hint(name, known().collect::<Vec<_>>());
            Err(Refused::configuration(format!("--redo: the run has no method `{name}`\nhint: {hint}"))
                .into())
        }
    }
}

/// Whether something of a method was finished: a cell, or the joint training with its stack.
fn has_finished(results: &Results, config: &RunConfig, method: &str) -> bool {
    let is_reference = config.references.iter().any(|reference| reference.method == method);
    results.cells.iter().any(|cell| cell.method == method && cell.status == Status::Done)
        || is_reference
            && results
                .references
                .values()
                .any(|reference| !reference.joint.is_empty() || !reference.single.is_empty())
}

/// The first plugin of a list that is another one now.
fn change(then: &[PluginUse], now: &[PluginUse]) -> Option<String> {
    let changed = now.iter().zip(then).find(|(now, then)| now.sha256 != then.sha256);
    changed.map(|(now, then)| {
        let (name, version) = (&then.name, &then.version);
        format!("plugin `{name}` {version} ({}), which is now {} ({})", then.sha256, now.version, now.sha256)
    })
}

fn agree_on_datasets(out: &Path, then: &[PluginUse], now: &[PluginUse]) -> Result<()> {
    let Some(change) = change(then, now) else { return Ok(()) };
    Err(refused(format!("{} began with {change}", out.display())))
}

/// Refuses to go on with other weights or data than the run began with.
fn agree_on_content(out: &Path, then: &[Content], now: &[Content]) -> Result<()> {
    if then.is_empty() {
        // A host began it that did not note it down.
        return Ok(());
    }
    let find = |list: &[Content], name: &str| {
        list.iter().find(|known| known.name == name).map_or("none", |known| &known.sha256).to_string()
    };
    let is_shared = |one: &Content| {
        !one.is_of_method() || [then, now].iter().all(|list| list.iter().any(|known| known.name == one.name))
    };
    for name in then.iter().chain(now).filter(|one| is_shared(one)).map(|known| &known.name) {
        let (then, now) = (find(then, name), find(now, name));
        if then != now {
            let out = out.display();
            return Err(refused(format!(
                "{out} began with other content of {name}: sha256 {then} there, {now} now"
            )));
        }
    }
    Ok(())
}

fn refused(message: String) -> anyhow::Error {
    let hint =
        "name another folder with --out, or bring the first one back; `--redo all` does the whole run again";
    Refused::configuration(format!("{message}\nhint: {hint}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(name: &str, sha256: &str) -> Content {
        Content { name: name.into(), sha256: sha256.into() }
    }

    #[test]
    fn changed_added_and_missing_content_is_refused() {
        let began = vec![content("model/a.safetensors", "12"), content("pictures of task gqa", "34")];
        let agree = |then: &[Content], now: &[Content]| agree_on_content(Path::new("out"), then, now);
        assert!(agree(&[], &began).is_ok(), "it was not noted down");
        assert!(agree(&began, &began).is_ok());
        let with = |sha256: &str| {
            [&began[..], &[content("adapter_model.safetensors of method lora", sha256)]].concat()
        };
        assert!(
            agree(&began, &with("90")).is_ok() && agree(&with("90"), &began).is_ok(),
            "a method more or less"
        );
        assert!(agree(&with("90"), &with("91")).is_err());
        let mut changed = began.clone();
        changed[0].sha256 = "56".into();
        let more = [&began[..], &[content("model/b.safetensors", "78")]].concat();
        for (now, part) in [
            (&changed[..], "model/a.safetensors: sha256 12 there, 56 now\nhint: "),
            (&more, "model/b.safetensors: sha256 none there, 78 now\nhint: "),
            (&began[1..], "model/a.safetensors: sha256 12 there, none now\nhint: "),
        ] {
            let error = agree(&began, now).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(error.downcast_ref::<Refused>().map(Refused::exit_code), Some(2));
        }
    }
}
