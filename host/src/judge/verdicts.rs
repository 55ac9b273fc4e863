//! Verdicts on disk: one JSON object a line, only ever appended to, each flushed to the disk before it counts.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::bad;

/// A judge's reply, as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    /// Of the request.
    pub(super) key: String,
    pub(super) reply: String,
    /// As the server counted, or as estimated.
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
}

/// All verdicts that a run has, by request.
pub(super) struct Verdicts {
    path: PathBuf,
    file: File,
    known: BTreeMap<String, Verdict>,
}

impl Verdicts {
    /// Opens the file in a folder, which is made where there is none. A last line that was cut short is taken away: its verdict is asked
    /// for again.
    ///
    /// # Errors
    /// A file that cannot be read or written, and a line within it that is no verdict.
    pub(super) fn open(folder: &Path) -> Result<Verdicts> {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let path = folder.join("verdicts.jsonl");
        let failed =
            || format!("{} cannot be opened\nhint: verdicts of the judge are kept there", path.display());
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(&path).with_context(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(failed)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).with_context(failed)?;
            file.seek(SeekFrom::End(0)).with_context(failed)?;
        }
        let mut known = BTreeMap::new();
        for (number, line) in bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
            let verdict: Verdict = serde_json::from_slice(line).map_err(|error| {
                bad(&format!(
                    "{}:{}: the line is no verdict: {error}\nhint: take the line out; its verdict is then asked for again",
                    path.display(),
                    number + 1
                ))
            })?;
            known.insert(verdict.key.clone(), verdict);
        }
        Ok(Verdicts { path, file, known })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.known.contains_key(key)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Verdict> {
        self.known.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Keeps a verdict, on the disk first.
    ///
    /// # Errors
    /// That it cannot be written.
    pub(super) fn keep(&mut self, verdict: Verdict) -> Result<()> {
        let mut line = serde_json::to_vec(&verdict)?;
        line.push(b'\n');
        let write = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        write.with_context(|| format!("{} cannot be written", self.path.display()))?;
        self.known.insert(verdict.key.clone(), verdict);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(key: &str) -> Verdict {
        Verdict { key: key.into(), reply: "7\n".into(), prompt_tokens: 3, completion_tokens: 1 }
    }

    #[test]
    fn a_line_that_was_cut_is_asked_for_again_and_the_others_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut verdicts = Verdicts::open(folder.path()).expect("opened");
        verdicts.keep(verdict("a")).expect("kept");
        verdicts.keep(verdict("b")).expect("kept");
        let path = verdicts.path().to_path_buf();
        drop(verdicts);
        let bytes = std::fs::read(&path).expect("there");
        std::fs::write(&path, &bytes[..bytes.len() - 5]).expect("cut");
        let mut verdicts = Verdicts::open(folder.path()).expect("opened");
        assert_eq!((verdicts.get("a"), verdicts.has("b")), (Some(&verdict("a")), false));
        verdicts.keep(verdict("b")).expect("kept");
        drop(verdicts);
        assert_eq!(std::fs::read(&path).expect("there"), bytes);
        std::fs::write(&path, "{}\n").expect("written");
        let error = Verdicts::open(folder.path()).err().expect("refused").to_string();
        assert!(error.contains("verdicts.jsonl:1: the line is no verdict"), "{error}");
    }
}
