//! What a package promises is held before any of its code runs: the library in these makes a file in its constructor.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use coin_host::conformance::Subject;
use coin_host::plugin::discover::library_file;
use coin_host::plugin::{PluginError, manifest};
use serde_json::Value;

use super::{check, having};
use crate::built::{self, marked};
use crate::support::Workspace;

const MANIFEST: &str = "[plugin]\nname = \"stress\"\nversion = \"0.1.0\"\nkind = [\"method\", \"dataset\"]\nlicense = \"MIT\"\nneeds = [\"stage_data\", \"teacher\"]\n[api]\nversion = \"1.0\"\n";
/// Loads the library, and not much more.
const SHORT: [&str; 2] = ["--kind", "dataset"];

/// Someone who makes packages of `stress`, and checks them.
struct Author {
    workspace: Workspace,
    mark: PathBuf,
}

impl Author {
    fn new() -> Author {
        let workspace = Workspace::new().file("source/plugin.toml", MANIFEST);
        let mark = workspace.path().join("mark");
        fs::write(workspace.path().join("marked.so"), marked(&mark)).expect("written");
        Author { workspace, mark }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.workspace.command(&[&["plugin"], arguments].concat());
        command.env("XDG_CONFIG_HOME", self.workspace.path()).output().expect("coin-host starts")
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    /// A package with the library that tells when it is loaded.
    fn pack(&self, more: &[&str]) -> PathBuf {
        let pack = ["pack", "source", "--library", "marked.so", "--out"];
        let out = tempfile::tempdir_in(self.workspace.path()).expect("a folder").keep();
        let packed = self.ok(&[&pack[..], &[&out.to_string_lossy()], more].concat());
        fs::remove_file(&self.mark).expect("packing asks the library what it is");
        self.workspace.path().join(packed)
    }

    /// Asserts that a check refuses it without having loaded it; gives what it says.
    fn refused(&self, path: &Path) -> String {
        let output = self.run(&[&["check", &path.to_string_lossy()], &SHORT[..]].concat());
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("hint: "), "{said}");
        assert!(!self.mark.exists(), "a constructor ran: {said}");
        said
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn edit(folder: &Path, from: &str, to: &str) {
    let path = folder.join(manifest::FILE);
    let manifest = fs::read_to_string(&path).expect("there");
    assert!(manifest.contains(from), "{manifest}");
    fs::write(path, manifest.replace(from, to)).expect("written");
}

#[test]
fn a_package_is_checked_as_folder_file_and_library() {
    let author = Author::new();
    let (folder, archive) = (author.pack(&["--as-folder"]), author.pack(&[]));
    for path in [&folder, &archive, &folder.join(library_file("stress"))] {
        let (output, report) = check(&author.workspace, path, &SHORT);
        assert_eq!(output.status.code(), Some(0), "{report:#}");
        let passed = having(&report, "pass");
        assert!(passed.iter().any(|(name, _)| name == "manifest"), "{report:#}");
        let bytes = marked(&author.mark);
        assert_eq!(report["sha256"], Value::String(coin_host::plugin::verify::sha256(&bytes)));
        fs::remove_file(&author.mark).expect("the constructor made it");
    }
    edit(&folder, "\"teacher\"", "\"replay\"");
    let (output, report) = check(&author.workspace, &folder, &SHORT);
    assert_eq!(output.status.code(), Some(3));
    let failed = having(&report, "fail");
    assert!(failed.len() == 1 && failed[0].0 == "manifest", "{failed:#?}");
    assert!(failed[0].1.contains("gives the needs as [replay, stage_data]"), "{failed:#?}");
}

#[test]
fn files_that_are_not_those_of_the_manifest_are_not_loaded() {
    let author = Author::new();
    let file = library_file("stress");
    let folder = author.pack(&["--as-folder"]);
    let library = folder.join(&file);
    let sound = fs::read(&library).expect("there");
    fs::write(&library, fs::read(built::plugin("stress")).expect("there")).expect("written");
    for path in [&folder, &library] {
        assert!(author.refused(path).contains("the file was changed"), "{}", path.display());
    }
    fs::write(&library, &sound[..sound.len() - 1]).expect("written");
    assert!(author.refused(&library).contains("it was cut or changed"));
    fs::write(&library, &sound).expect("written");
    fs::write(folder.join("extra"), "x").expect("written");
    assert!(author.refused(&folder).contains("`extra` is not in the manifest"));

    let folder = author.pack(&["--as-folder"]);
    edit(&folder, "version = \"1.0\"", "version = \"9.0\"");
    assert!(author.refused(&folder).contains("built for api 9.0, this host speaks 1"));
    edit(&folder, &manifest::target(), "sparc-sunos");
    assert!(author.refused(&folder).contains("has no library for"));
    edit(&folder, "license", "licence");
    assert!(author.refused(&folder).contains("licence"));

    let archive = author.pack(&[]);
    let bytes = fs::read(&archive).expect("there");
    fs::write(&archive, &bytes[..bytes.len() / 2]).expect("written");
    assert!(author.refused(&archive).contains("no package, or a damaged one"));
}

#[test]
fn a_signature_that_does_not_hold_or_is_by_a_revoked_key_is_refused() {
    let author = Author::new();
    let secret = author.workspace.path().join("secret.key").to_string_lossy().into_owned();
    let key = author.ok(&["keygen", "--no-password", "--out", &secret]);
    let folder = author.pack(&["--as-folder", "--sign", &secret]);
    author.ok(&["trust", "add", "vislab", "--key", &key]);
    // The manifest is sound, and not the one that was signed.
    edit(&folder, "license = \"MIT\"", "license = \"ISC\"");
    assert!(author.refused(&folder).contains("its signature does not hold"));
    edit(&folder, "license = \"ISC\"", "license = \"MIT\"");
    author.ok(&["trust", "revoke", &key, "--reason", "stolen"]);
    assert!(author.refused(&folder).contains("stolen"));
    assert!(author.refused(&folder.join(library_file("stress"))).contains("stolen"));
}

#[test]
fn a_library_that_is_changed_while_it_is_checked_is_not_loaded() {
    let author = Author::new();
    let library = author.workspace.path().join(library_file("stress"));
    fs::copy(built::plugin("stress"), &library).expect("copied");
    let subject = Subject::find(&library, author.workspace.path()).expect("a plugin");
    fs::copy(author.workspace.path().join("marked.so"), &library).expect("copied");
    let error = subject.load().expect_err("another library");
    assert!(error.to_string().contains("was changed while it was checked"), "{error}");
    assert!(matches!(PluginError::within(&error), Some(PluginError::Refused { .. })), "{error}");
    assert!(!author.mark.exists(), "a constructor ran");
}

#[test]
fn a_manifest_that_says_something_else_is_found() {
    let manifest = "[plugin]\nname = \"stress\"\nversion = \"0.1.0\"\nkind = [\"method\", \"dataset\"]\nlicense = \"MIT\"\nneeds = [\"replay\"]\n[api]\nversion = \"1.0\"\n";
    let folder = Workspace::new().file("plugin.toml", manifest);
    let library = folder.path().join(built::plugin("stress").file_name().expect("a file"));
    fs::copy(built::plugin("stress"), &library).expect("copied");
    let (output, report) = check(&folder, &library, &["--kind", "dataset"]);
    let failed = having(&report, "fail");
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert!(failed[0].0 == "manifest" && failed[0].1.contains("gives the needs as [replay]"), "{failed:#?}");
    assert_eq!(output.status.code(), Some(3));
}
