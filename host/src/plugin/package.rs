//! Packages: a plugin as one folder or one `.tar.zst`, with a manifest that lists size and sha256 of every file in it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::manifest::{self, Manifest};
use super::verify;
use crate::files;

/// What a package's folder and archive are called behind the name.
pub const FOLDER: &str = "coinplugin";
pub const ARCHIVE: &str = "coinplugin.tar.zst";
/// What a folder on its way to its name begins with; searches leave such folders out.
const STAGE: &str = ".package-";
/// No package is larger than this when it is unpacked, nor has more files.
const LARGEST: u64 = 512 << 20;
const AGAIN: &str = "get the package again, and from whom you trust";
const MOST_FILES: usize = 1_000;
/// Files of a crate that go into its package where they are there, beside `*.toml` examples.
const COMPANIONS: [&str; 5] = ["README.md", "LICENSE", "LICENSE-MIT", "LICENSE-APACHE", "CITATION.cff"];

/// `lora-1.2.0-x86_64-linux.coinplugin`.
pub fn folder_name(manifest: &Manifest) -> String {
    format!("{}-{}-{}.{FOLDER}", manifest.plugin.name, manifest.plugin.version, manifest::target())
}

/// What goes into a package.
#[derive(Debug)]
pub struct Contents {
    pub manifest: Manifest,
    /// Path in the package and bytes, sorted by path; without the manifest.
    pub files: Vec<(String, Vec<u8>)>,
}

/// Gathers a package from a plugin's manifest, its source folder and the bytes of its built library.
///
/// # Errors
/// A source folder that cannot be read.
pub fn gather(
    mut manifest: Manifest,
    source: &Path,
    library: Vec<u8>,
    build: manifest::Build,
) -> Result<Contents> {
    let name = super::discover::library_file(&manifest.plugin.name);
    let mut files = vec![(name.clone(), library)];
    for entry in std::fs::read_dir(source).with_context(|| format!("{} cannot be read", source.display()))? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let example = file.ends_with(".toml") && file != manifest::FILE && file != "Cargo.toml";
        if entry.file_type()?.is_file() && (example || COMPANIONS.contains(&file.as_str())) {
            files.push((file, std::fs::read(entry.path())?));
        }
    }
    files.sort();
    manifest.build = build;
    manifest.files = files
        .iter()
        .map(|(path, bytes)| manifest::File {
            path: path.clone(),
            size: bytes.len() as u64,
            sha256: verify::sha256(bytes),
            target: (*path == name).then(manifest::target),
        })
        .collect();
    Ok(Contents { manifest, files })
}

impl Contents {
    /// The manifest's text, the first file of the package.
    pub fn manifest_text(&self) -> Result<String> {
        Ok(toml::to_string(&self.manifest)?)
    }

    /// Writes the package's folder below `parent`, all of it or nothing, in place of an older one.
    pub fn write_folder(&self, parent: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        let stage = tempfile::Builder::new().prefix(STAGE).tempdir_in(parent)?;
        std::fs::write(stage.path().join(manifest::FILE), self.manifest_text()?)?;
        for (path, bytes) in &self.files {
            std::fs::write(stage.path().join(path), bytes)?;
        }
        settle(stage, &parent.join(folder_name(&self.manifest)))
    }

    /// Writes the package's archive into a folder. The same contents give the same bytes: names in order, no dates, no owners.
    pub fn write_archive(&self, parent: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        let folder = folder_name(&self.manifest);
        let mut archive = tar::Builder::new(Vec::new());
        let text = self.manifest_text()?;
        let all = std::iter::once((manifest::FILE, text.as_bytes()))
            .chain(self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())));
        for (path, bytes) in all {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_entry_type(tar::EntryType::Regular);
            archive.append_data(&mut header, format!("{folder}/{path}"), bytes)?;
        }
        let bytes = archive.into_inner()?;
        let compressed =
            ruzstd::encoding::compress_to_vec(&bytes[..], ruzstd::encoding::CompressionLevel::Fastest);
        let path = parent.join(folder.replace(&format!(".{FOLDER}"), &format!(".{ARCHIVE}")));
        files::replace(&path, &compressed)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }
}

/// A package on its way to its place: checked, not yet in anybody's sight.
#[derive(Debug)]
pub struct Staged {
    pub manifest: Manifest,
    folder: tempfile::TempDir,
}

impl Staged {
    /// Where it lies until then.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives it its name below `parent`, in place of an older one of that name.
    ///
    /// # Errors
    /// That it cannot be moved; the older one then stays.
    pub fn settle(self, parent: &Path) -> Result<PathBuf> {
        settle(self.folder, &parent.join(folder_name(&self.manifest)))
    }
}

/// Unpacks an archive beside its later place in `parent` and checks it. Nothing is left of one that is not sound.
///
/// # Errors
/// An archive that is damaged or too large, that holds anything but plain files in one folder, or the same name twice; a package
/// that [`check`] refuses.
pub fn unpack(archive: &Path, parent: &Path) -> Result<Staged> {
    let name = archive.display();
    let file = File::open(archive).with_context(|| {
        format!("{name} cannot be read\nhint: give the path of a package or of a library")
    })?;
    std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    let folder = tempfile::Builder::new().prefix(STAGE).tempdir_in(parent)?;
    let damaged = |error: anyhow::Error| {
        let reason = format!("{error:#}");
        let reason = reason.lines().next().unwrap_or_default();
        anyhow::anyhow!(
            "{name} is no package, or a damaged one: {reason}\nhint: `coin-host plugin pack` makes one"
        )
    };
    let reader = ruzstd::decoding::StreamingDecoder::new(std::io::BufReader::new(file))
        .map_err(|error| damaged(anyhow::anyhow!("{error}")))?;
    extract(reader, folder.path()).map_err(damaged)?;
    let manifest = check(folder.path())?;
    Ok(Staged { manifest, folder })
}

fn extract(reader: impl Read, stage: &Path) -> Result<()> {
    // One byte more than is allowed shows that there is more.
    let mut archive = tar::Archive::new(reader.take(LARGEST + 1));
    let mut seen = BTreeSet::new();
    let mut total = 0;
    // Raw, so that extensions are entries like others, and refused.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let shown = path.display().to_string();
        ensure!(
            entry.header().entry_type() == tar::EntryType::Regular,
            "`{shown}` is no plain file: packages hold no links, folders or devices"
        );
        let parts: Vec<Component> = path.components().collect();
        let [Component::Normal(_), Component::Normal(file)] = parts[..] else {
            bail!("`{shown}` does not stand in the package's own folder");
        };
        ensure!(seen.insert(file.to_owned()), "`{shown}` is there twice");
        ensure!(seen.len() <= MOST_FILES, "more than {MOST_FILES} files are too many for a package");
        total += entry.size();
        ensure!(total <= LARGEST, "more than {LARGEST} bytes are too much for a package");
        let mut target = File::create_new(stage.join(file))?;
        std::io::copy(&mut entry, &mut target)?;
    }
    Ok(())
}

/// Copies a package's folder beside its later place in `parent` and checks the copy.
///
/// # Errors
/// A package that [`check`] refuses; a file that cannot be copied.
pub fn copy(source: &Path, parent: &Path) -> Result<Staged> {
    let manifest = check(source)?;
    std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    let folder = tempfile::Builder::new().prefix(STAGE).tempdir_in(parent)?;
    let own = [manifest::FILE, manifest::SIGNATURE].into_iter().filter(|file| source.join(file).is_file());
    for file in manifest.files.iter().map(|file| file.path.as_str()).chain(own) {
        std::fs::copy(source.join(file), folder.path().join(file))
            .with_context(|| format!("`{file}` cannot be copied"))?;
    }
    // What was copied is what counts, whatever happened to the source meanwhile.
    let manifest = check(folder.path())?;
    Ok(Staged { manifest, folder })
}

/// Checks a package's folder: every file of the manifest is there with its size and sha256, and nothing else is. No code of it runs.
///
/// # Errors
/// What is missing, changed or too much.
pub fn check(folder: &Path) -> Result<Manifest> {
    let manifest = Manifest::read(&folder.join(manifest::FILE))
        .map_err(|error| anyhow::anyhow!("{}: {error}", manifest::FILE))?;
    ensure!(
        !manifest.files.is_empty(),
        "{} lists no files: it is that of a source folder\nhint: `coin-host plugin pack` makes a package of it",
        manifest::FILE
    );
    let mut listed = BTreeSet::from([manifest::FILE.to_owned(), manifest::SIGNATURE.to_owned()]);
    for file in &manifest.files {
        ensure!(listed.insert(file.path.clone()), "{} lists `{}` twice", manifest::FILE, file.path);
        let path = folder.join(&file.path);
        let kind = std::fs::symlink_metadata(&path)
            .with_context(|| format!("`{}` is missing\nhint: {AGAIN}", file.path))?;
        ensure!(kind.is_file(), "`{}` is no plain file\nhint: {AGAIN}", file.path);
        ensure!(
            kind.len() == file.size,
            "`{}` has {} bytes, the manifest says {}: it was cut or changed\nhint: {AGAIN}",
            file.path,
            kind.len(),
            file.size
        );
        let image = verify::read(&path).map_err(|error| anyhow::anyhow!("`{}`: {error}", file.path))?;
        verify::compare(&image, file.size, &file.sha256, "the manifest")
            .map_err(|error| anyhow::anyhow!("`{}`: {error}\nhint: {AGAIN}", file.path))?;
    }
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(listed.contains(&name), "`{name}` is not in the manifest\nhint: {AGAIN}");
    }
    Ok(manifest)
}

/// Gives a finished folder its name. An older one of that name makes room first and comes back if that fails.
fn settle(stage: tempfile::TempDir, target: &Path) -> Result<PathBuf> {
    #[cfg(unix)]
    std::fs::set_permissions(stage.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let moved = || format!("{} cannot be put in its place", target.display());
    let parent = target.parent().context("a package has a place to stand in")?;
    let older = tempfile::Builder::new().prefix(STAGE).tempdir_in(parent)?;
    let aside = older.path().join("older");
    let replaced = target.exists();
    if replaced {
        std::fs::rename(target, &aside).with_context(moved)?;
    }
    if let Err(error) = std::fs::rename(stage.path(), target) {
        if replaced {
            std::fs::rename(&aside, target).with_context(moved)?;
        }
        return Err(error).with_context(moved);
    }
    let _renamed = stage.keep();
    Ok(target.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[plugin]\nname = \"lora\"\nversion = \"1.2.0\"\nkind = [\"method\"]\nlicense = \"MIT\"\n[api]\nversion = \"1.0\"\n";

    fn source(root: &Path) -> Contents {
        std::fs::write(root.join("plugin.toml"), MANIFEST).expect("written");
        std::fs::write(root.join("README.md"), "# lora\n").expect("written");
        std::fs::write(root.join("Cargo.toml"), "[package]\n").expect("written");
        std::fs::write(root.join("lora.toml"), "stack = []\n").expect("written");
        let manifest = Manifest::parse(MANIFEST).expect("sound");
        gather(manifest, root, vec![7; 5_000], manifest::Build::default()).expect("a package")
    }

    type Entry = (&'static str, tar::EntryType, &'static [u8]);

    fn archive(entries: &[Entry], path: &Path) {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, kind, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            // Written past the library's own checks, which would refuse `..`.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            if *kind == tar::EntryType::Symlink {
                header.set_link_name("/etc/passwd").expect("a link");
            }
            header.set_cksum();
            archive.append(&header, *bytes).expect("appended");
        }
        let bytes = archive.into_inner().expect("finished");
        let compressed =
            ruzstd::encoding::compress_to_vec(&bytes[..], ruzstd::encoding::CompressionLevel::Fastest);
        std::fs::write(path, compressed).expect("written");
    }

    #[test]
    fn a_package_is_the_same_each_time_and_comes_back_whole() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let contents = source(root.path());
        let paths: Vec<&str> = contents.files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["README.md", "liblora.so", "lora.toml"]);
        let first = contents.write_archive(&root.path().join("a")).expect("written");
        let second = source(root.path()).write_archive(&root.path().join("b")).expect("written");
        assert_eq!(std::fs::read(&first).expect("there"), std::fs::read(second).expect("there"));
        let staged = unpack(&first, &root.path().join("c")).expect("sound");
        let manifest = staged.manifest.clone();
        assert_eq!(manifest, contents.manifest);
        let folder = staged.settle(&root.path().join("c")).expect("moved");
        assert_eq!(std::fs::read(folder.join("liblora.so")).expect("there"), [7; 5_000]);
        let written = contents.write_folder(&root.path().join("d")).expect("written");
        assert_eq!(check(&written).expect("sound"), manifest);
    }

    #[test]
    fn a_flipped_bit_is_refused_or_without_effect() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let contents = source(root.path());
        let path = contents.write_archive(&root.path().join("a")).expect("written");
        let whole = std::fs::read(&path).expect("there");
        for place in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << (place % 8);
            std::fs::write(&path, bytes).expect("written");
            if let Ok(staged) = unpack(&path, &root.path().join("c")) {
                assert_eq!(staged.manifest.plugin.name, "lora", "byte {place}");
                let library = std::fs::read(staged.path().join("liblora.so")).expect("there");
                assert_eq!(library, [7; 5_000], "byte {place}");
            }
        }
    }

    #[test]
    fn a_changed_a_missing_and_an_extra_file_are_refused() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = source(root.path()).write_folder(&root.path().join("d")).expect("written");
        let refused = || format!("{:#}", check(&folder).expect_err("refused"));
        std::fs::write(folder.join("extra.so"), "x").expect("written");
        assert!(refused().contains("`extra.so` is not in the manifest"));
        std::fs::remove_file(folder.join("extra.so")).expect("removed");
        std::fs::write(folder.join("liblora.so"), [8; 5_000]).expect("written");
        assert!(refused().contains("`liblora.so`: the file was changed"));
        std::fs::write(folder.join("liblora.so"), [8; 10]).expect("written");
        assert!(refused().contains("it was cut or changed"));
        std::fs::remove_file(folder.join("liblora.so")).expect("removed");
        assert!(refused().contains("`liblora.so` is missing"));
    }

    #[test]
    fn archives_that_reach_out_are_refused_and_leave_nothing() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let regular = tar::EntryType::Regular;
        let cases: [(&[Entry], &str); 6] = [
            (&[("../../x", regular, b"x")], "does not stand in the package's own folder"),
            (&[("/etc/x", regular, b"x")], "does not stand in the package's own folder"),
            (&[("p/a/b", regular, b"x")], "does not stand in the package's own folder"),
            (&[("p/x", tar::EntryType::Symlink, b"")], "is no plain file"),
            (&[("p/x", regular, b"x"), ("p/x", regular, b"y")], "is there twice"),
            (&[("p/x", regular, b"x")], "plugin.toml"),
        ];
        let path = root.path().join("bad.tar.zst");
        for (entries, part) in cases {
            archive(entries, &path);
            let error = format!("{:#}", unpack(&path, &root.path().join("out")).expect_err("refused"));
            assert!(error.contains(part), "{error}");
        }
        std::fs::write(&path, "text").expect("written");
        assert!(
            format!("{:#}", unpack(&path, &root.path().join("out")).expect_err("text"))
                .contains("is no package")
        );
        assert_eq!(
            std::fs::read_dir(root.path().join("out")).expect("there").count(),
            0,
            "something is left"
        );
    }
}
