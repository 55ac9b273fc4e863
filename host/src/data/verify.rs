//! The check of a task's data: records by the dataset's adapter, pictures here, files by their sha256.

mod faults;

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::path::{Component, Path};

use anyhow::{Context, Result};
use coin_plugin_api::Split;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::faults::{Fault, faults};
use crate::data::header;
use crate::data::source::Source;
use crate::eval::scorer::Metric;
use crate::files;

/// Records that are asked for at once, and how many times as many are held.
const RECORDS: usize = 512;
const BLOCKS: usize = 32;
/// Lines of a kind of problem before the rest is only counted.
const SHOWN: usize = 20;
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

/// Checks a task's data below its root: every record and its picture on all threads, each file by its sha256. Pictures are looked at by
/// header and end, or decoded if `full`.
///
/// # Errors
/// The adapter cannot check, or a file that it reads is there and cannot be read.
pub fn verify(source: &dyn Source, root: &Path, full: bool) -> Result<Verified> {
    let there: Vec<_> = source.files()?.into_iter().filter(|path| root.join(path).exists()).collect();
    let hashed = || there.par_iter().map(|path| file(root, path)).collect::<Result<Vec<_>>>();
    let (files, checked) = rayon::join(hashed, || check(source, root, full));
    let mut verified = checked?;
    verified.content.files = files?;
    Ok(verified)
}

fn check(source: &dyn Source, root: &Path, full: bool) -> Result<Verified> {
    let mut verified = Verified::default();
    let mut problems = Problems::default();
    for problem in source.verify()? {
        problems.add("source", problem);
    }
    let mut pictures = Pictures::default();
    let has_options = source.describe()?.metric == Metric::MultipleChoice.name();
    let mut ids = HashSet::new();
    for (place, split) in [Split::Train, Split::Val, Split::Test].into_iter().enumerate() {
        let count = match source.len(split) {
            Ok(count) => count,
            // Two splits may come from one damaged file.
            Err(error) => {
                problems.add("file", format!("{error:#}"));
                continue;
            }
        };
        verified.counts[place] = count;
        if count == 0 && split != Split::Val {
            problems.add("file", format!("the {} split has no record", split.name()));
        }
        // What is held out stands in the file that is trained on.
        if split == Split::Test {
            ids.clear();
        }
        let blocks: Vec<usize> = (0..count).step_by(RECORDS).collect();
        for some in blocks.chunks(BLOCKS) {
            let read = some
                .par_iter()
                .map(|&start| block(source, split, start..count.min(start + RECORDS), has_options));
            // In the order of the records, whoever was first.
            for block in read.collect::<Vec<_>>() {
                block.unread.into_iter().for_each(|why| problems.add("unreadable", why));
                for (record, fault) in block.faults {
                    problems.add(fault.kind, format!("{} record `{record}`: {}", split.name(), fault.what));
                }
                for (id, record) in block.ids {
                    if !ids.insert(id) {
                        let what = "the id stands in an earlier record too";
                        problems.add("duplicate", format!("{} record `{record}`: {what}", split.name()));
                    }
                }
                pictures.see(block.images);
            }
            pictures.check(root, full, &mut verified);
        }
    }
    verified.problems = problems.lines();
    verified.content.pictures.sha256 = format!("{:x}", pictures.paths.finalize());
    verified.content.pictures.contents_sha256 = full.then(|| format!("{:x}", pictures.contents.finalize()));
    Ok(verified)
}

/// What is kept of a block of records.
#[derive(Default)]
struct Block {
    /// Hash and text of each id.
    ids: Vec<(u64, String)>,
    /// Hash and path of each picture.
    images: Vec<(u64, String)>,
    /// By the record's id.
    faults: Vec<(String, Fault)>,
    /// Why records cannot be read.
    unread: Vec<String>,
}

fn block(source: &dyn Source, split: Split, range: Range<usize>, has_options: bool) -> Block {
    let mut block = Block::default();
    let records = source.records(split, range.start, range.end).unwrap_or_else(|_| {
        // One by one, to name those that are at fault.
        let mut one = |number| match source.records(split, number, number + 1) {
            Ok(records) => records,
            Err(error) => {
                block.unread.push(format!("{error:#}"));
                Vec::new()
            }
        };
        range.flat_map(&mut one).collect()
    });
    for record in records {
        block.faults.extend(faults(&record, has_options).into_iter().map(|fault| (record.id.clone(), fault)));
        let hash = hashed(&record.id);
        block.ids.push((hash, record.id));
        block.images.extend(record.image.map(|image| (hashed(&image), image)));
    }
    block
}

/// A text of which a set of half a million is to be small.
fn hashed(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Problems by their kind: the first lines of each, and how many there are.
#[derive(Default)]
struct Problems(BTreeMap<&'static str, Kind>);

#[derive(Default)]
struct Kind {
    lines: Vec<String>,
    more: usize,
}

impl Problems {
    /// A line that is there already is not said again.
    fn add(&mut self, kind: &'static str, problem: String) {
        // What to do about it is the same for all of a kind.
        let problem = problem.lines().next().unwrap_or_default().to_string();
        let known = self.0.entry(kind).or_default();
        if known.lines.contains(&problem) {
            return;
        }
        if known.lines.len() < SHOWN {
            known.lines.push(problem);
        } else {
            known.more += 1;
        }
    }

    fn lines(self) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, known) in self.0 {
            lines.extend(known.lines);
            if known.more > 0 {
                lines.push(format!("{} more like the last ({kind})", known.more));
            }
        }
        lines
    }
}

/// The pictures of a task, each looked at once.
#[derive(Default)]
struct Pictures {
    /// Hashes of the paths that were looked at: half a million paths themselves take ten times as much.
    seen: HashSet<u64>,
    next: Vec<String>,
    paths: Sha256,
    contents: Sha256,
}

impl Pictures {
    fn see(&mut self, images: Vec<(u64, String)>) {
        let new = images.into_iter().filter(|(hash, _)| self.seen.insert(*hash));
        self.next.extend(new.map(|(_, image)| image));
    }

    fn check(&mut self, root: &Path, full: bool, verified: &mut Verified) {
        let look = |image: &String| {
            let path = Path::new(image);
            let climbs = path.is_absolute() || path.components().any(|part| part == Component::ParentDir);
            if climbs {
                return Err(header::Fault::Corrupt(String::from("leaves the root folder, and is not read")));
            }
            header::check(&root.join(path), full)
        };
        let images = std::mem::take(&mut self.next);
        let looked: Vec<_> = images.par_iter().map(look).collect();
        for (image, found) in images.into_iter().zip(looked) {
            match found {
                Ok(sound) => {
                    let pictures = &mut verified.content.pictures;
                    pictures.count += 1;
                    pictures.bytes += sound.bytes;
                    self.paths.update(format!("{image}\n{}\n", sound.bytes));
                    self.contents.update(format!("{image}\n"));
                    self.contents.update(sound.sha256.unwrap_or_default());
                }
                Err(header::Fault::Missing) => verified.missing.add(image),
                Err(header::Fault::Corrupt(why)) => verified.corrupt.add(format!("{image} {why}")),
            }
        }
    }
}

/// A file's content.
///
/// # Errors
/// That it cannot be read.
fn file(root: &Path, path: &Path) -> Result<FileContent> {
    let full = root.join(path);
    let (bytes, hash) = files::sha256(&full).with_context(|| format!("{} cannot be read", full.display()))?;
    Ok(FileContent { path: path.display().to_string(), bytes, sha256: format!("{:x}", hash.finalize()) })
}
