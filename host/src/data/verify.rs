//! The check of a task's data: records by the dataset's adapter, pictures here, files by their sha256.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Component, Path};

use anyhow::{Context, Result};
use coin_plugin_api::{FILE_READ, Record, Split};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::header::{self, Fault};
use crate::data::source::Source;
use crate::files;

/// Records that are asked for at once.
const RECORDS: usize = 1024;
/// Pictures that are listed; more are counted.
const LISTED: usize = 1000;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verified {
    /// Records of train, val and test.
    pub counts: [usize; 3],
    /// What is wrong with files and records.
    pub problems: Vec<String>,
    pub missing: Listed,
    pub corrupt: Listed,
    /// What the manifest keeps.
    #[serde(flatten)]
    pub content: Content,
}

/// Pictures with a fault: the first ones, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub count: usize,
    pub first: Vec<String>,
}

impl Listed {
    fn add(&mut self, line: String) {
        self.count += 1;
        if self.first.len() < LISTED {
            self.first.push(line);
        }
    }
}

/// The content of a task's data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Those that the adapter read.
    pub files: Vec<FileContent>,
    pub pictures: PictureContent,
}

/// A file, by its path below the task's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileContent {
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}

/// The pictures of a task, each once, in the order of the records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureContent {
    pub count: usize,
    pub bytes: u64,
    /// Of their paths and sizes.
    pub sha256: String,
    /// Of their paths and contents, where those were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents_sha256: Option<String>,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty() && self.missing.count == 0 && self.corrupt.count == 0
    }
}

/// Checks a task's data below its root. Pictures are looked at by header and end, or decoded if `full`.
///
/// # Errors
/// The adapter cannot check, or a file that it read cannot be read again.
pub fn verify(source: &dyn Source, root: &Path, full: bool) -> Result<Verified> {
    let found = source.verify()?;
    let mut verified = Verified { counts: found.counts, ..Verified::default() };
    for line in found.problems {
        match line.strip_prefix(FILE_READ) {
            Some(path) => verified.content.files.push(file(root, path)?),
            None => verified.problems.push(line),
        }
    }
    let mut pictures = Pictures {
        root,
        full,
        seen: HashSet::new(),
        paths: Sha256::new(),
        contents: Sha256::new(),
        verified: &mut verified,
    };
    // What the adapter has named already is not said again.
    let named = !pictures.verified.problems.is_empty();
    for split in [Split::Train, Split::Val, Split::Test] {
        let count = source.len(split).unwrap_or_else(|fault| {
            if !named {
                pictures.verified.problems.push(format!("split {split:?}: {fault:#}").to_lowercase());
            }
            0
        });
        let mut unread = 0;
        for start in (0..count).step_by(RECORDS) {
            let end = count.min(start + RECORDS);
            let records = source.records(split, start, end).unwrap_or_else(|_| {
                let one = |number| source.records(split, number, number + 1).unwrap_or_default();
                (start..end).flat_map(one).collect()
            });
            unread += (end - start).saturating_sub(records.len());
            pictures.add(&records);
        }
        if unread > 0 && !named {
            pictures.verified.problems.push(format!("{unread} of {count} records of a split cannot be read"));
        }
    }
    let (paths, contents) = (pictures.paths, pictures.contents);
    verified.content.pictures.sha256 = format!("{:x}", paths.finalize());
    verified.content.pictures.contents_sha256 = full.then(|| format!("{:x}", contents.finalize()));
    Ok(verified)
}

struct Pictures<'a> {
    root: &'a Path,
    full: bool,
    /// Hashes of the paths that were looked at: half a million paths themselves take ten times as much.
    seen: HashSet<u64>,
    paths: Sha256,
    contents: Sha256,
    verified: &'a mut Verified,
}

impl Pictures<'_> {
    fn add(&mut self, records: &[Record]) {
        let mut new: Vec<&str> = Vec::new();
        for image in records.iter().filter_map(|record| record.image.as_deref()) {
            let mut hasher = DefaultHasher::new();
            image.hash(&mut hasher);
            if self.seen.insert(hasher.finish()) {
                new.push(image);
            }
        }
        let look = |image: &&str| {
            let path = Path::new(image);
            let climbs = path.is_absolute() || path.components().any(|part| part == Component::ParentDir);
            if climbs {
                return Err(Fault::Corrupt(String::from("leaves the root folder, and is not read")));
            }
            header::check(&self.root.join(path), self.full)
        };
        let looked: Vec<_> = new.par_iter().map(look).collect();
        for (image, found) in new.into_iter().zip(looked) {
            match found {
                Ok(sound) => {
                    let pictures = &mut self.verified.content.pictures;
                    pictures.count += 1;
                    pictures.bytes += sound.bytes;
                    self.paths.update(format!("{image}\n{}\n", sound.bytes));
                    self.contents.update(format!("{image}\n"));
                    self.contents.update(sound.sha256.unwrap_or_default());
                }
                Err(Fault::Missing) => self.verified.missing.add(image.to_string()),
                Err(Fault::Corrupt(why)) => self.verified.corrupt.add(format!("{image} {why}")),
            }
        }
    }
}

/// A file's content.
///
/// # Errors
/// That it cannot be read.
pub fn file(root: &Path, path: &str) -> Result<FileContent> {
    let full = root.join(path);
    let (bytes, hash) = files::sha256(&full).with_context(|| format!("{} cannot be read", full.display()))?;
    Ok(FileContent { path: path.to_string(), bytes, sha256: format!("{:x}", hash.finalize()) })
}
