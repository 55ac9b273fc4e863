//! Packages: a plugin as one folder or one `.tar.zst`, with a manifest that lists size and sha256 of every file in it, and a
//! signature over that manifest where somebody signed it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use minisign::SecretKey;

use super::manifest::{self, Manifest};
use super::{PluginError, archive, signature, verify};
use crate::files;

/// What a package's folder and archive are called behind the name.
pub const FOLDER: &str = "coinplugin";
pub const ARCHIVE: &str = "coinplugin.tar.zst";
/// What a folder on its way to its name begins with; searches leave such folders out.
const STAGE: &str = ".package-";
const AGAIN: &str = "get the package again, and from whom you trust";
/// Files of a crate that go into its package where they are there, beside `*.toml` examples.
const COMPANIONS: [&str; 5] = ["README.md", "LICENSE", "LICENSE-MIT", "LICENSE-APACHE", "CITATION.cff"];

/// `lora-1.2.0-x86_64-linux.coinplugin`, named after the platform of its library, this one's where it has several.
pub fn folder_name(manifest: &Manifest) -> String {
    let here = manifest::target();
    let targets: Vec<&str> = manifest.files.iter().filter_map(|file| file.target.as_deref()).collect();
    let target =
        if targets.contains(&here.as_str()) { &here } else { targets.first().copied().unwrap_or(&here) };
    format!("{}-{}-{target}.{FOLDER}", manifest.plugin.name, manifest.plugin.version)
}

/// `lora-1.2.0-x86_64-linux.coinplugin.tar.zst`.
pub fn archive_name(manifest: &Manifest) -> String {
    folder_name(manifest).replace(&format!(".{FOLDER}"), &format!(".{ARCHIVE}"))
}

/// A package in memory.
#[derive(Debug, PartialEq)]
pub struct Contents {
    pub manifest: Manifest,
    /// The manifest as it is written and signed.
    pub text: String,
    /// The content of [`manifest::SIGNATURE`].
    pub signature: Option<String>,
    /// Path in the package and bytes, sorted by path; without the manifest and the signature.
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
    let text = toml::to_string(&manifest)?;
    Ok(Contents { manifest, text, signature: None, files })
}

impl Contents {
    /// Reads a package's folder; what was read is what counts, whatever happens to the folder later.
    ///
    /// # Errors
    /// [`PluginError::Refused`]: what is missing, changed or too much.
    pub fn read(folder: &Path) -> Result<Contents, PluginError> {
        Contents::of_folder(folder).map_err(|error| refusal(&folder.display().to_string(), "", &error))
    }

    fn of_folder(folder: &Path) -> Result<Contents> {
        let in_manifest = |error: String| anyhow::anyhow!("{}: {error}", manifest::FILE);
        let text = manifest::text(&folder.join(manifest::FILE)).map_err(in_manifest)?;
        let manifest = Manifest::parse(&text).map_err(in_manifest)?;
        archive::fits(&manifest)?;
        let path = folder.join(manifest::SIGNATURE);
        let signature = match std::fs::symlink_metadata(&path) {
            Ok(_) => Some(signature_text(&path).map_err(anyhow::Error::msg)?),
            Err(_) => None,
        };
        let mut files = Vec::new();
        for file in &manifest.files {
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
            let bytes = verify::read_up_to(&path, file.size, "what the manifest says")
                .map_err(|error| anyhow::anyhow!("`{}`: {error}", file.path))?;
            files.push((file.path.clone(), bytes));
        }
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let own = name == manifest::FILE || name == manifest::SIGNATURE;
            let listed = own || manifest.files.iter().any(|file| file.path == name);
            ensure!(listed, "`{}` is not in the manifest\nhint: {AGAIN}", manifest::shown(&name));
        }
        files.sort();
        let contents = Contents { manifest, text, signature, files };
        contents.check()?;
        Ok(contents)
    }

    /// Checks that the files are those of the manifest, by name, size and sha256. No code of them runs.
    ///
    /// # Errors
    /// What is missing, changed or too much.
    pub fn check(&self) -> Result<()> {
        ensure!(
            !self.manifest.files.is_empty(),
            "{} lists no files: it is that of a source folder\nhint: `coin-host plugin pack` makes a package of it",
            manifest::FILE
        );
        let mut listed = BTreeSet::from([manifest::FILE, manifest::SIGNATURE]);
        for file in &self.manifest.files {
            ensure!(listed.insert(&file.path), "{} lists itself\nhint: {AGAIN}", manifest::FILE);
            ensure!(
                !file.path.contains('/'),
                "`{}` does not stand in the package's own folder\nhint: a package has no folders in it",
                file.path
            );
            let bytes = self.file(&file.path);
            let bytes = bytes.with_context(|| format!("`{}` is missing\nhint: {AGAIN}", file.path))?;
            verify::compare(bytes.len(), &verify::sha256(bytes), file.size, &file.sha256, "the manifest")
                .map_err(|error| anyhow::anyhow!("`{}`: {error}\nhint: {AGAIN}", file.path))?;
        }
        let extra = self.files.iter().find(|(path, _)| !listed.contains(path.as_str()));
        match extra {
            Some((path, _)) => anyhow::bail!("`{path}` is not in the manifest\nhint: {AGAIN}"),
            None => Ok(()),
        }
    }

    /// The bytes of a file.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.iter().find(|(known, _)| known == path).map(|(_, bytes)| bytes.as_slice())
    }

    /// Every file of the package, the manifest first.
    pub fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let signature = self.signature.iter().map(|text| (manifest::SIGNATURE, text.as_bytes()));
        let files = self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
        std::iter::once((manifest::FILE, self.text.as_bytes())).chain(signature).chain(files)
    }

    /// Signs the manifest, and with it every file that it lists.
    ///
    /// # Errors
    /// A key that is damaged.
    pub fn sign(&mut self, secret: &SecretKey) -> Result<()> {
        let about = &self.manifest.plugin;
        let comment = format!("coin-host plugin {} {}", about.name, about.version);
        self.signature = Some(signature::sign(secret, self.text.as_bytes(), &comment)?);
        Ok(())
    }

    /// Writes the package's folder below `parent`, all of it or nothing, in place of an older one.
    pub fn write_folder(&self, parent: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(parent).with_context(|| unmade(parent))?;
        let stage = tempfile::Builder::new().prefix(STAGE).tempdir_in(parent)?;
        for (path, bytes) in self.all() {
            std::fs::write(stage.path().join(path), bytes)?;
        }
        settle(stage, &parent.join(folder_name(&self.manifest)))
    }

    /// Writes the package's archive into a folder.
    pub fn write_archive(&self, parent: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(parent).with_context(|| unmade(parent))?;
        let path = parent.join(archive_name(&self.manifest));
        files::replace(&path, &archive::pack(self, &folder_name(&self.manifest))?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }
}

/// The text of a signature's file.
///
/// # Errors
/// That it cannot be read, or is too large for one.
pub fn signature_text(path: &Path) -> Result<String, String> {
    let bytes = verify::read_up_to(path, signature::LARGEST, "a signature")
        .map_err(|error| format!("{}: {error}", manifest::SIGNATURE))?;
    String::from_utf8(bytes).map_err(|_| format!("{}: it is not UTF-8\nhint: {AGAIN}", manifest::SIGNATURE))
}

/// Reads a package from the bytes of its archive. `name` says where they come from.
///
/// # Errors
/// [`PluginError::Refused`]: what [`archive::open`] refuses.
pub fn open(bytes: &[u8], name: &str) -> Result<Contents, PluginError> {
    archive::open(bytes).map_err(|error| refusal(name, "it is no package, or a damaged one: ", &error))
}

/// A refusal in one line, with the hint of whichever cause has one.
fn refusal(name: &str, before: &str, error: &anyhow::Error) -> PluginError {
    let (mut reasons, mut hint) = (Vec::new(), None);
    for cause in error.chain().map(ToString::to_string) {
        match cause.split_once("\nhint: ") {
            Some((reason, given)) => {
                reasons.push(reason.to_owned());
                hint = hint.or(Some(given.to_owned()));
            }
            None => reasons.push(cause),
        }
    }
    let reason = reasons.join(": ").replace('\n', " ");
    let hint = hint.unwrap_or_else(|| AGAIN.to_owned());
    PluginError::refused(name, format!("{before}{reason}\nhint: {hint}"))
}

/// That a folder cannot be made.
pub(super) fn unmade(folder: &Path) -> String {
    format!(
        "{} cannot be made\nhint: look at what stands in its place, and the permissions",
        folder.display()
    )
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

    type Entry<'a> = (&'a str, tar::EntryType, &'a [u8]);

    /// Lists one file, `x` with the content `x`.
    const WITH_X: &str = "[plugin]\nname = \"lora\"\nversion = \"1.2.0\"\nkind = [\"method\"]\nlicense = \"MIT\"\n[api]\nversion = \"1.0\"\n\
        [[file]]\npath = \"x\"\nsize = 1\nsha256 = \"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\"\n";

    fn packed(entries: &[Entry]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, kind, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            // Written past the library's own checks, which would refuse `..`.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
                header.set_link_name("/etc/passwd").expect("a link");
            }
            header.set_cksum();
            archive.append(&header, *bytes).expect("appended");
        }
        let bytes = archive.into_inner().expect("finished");
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        archive::sealed(ruzstd::encoding::compress_to_vec(&bytes[..], level))
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
        let opened = open(&std::fs::read(&first).expect("there"), "a").expect("sound");
        assert_eq!(opened, contents);
        let folder = opened.write_folder(&root.path().join("c")).expect("written");
        assert_eq!(std::fs::read(folder.join("liblora.so")).expect("there"), [7; 5_000]);
        assert_eq!(Contents::read(&folder).expect("sound"), contents);
    }

    #[test]
    fn a_flipped_bit_and_a_cut_are_refused_wherever_they_are() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let contents = source(root.path());
        let whole = archive::pack(&contents, "p").expect("packed");
        assert_eq!(archive::open(&whole).expect("sound"), contents);
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << (place % 8);
            assert!(archive::open(&bytes).is_err(), "byte {place}");
            assert!(archive::open(&whole[..place]).is_err(), "cut at {place}");
        }
        assert!(archive::open(&[&whole[..], b"x"].concat()).is_err(), "more behind it");
    }

    #[test]
    fn a_changed_a_missing_and_an_extra_file_are_refused() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = source(root.path()).write_folder(&root.path().join("d")).expect("written");
        let refused = || format!("{:#}", Contents::read(&folder).expect_err("refused"));
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
    fn archives_that_reach_out_are_refused() {
        let regular = tar::EntryType::Regular;
        let sound: Entry = ("p/plugin.toml", regular, WITH_X.as_bytes());
        let x: Entry = ("p/x", regular, b"x");
        let long = vec![b'#'; 2 << 20];
        let itself = WITH_X.replace("\"x\"", "\"plugin.toml\"");
        let cases: &[(&[Entry], &str)] = &[
            (&[("../../x", regular, b"x")], "does not stand in the package's own folder"),
            (&[("/etc/x", regular, b"x")], "does not stand in the package's own folder"),
            (&[("p/a/b", regular, b"x")], "does not stand in the package's own folder"),
            (&[sound, ("q/x", regular, b"x")], "does not stand in the package's own folder"),
            (&[("p/x", tar::EntryType::Symlink, b"")], "is no plain file"),
            (&[sound, ("p/x", tar::EntryType::Symlink, b"")], "is no plain file"),
            (&[sound, ("p/x", tar::EntryType::Link, b"")], "is no plain file"),
            (&[sound, ("p/x", tar::EntryType::Fifo, b"")], "is no plain file"),
            (&[sound, ("p/x", tar::EntryType::Char, b"")], "is no plain file"),
            (&[sound, ("p/x", tar::EntryType::Block, b"")], "is no plain file"),
            (
                &[sound, ("p/x\nhint: run \u{1b}[2J", regular, b"x")],
                "`x\\nhint: run \\u{1b}[2J` is not in the manifest",
            ),
            (&[("p/plugin.toml", regular, itself.as_bytes())], "plugin.toml lists itself"),
            (&[("p", tar::EntryType::Directory, b""), sound, x], "is no plain file"),
            (&[sound, ("p/x", tar::EntryType::GNUSparse, b"x")], "is no plain file"),
            (&[sound, x, x], "is there twice"),
            (&[sound, sound, x], "is there twice"),
            (&[x, sound], "its first file is `x`"),
            (&[sound], "`x` is missing"),
            (&[sound, ("p/x", regular, b"xx")], "has 2 bytes, the manifest says 1"),
            (&[sound, ("p/x", regular, b"y")], "the file was changed"),
            (&[sound, x, ("p/y", regular, b"y")], "`y` is not in the manifest"),
            (&[("p/plugin.toml", regular, &long)], "are too much for plugin.toml"),
            (&[sound, ("p/plugin.toml.minisig", regular, &long), x], "are too much for a signature"),
            (&[], "it has no plugin.toml"),
        ];
        for (entries, part) in cases {
            let error = format!("{:#}", archive::open(&packed(entries)).expect_err(part));
            assert!(error.contains(part), "{error}");
        }
        assert!(archive::open(&packed(&[sound, x])).is_ok(), "the sound one is");
        for text in
            [&b"text"[..], b"", &[0; 100], &archive::sealed(b"text".to_vec()), &archive::sealed(Vec::new())]
        {
            let error = format!("{:#}", open(text, "bad").expect_err("no package"));
            assert!(
                error.starts_with("plugin bad refused: it is no package")
                    && error.ends_with("from whom you trust"),
                "{error}"
            );
        }
    }
}
