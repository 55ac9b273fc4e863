//! `SHA256SUMS`: the files of a finished run, as `sha256sum -c` reads them. Signed with minisign, it vouches for the whole run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::compare::content;
use crate::files;
use crate::plugin::manifest::is_sha256;
use crate::report::results;

pub const FILE: &str = "SHA256SUMS";
/// Made from the other files, and by `coin-host report` again.
const DERIVED: [&str; 2] = ["report.html", FILE];

/// Grows with each judging.
const VERDICTS: &str = "judge/verdicts.jsonl";

/// sha256 by path from the run's folder.
pub type Sums = BTreeMap<String, String>;

/// Hashes every file of a run but locks and what is derived from the others.
pub fn of(out: &Path) -> Result<Sums> {
    let mut sums = Sums::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let here = out.join(&folder);
        for entry in std::fs::read_dir(&here).with_context(|| format!("{} cannot be read", here.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = folder.join(&name);
            let is_derived = folder.as_os_str().is_empty() && DERIVED.contains(&name.as_str());
            // A run has no links; in one that came from elsewhere they could lead anywhere.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && !name.starts_with('.') && !is_derived {
                sums.insert(path.display().to_string(), content::sha256(&out.join(&path))?);
            }
        }
    }
    Ok(sums)
}

/// Notes down what a finished run consists of.
pub fn write(out: &Path) -> Result<()> {
    note(out, &of(out)?)
}

fn note(out: &Path, sums: &Sums) -> Result<()> {
    let lines: String = sums.iter().map(|(path, sha256)| format!("{sha256}  {path}\n")).collect();
    let path = out.join(FILE);
    files::replace(&path, lines.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))
}

/// Takes over results that were computed anew from the kept answers, a judge's verdicts, and files that are new; all others stay as they
/// were noted down.
pub fn update(out: &Path) -> Result<()> {
    let Some(then) = read(out)? else { return Ok(()) };
    let mut sums = of(out)?;
    for (path, sha256) in then.into_iter().filter(|(path, _)| path != results::FILE_NAME && path != VERDICTS)
    {
        sums.insert(path, sha256);
    }
    note(out, &sums)
}

/// A run that goes on is not the one that was noted down.
pub fn forget(out: &Path) -> Result<()> {
    let path = out.join(FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// What was noted down; `None` for a run that was not finished.
pub fn read(out: &Path) -> Result<Option<Sums>> {
    let path = out.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    let line = |line: &str| {
        let (sha256, path) = line.split_once("  ")?;
        is_sha256(sha256).then(|| (path.to_string(), sha256.to_string()))
    };
    let sums: Option<Sums> = text.lines().map(line).collect();
    let sums = sums.with_context(|| format!("{} is not a list of sha256 sums", path.display()))?;
    Ok(Some(sums))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_down_is_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        std::fs::create_dir_all(out.join("cells/lora")).unwrap();
        for (path, text) in
            [("results.json", "{}"), ("cells/lora/a b.jsonl", "x"), ("report.html", "y"), (".lock", "")]
        {
            std::fs::write(out.join(path), text).unwrap();
        }
        assert_eq!(read(out).unwrap(), None);
        write(out).unwrap();
        let sums = read(out).unwrap().unwrap();
        assert_eq!(sums.keys().collect::<Vec<_>>(), ["cells/lora/a b.jsonl", "results.json"]);
        // sha256 of `{}`.
        assert!(sums["results.json"].starts_with("44136fa355b3678a"));
        assert_eq!(of(out).unwrap(), sums);
        std::fs::create_dir(out.join("judge")).unwrap();
        for path in ["results.json", "cells/lora/a b.jsonl", "new", VERDICTS] {
            std::fs::write(out.join(path), "changed").unwrap();
        }
        update(out).unwrap();
        let (updated, now) = (read(out).unwrap().unwrap(), of(out).unwrap());
        let same = |path: &str| updated[path] == now[path];
        assert!(same("results.json") && same("new") && same(VERDICTS) && !same("cells/lora/a b.jsonl"));
        std::fs::write(out.join(FILE), "text\n").unwrap();
        assert!(read(out).is_err());
        forget(out).unwrap();
        forget(out).unwrap();
        assert_eq!(read(out).unwrap(), None);
    }
}
