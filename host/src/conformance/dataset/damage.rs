//! A dataset on files that were cut or overwritten.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::super::check::Verdict;
use super::super::child::Setup;
use super::panic_in;
use crate::plugin::Plugin;

/// Larger or more files than these are not copied for it.
const LARGEST: u64 = 64 << 20;
const MOST: usize = 20_000;
/// Files that are damaged, one after the other.
const DAMAGED: usize = 8;
const PICTURES: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

/// Damages the annotation files in a copy of the folder.
pub(super) fn verdict(plugin: &Plugin, name: &str, setup: &Setup, root: &Path) -> Result<Verdict> {
    let root = root.canonicalize().with_context(|| format!("{} cannot be read", root.display()))?;
    let copy = setup.scratch.join(format!("copy-of-{name}"));
    let Some(files) = copied(&root, &copy)? else {
        return Ok(Verdict::Skip(format!(
            "its folder is not copied: more than {} MiB or {MOST} files beside pictures",
            LARGEST >> 20
        )));
    };
    let read = read_by(plugin, name, setup, &copy);
    let chosen = files.iter().filter(|file| read.is_empty() || read.contains(file)).take(DAMAGED);
    let mut count = 0;
    for file in chosen {
        count += 1;
        let path = copy.join(file);
        let sound = std::fs::read(&path)?;
        for (what, bytes) in [
            ("cut in half", sound[..sound.len() / 2].to_vec()),
            ("empty", Vec::new()),
            ("of other bytes", (0..=255u8).cycle().take(sound.len().clamp(256, 4096)).collect()),
            ("an empty list", b"[]".to_vec()),
            ("a list of something else", b"[1, {\"a\": null}, \"b\"]".to_vec()),
        ] {
            std::fs::write(&path, bytes)?;
            if let Some(panic) = panic_in(plugin, name, setup, &copy) {
                return Ok(Verdict::Fail(format!("{} {what}: {panic}", file.display())));
            }
        }
        std::fs::write(&path, sound)?;
    }
    // Links to the pictures' folders go, not what they name.
    std::fs::remove_dir_all(&copy)?;
    Ok(match count {
        0 => Verdict::Skip(String::from("its folder has no file but pictures")),
        _ => Verdict::Pass,
    })
}

/// The files that the dataset says it reads, from its root, where it says so.
fn read_by(plugin: &Plugin, name: &str, setup: &Setup, root: &Path) -> Vec<PathBuf> {
    let opened = plugin.open_dataset(name, root, &setup.keys);
    let files = opened.and_then(|dataset| dataset.files()).unwrap_or_default();
    files.into_iter().map(|file| file.strip_prefix(root).map(Path::to_path_buf).unwrap_or(file)).collect()
}

/// Copies a folder, with links in place of pictures and of folders that hold nothing else; gives the other files. None where it is too
/// large.
fn copied(root: &Path, copy: &Path) -> Result<Option<Vec<PathBuf>>> {
    let (mut files, mut pictures) = (Vec::new(), Vec::new());
    if !walk(root, Path::new(""), &mut files, &mut pictures)? || files.len() + pictures.len() > MOST {
        return Ok(None);
    }
    files.sort();
    let mut bytes = 0;
    for file in &files {
        bytes += std::fs::metadata(root.join(file))?.len();
    }
    if bytes > LARGEST {
        return Ok(None);
    }
    let place = |path: &Path| -> Result<PathBuf> {
        let place = copy.join(path);
        std::fs::create_dir_all(place.parent().unwrap_or(copy))?;
        Ok(place)
    };
    for file in &files {
        std::fs::copy(root.join(file), place(file)?)?;
    }
    for picture in &pictures {
        link(&root.join(picture), &place(picture)?)?;
    }
    Ok(Some(files))
}

/// Sorts what is in a folder; a folder with pictures alone counts as one. False where there is something else than files and folders.
fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>, pictures: &mut Vec<PathBuf>) -> Result<bool> {
    let (files_before, pictures_before) = (files.len(), pictures.len());
    for entry in std::fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !walk(root, &path, files, pictures)? {
                return Ok(false);
            }
            continue;
        }
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        match extension.is_some_and(|extension| PICTURES.contains(&extension.as_str())) {
            true => pictures.push(path),
            false if kind.is_file() || root.join(&path).is_file() => files.push(path),
            false => return Ok(false),
        }
    }
    if files.len() == files_before && pictures.len() > pictures_before && folder != Path::new("") {
        pictures.truncate(pictures_before);
        pictures.push(folder.to_path_buf());
    }
    Ok(true)
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

#[cfg(not(unix))]
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::copy(from, to).map(drop)
}
