//! A checkpoint from a hub with Hugging Face's interface.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use sha2::Digest as _;

use super::Construction;
use super::http::{Client, Download};
use crate::files;
use crate::model::{ModelConfig, Tokenizer, weights};

const ENDPOINT: &str = "https://huggingface.co";
const MOST_FOR_A_LIST: u64 = 64 << 20;
/// For a file whose size the hub does not tell.
const MOST_FOR_A_FILE: u64 = 1 << 40;

/// Files that are taken, beside weights and licences.
const WANTED: [&str; 12] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "model.safetensors.index.json",
    "README.md",
];

/// A model on a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    pub owner: String,
    pub name: String,
}

impl FromStr for Repository {
    type Err = String;

    fn from_str(text: &str) -> Result<Repository, String> {
        let plain = |part: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.chars().all(known) && !part.starts_with('.') && !part.contains("..")
        };
        match text.split_once('/') {
            Some((owner, name)) if plain(owner) && plain(name) => {
                Ok(Repository { owner: owner.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("`{text}` is not of the form OWNER/NAME")),
        }
    }
}

#[derive(Deserialize)]
struct Listing {
    sha: Option<String>,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    sha256: String,
}

/// Puts the files of a checkpoint into the folder `out`: those of one revision, which is a branch, a tag or a commit. The hub is the
/// one that `HF_ENDPOINT` names; `HF_TOKEN` opens what is not public. Whether anything had to be done.
///
/// # Errors
/// A model that the hub does not have or give, or that this program cannot load; a file that is not what the hub's list says.
pub fn hub(repository: &Repository, revision: &str, out: &Path, report: &dyn Fn(&str)) -> Result<bool> {
    let setting = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let endpoint = setting("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
    fetch(endpoint.trim_end_matches('/'), setting("HF_TOKEN"), repository, revision, out, report)
}

pub(super) fn fetch(
    endpoint: &str,
    token: Option<String>,
    repository: &Repository,
    revision: &str,
    out: &Path,
    report: &dyn Fn(&str),
) -> Result<bool> {
    let Repository { owner, name } = repository;
    let known = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    ensure!(
        !revision.is_empty() && revision.chars().all(known) && !revision.contains(".."),
        "`{revision}` is no revision\nhint: name a branch, a tag or a commit"
    );
    let client = Client::new(token);
    // A branch may have a slash in its name.
    let quoted = revision.replace('/', "%2F");
    let list = format!("{endpoint}/api/models/{owner}/{name}/revision/{quoted}?blobs=true");
    let listing = client.get(&list, "application/json", MOST_FOR_A_LIST)?;
    let listing: Listing = serde_json::from_slice(&listing)
        .with_context(|| format!("{list} is no list of files\nhint: does HF_ENDPOINT name a hub?"))?;
    let commit = listing.sha.unwrap_or(quoted);
    ensure!(commit.chars().all(|c| known(c) || c == '%'), "{list} names an absurd commit");
    let origin = json!({"hub": endpoint, "model": format!("{owner}/{name}"), "commit": commit});
    let mut files: Vec<Sibling> =
        listing.siblings.into_iter().filter(|file| is_wanted(&file.rfilename)).collect();
    // The small ones first: what they say may end it.
    files.sort_by_key(|file| (is_weights(&file.rfilename), file.rfilename.clone()));
    let has = |name: &str| files.iter().any(|file| file.rfilename == name);
    for (needed, hint) in [
        ("config.json", "name a model in the Hugging Face layout"),
        ("tokenizer.json", "a checkpoint with only tokenizer.model must be converted with transformers"),
    ] {
        ensure!(has(needed), "{owner}/{name} has no {needed}\nhint: {hint}");
    }
    ensure!(
        files.iter().any(|file| is_weights(&file.rfilename)),
        "{owner}/{name} has no safetensors files\nhint: look for a revision that has them"
    );
    let Some(construction) = Construction::resume(out, &origin, &commit)? else { return Ok(false) };
    for other in construction.others()? {
        report(&format!("{} holds part of another revision: remove it if nobody needs it", other.display()));
    }
    keep_listed(construction.path(), &files)?;
    let from = format!("{endpoint}/{owner}/{name}/resolve/{commit}");
    if let Err(error) = fill(construction.path(), &client, &from, &files, report) {
        let keeps =
            files.iter().any(|file| is_weights(&file.rfilename) && is_whole(file, construction.path()));
        match keeps {
            true => report(&format!(
                "what has come is kept in {}: the same command goes on with it",
                construction.path().display()
            )),
            // What went wrong before is what is to be told.
            false => drop(construction.discard()),
        }
        return Err(error);
    }
    construction.finish(&origin)?;
    Ok(true)
}

/// Removes what an earlier list had and this one has not: a hub without commits may have gone on to another revision.
fn keep_listed(folder: &Path, files: &[Sibling]) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let entry = entry?;
        // What is no plain file was not fetched, and a network's file system keeps such a name while another process reads the file.
        let is_foreign =
            !entry.file_type()?.is_file() || entry.file_name().to_string_lossy().starts_with(".nfs");
        if !is_foreign && !files.iter().any(|file| *file.rfilename == *entry.file_name()) {
            let path = entry.path();
            std::fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

/// Fetches what is not in the folder yet.
fn fill(folder: &Path, client: &Client, from: &str, files: &[Sibling], report: &dyn Fn(&str)) -> Result<()> {
    let mut is_checked = false;
    for file in files {
        if is_weights(&file.rfilename) && !is_checked {
            let config = ModelConfig::read(&folder.join("config.json"))?;
            Tokenizer::load(folder)?.check(&config)?;
            is_checked = true;
        }
        if is_whole(file, folder) {
            report(&format!("{} is there already", file.rfilename));
            continue;
        }
        let size = file.size.map(|size| format!(" ({:.1} MB)", size as f64 / 1e6)).unwrap_or_default();
        report(&format!("fetching {}{size}", file.rfilename));
        download(client, &format!("{from}/{}", file.rfilename), file, &folder.join(&file.rfilename))?;
    }
    weights::files(folder)?;
    Ok(())
}

/// Whether a file is there with the size and the sha256 that the hub lists; never one of which it lists none.
fn is_whole(file: &Sibling, folder: &Path) -> bool {
    let (path, Some(listed)) = (folder.join(&file.rfilename), &file.lfs) else { return false };
    let size = std::fs::metadata(&path).map(|metadata| metadata.len()).ok();
    size.is_some()
        && (file.size.is_none() || size == file.size)
        && files::sha256(&path).is_ok_and(|(_, hash)| format!("{:x}", hash.finalize()) == listed.sha256)
}

fn download(client: &Client, address: &str, file: &Sibling, path: &Path) -> Result<()> {
    let target = File::create(path).with_context(|| format!("{} cannot be made", path.display()))?;
    let mut sink = BufWriter::new(target);
    let Download { size, sha256 } =
        client.download(address, "*/*", file.size.unwrap_or(MOST_FOR_A_FILE), &mut sink)?;
    let written = sink.into_inner().map_err(|error| error.into_error()).and_then(|file| file.sync_all());
    written.with_context(|| format!("{} cannot be written", path.display()))?;
    let hint =
        "hint: run the command again; if it stays so, something between here and the hub changes files";
    if file.size.is_some_and(|expected| expected != size) {
        bail!("{address} has {size} bytes, and the hub's list says {}\n{hint}", file.size.unwrap_or(0));
    }
    if let Some(lfs) = &file.lfs
        && lfs.sha256 != sha256
    {
        bail!("{address} has sha256 {sha256}, and the hub's list says {}\n{hint}", lfs.sha256);
    }
    Ok(())
}

/// Files of the top folder only, so that none can be put anywhere else.
fn is_wanted(name: &str) -> bool {
    !name.contains(['/', '\\'])
        && (WANTED.contains(&name) || is_weights(name) || name.starts_with("LICENSE") || name == "NOTICE")
}

fn is_weights(name: &str) -> bool {
    name.starts_with("model") && name.ends_with(".safetensors") && !name.contains(['/', '\\'])
}
