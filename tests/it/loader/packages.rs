//! Packages as two labs meet them: made here, added there, changed on the way.

use std::fs;
use std::path::{Path, PathBuf};

use coin_host::plugin::manifest::Manifest;
use coin_host::plugin::{archive, elf};

use super::sandbox::{Sandbox, alone, harmless, plugin, text};
use crate::{built, runs};

/// LoRA under another name than the shipped one, so that only the added one can answer.
fn pack(sandbox: &Sandbox, arguments: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/lora").display().to_string();
    let library = built::plugin("lora").display().to_string();
    let output = plugin(sandbox, &[&["pack", &source, "--library", &library], arguments].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    sandbox.path().join("project").join(text(&output.stdout).trim())
}

#[test]
fn a_package_is_added_verified_and_removed() {
    let sandbox = Sandbox::new();
    let archive = pack(&sandbox, &[]);
    let again = pack(&sandbox, &["--out", "again"]);
    assert_eq!(fs::read(&archive).expect("there"), fs::read(again).expect("there"), "other bytes each time");

    let refused = plugin(&sandbox, &["add", &archive.display().to_string()]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("a shipped plugin has this name"), "{}", text(&refused.stderr));
    let added = plugin(&sandbox, &["add", "--replace-shipped", &archive.display().to_string()]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    assert!(text(&added.stdout).starts_with("added lora 0.1.0 ("), "{}", text(&added.stdout));
    assert!(text(&added.stderr).contains("native code"), "{}", text(&added.stderr));
    let info = plugin(&sandbox, &["info", "lora@0.1.0"]);
    let shown = text(&info.stdout);
    assert!(
        shown.contains("locked") && shown.contains(".coinplugin/") && shown.contains("r = 16"),
        "{shown}"
    );
    let verified = plugin(&sandbox, &["verify", "lora"]);
    assert!(text(&verified.stdout).starts_with("lora 0.1.0: locked, sha256 "), "{}", text(&verified.stdout));

    let library = sandbox.path().join("data/coin-host/plugins/lora-0.1.0-x86_64-linux.coinplugin/liblora.so");
    let mut bytes = fs::read(&library).expect("it was added");
    let end = harmless(&bytes);
    bytes[end] ^= 1;
    fs::write(&library, bytes).expect("written");
    let verified = plugin(&sandbox, &["verify", "lora"]);
    assert_eq!(verified.status.code(), Some(3), "{}", text(&verified.stdout));
    assert!(text(&verified.stderr).contains("the file was changed"), "{}", text(&verified.stderr));

    // What cannot be used does not take the place of what can.
    let folder = pack(&sandbox, &["--as-folder", "--out", "spoiled"]);
    let manifest = fs::read_to_string(folder.join("plugin.toml")).expect("there");
    let spoiled = manifest.replace("version = \"1.0\"", "version = \"9.0\"");
    fs::write(folder.join("plugin.toml"), spoiled).expect("written");
    let refused = plugin(&sandbox, &["add", "--replace-shipped", &folder.display().to_string()]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
    assert!(library.exists(), "the older one is gone");

    assert!(plugin(&sandbox, &["remove", "lora"]).status.success());
    assert!(!library.exists());
    let missing = plugin(&sandbox, &["remove", "lora"]);
    assert!(
        !missing.status.success() && text(&missing.stderr).contains("hint: "),
        "{}",
        text(&missing.stderr)
    );
}

#[test]
fn a_folder_and_a_bare_library_are_added_too() {
    let sandbox = Sandbox::new();
    let folder = pack(&sandbox, &["--as-folder"]);
    let added = plugin(&sandbox, &["add", "--replace-shipped", &folder.display().to_string()]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    fs::write(folder.join("extra"), "x").expect("written");
    let refused = plugin(&sandbox, &["add", "--replace-shipped", &folder.display().to_string()]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused.stderr).contains("`extra` is not in the manifest"), "{}", text(&refused.stderr));

    let library = built::plugin("ewc").display().to_string();
    let added = plugin(&sandbox, &["add", "--replace-shipped", &library]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    let verified = plugin(&sandbox, &["verify", "ewc"]);
    assert!(text(&verified.stdout).contains("locked"), "{}", text(&verified.stdout));
}

#[test]
fn what_is_added_says_where_its_example_is() {
    let sandbox = Sandbox::new();
    let source = sandbox.path().join("project/source");
    fs::create_dir(&source).expect("created");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/lora/plugin.toml");
    fs::copy(manifest, source.join("plugin.toml")).expect("copied");
    fs::write(source.join("small.toml"), "stack = [{ plugin = \"lora\", r = 2 }]\n").expect("written");
    let library = built::plugin("lora").display().to_string();
    let packed = plugin(&sandbox, &["pack", "source", "--library", &library]);
    assert!(packed.status.success(), "{}", text(&packed.stderr));
    let added = plugin(&sandbox, &["add", "--replace-shipped", text(&packed.stdout).trim()]);
    let stderr = text(&added.stderr);
    let example = sandbox
        .path()
        .join("data/coin-host/plugins/lora-0.1.0-x86_64-linux.coinplugin/small.toml")
        .display()
        .to_string();
    assert!(stderr.contains(&example) && Path::new(&example).is_file(), "{stderr}");
}

#[test]
fn a_comparison_says_that_an_added_plugin_hides_another_build() {
    let sandbox = Sandbox::new();
    let built = fs::read(built::plugin("ewc")).expect("it was built");
    let mut older = built.clone();
    older[harmless(&built)] ^= 1;
    let planned = || {
        let mut command = built::coin_host();
        let command = alone(&mut command, &sandbox).env("XDG_CACHE_HOME", runs::cache());
        command.args(["compare", "--dry-run", "--methods", "lora-ewc"]).output().expect("coin-host starts")
    };
    let note = "libewc.so is used and not ";
    for (bytes, hides_another) in [(&older, true), (&built, false)] {
        let library = sandbox.put("ewc", bytes).display().to_string();
        let added = plugin(&sandbox, &["add", "--replace-shipped", &library]);
        assert!(added.status.success(), "{}", text(&added.stderr));
        let output = planned();
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert_eq!(stderr.contains(note), hides_another, "{stderr}");
    }
}

#[test]
fn what_is_damaged_or_no_package_is_refused_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let archive = pack(&sandbox, &[]);
    let whole = fs::read(&archive).expect("there");
    let bad = sandbox.path().join("bad.coinplugin.tar.zst");
    for bytes in [&whole[..whole.len() / 2], b"text", b""] {
        fs::write(&bad, bytes).expect("written");
        let refused = plugin(&sandbox, &["add", &bad.display().to_string()]);
        assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
        let message = text(&refused.stderr);
        assert!(message.contains("no package, or a damaged one") && message.contains("hint: "), "{message}");
    }
    // Whatever it is called, what cannot be loaded is not packed either.
    let other = sandbox.path().join("renamed.bin");
    fs::write(&other, b"text").expect("written");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/lora").display().to_string();
    let refused =
        plugin(&sandbox, &["pack", &source, "--library", &other.display().to_string(), "--out", "bad"]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
    assert!(!sandbox.path().join("project/bad").exists(), "something was written");

    let text_file = sandbox.put("mine", b"text");
    let refused = plugin(&sandbox, &["add", &text_file.display().to_string()]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
    let shelf = sandbox.path().join("data/coin-host/plugins");
    assert_eq!(fs::read_dir(shelf).map(Iterator::count).unwrap_or(0), 0, "something is left");
}

/// The crate's folder of `stress`, as a repository of its own with everything committed; gives it.
fn repository(sandbox: &Sandbox) -> PathBuf {
    let folder = sandbox.path().join("project");
    let manifest = "[plugin]\nname = \"stress\"\nversion = \"0.1.0\"\nkind = [\"method\", \"dataset\"]\nlicense = \"MIT\"\nneeds = [\"stage_data\", \"teacher\"]\n[api]\nversion = \"1.0\"\n";
    fs::write(folder.join("plugin.toml"), manifest).expect("written");
    for arguments in [
        &["init", "--quiet"][..],
        &["add", "."],
        &[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.org",
            "commit",
            "--quiet",
            "--message",
            "a plugin",
        ],
    ] {
        let done = std::process::Command::new("git").args(arguments).current_dir(&folder).status();
        assert!(done.is_ok_and(|status| status.success()), "{arguments:?}");
    }
    folder
}

fn manifest_of(archive: &Path) -> Manifest {
    archive::open(&fs::read(archive).expect("there")).expect("sound").manifest
}

#[test]
fn a_package_of_one_commit_is_the_same_each_time_and_says_what_it_needs() {
    let sandbox = Sandbox::new();
    let folder = repository(&sandbox);
    let library = built::plugin("stress").display().to_string();
    let pack = || {
        let output = plugin(&sandbox, &["pack", "--library", &library]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        folder.join(text(&output.stdout).trim())
    };
    let first = fs::read(pack()).expect("there");
    // By now `dist` is a folder that git does not know.
    let archive = pack();
    assert!(first == fs::read(&archive).expect("there"), "other bytes the second time");
    let build = manifest_of(&archive).build;
    assert_eq!(build.commit.as_ref().map(String::len), Some(40), "{build:?}");
    let glibc = build.glibc.expect("a library of this machine");
    assert!(glibc.starts_with("2."), "{glibc}");
    fs::write(
        folder.join("plugin.toml"),
        fs::read_to_string(folder.join("plugin.toml")).expect("there") + "# x\n",
    )
    .expect("written");
    assert!(manifest_of(&pack()).build.commit.is_some_and(|commit| commit.ends_with("-dirty")));
}

#[test]
fn a_library_that_is_not_what_its_manifest_says_is_not_packed() {
    let sandbox = Sandbox::new();
    let folder = repository(&sandbox);
    let library = built::plugin("stress").display().to_string();
    let manifest = fs::read_to_string(folder.join("plugin.toml")).expect("there");
    for (from, to, part) in [
        ("0.1.0", "0.2.0", "its manifest gives the version as 0.2.0, the library itself as 0.1.0"),
        (
            "version = \"1.0\"",
            "version = \"1.1\"",
            "its manifest gives the api version as 1.1, the library itself as 1.0",
        ),
        ("[\"method\", \"dataset\"]", "[\"method\"]", "its manifest gives the kinds as"),
        ("\"stage_data\", ", "", "its manifest gives the needs as"),
        ("name = \"stress\"", "name = \"strass\"", "it calls itself `stress`"),
    ] {
        fs::write(folder.join("plugin.toml"), manifest.replacen(from, to, 1)).expect("written");
        let output = plugin(&sandbox, &["pack", "--library", &library]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{to}: {message}");
        assert!(message.contains(part) && message.contains("\nhint: "), "{to}: {message}");
        assert!(!folder.join("dist").exists(), "something was written");
    }
    // Nor is it loaded where it came in all the same.
    let placed =
        sandbox.package("stress", "0.1.0", "1.1", &fs::read(built::plugin("stress")).expect("readable"));
    let placed = placed.parent().expect("a folder").display().to_string();
    let info = plugin(&sandbox, &["info", "stress@0.1.0", "--plugin-dir", &placed, "--trust", "any"]);
    assert_eq!(info.status.code(), Some(3));
    assert!(text(&info.stderr).contains("its manifest gives"), "{}", text(&info.stderr));
}

#[test]
fn what_needs_a_later_c_library_is_refused_before_it_runs() {
    let sandbox = Sandbox::new();
    let mark = sandbox.path().join("mark");
    let sound = built::marked(&mark);
    let glibc = elf::read(&sound).expect("sound").glibc.expect("it asks for one");
    let (from, to) = (format!("GLIBC_{}.{}\0", glibc.0, glibc.1), format!("GLIBC_9.{}\0", glibc.1));
    let at = sound.windows(from.len()).position(|window| window == from.as_bytes()).expect("its name");
    let mut later = sound.clone();
    later[at..at + to.len()].copy_from_slice(to.as_bytes());
    let folder = sandbox.package("stress", "0.1.0", "1.0", &later);
    let place = sandbox.plugins().display().to_string();
    let refused = || {
        let info = plugin(&sandbox, &["info", "stress@0.1.0", "--plugin-dir", &place, "--trust", "any"]);
        let message = text(&info.stderr);
        assert_eq!(info.status.code(), Some(3), "{message}");
        assert!(
            message.contains("it needs glibc 9.") && message.contains("this machine has 2."),
            "{message}"
        );
        let added = plugin(&sandbox, &["add", &folder.display().to_string()]);
        assert_eq!(added.status.code(), Some(3), "{}", text(&added.stderr));
        assert!(!mark.exists(), "a constructor ran");
    };
    refused();
    // A manifest that says so is enough.
    fs::remove_dir_all(&folder).expect("removed");
    sandbox.package("stress", "0.1.0", "1.0", &sound);
    let path = folder.join("plugin.toml");
    let manifest = fs::read_to_string(&path).expect("there");
    fs::write(&path, format!("{manifest}[build]\nglibc = \"9.1\"\n")).expect("written");
    refused();
    let listed = text(&plugin(&sandbox, &["list", "--plugin-dir", &place, "--trust", "any"]).stdout);
    assert!(listed.contains("it needs glibc 9.1 or later"), "{listed}");
}
