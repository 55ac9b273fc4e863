//! Hostile input: files and packages that are cut, changed, foreign or malicious are refused with one line, and no code of theirs runs.
//! The library in them makes a file in its constructor, before any check inside it could; that file is never there.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use coin_host::config::Trust;
use coin_host::plugin::discover::{Surroundings, library_file};
use coin_host::plugin::manifest::{self, Build, Manifest};
use coin_host::plugin::package::{self, Contents};
use coin_host::plugin::shelf::{Permissions, Shelf};
use coin_host::plugin::{Catalog, PluginError, archive, elf, verify};

use super::sandbox::{Sandbox, plugin, plugins, text};
use crate::built;

const MANIFEST: &str = "[plugin]\nname = \"stress\"\nversion = \"0.1.0\"\nkind = [\"method\", \"dataset\"]\nlicense = \"MIT\"\nneeds = [\"stage_data\", \"teacher\"]\n[api]\nversion = \"1.0\"\n";

struct Hostile {
    sandbox: Sandbox,
    mark: PathBuf,
    library: Vec<u8>,
}

impl Hostile {
    fn new() -> Hostile {
        let sandbox = Sandbox::new();
        let mark = sandbox.path().join("mark");
        let library = built::marked(&mark);
        Hostile { sandbox, mark, library }
    }

    fn package(&self) -> Contents {
        let source = self.sandbox.path().join("source");
        fs::create_dir_all(&source).expect("created");
        let manifest = Manifest::parse(MANIFEST).expect("sound");
        package::gather(manifest, &source, self.library.clone(), Build::default()).expect("a package")
    }

    fn shelf(&self) -> Shelf {
        Shelf::open(&self.sandbox.surroundings()).expect("a user with a home")
    }

    /// Adds it as the program does; gives the message of the refusal.
    fn refused(&self, source: &Path) -> String {
        let added = self.shelf().add(&source.display().to_string(), Permissions::default(), &mut Vec::new());
        let error = added.err().unwrap_or_else(|| panic!("{} was added", source.display()));
        self.untouched();
        format!("{error:#}")
    }

    /// The folder that package folders stand in, to look for plugins in.
    fn place(&self) -> PathBuf {
        let place = self.sandbox.path().join("place");
        fs::create_dir_all(&place).expect("created");
        place
    }

    /// What stands in [`Self::place`] is not loaded, under the policy that asks for nothing: neither here nor by the program.
    fn never_loaded(&self, what: &str) {
        let place = self.place();
        let catalog =
            Catalog::open_in(&plugins(vec![place.clone()], Trust::Any), &self.sandbox.surroundings());
        let error = catalog.load("stress").expect_err(what);
        assert_eq!(error.exit_code(), 3, "{what}: {error}");
        let arguments =
            ["info", "stress@0.1.0", "--plugin-dir", &place.display().to_string(), "--trust", "any"];
        let info = plugin(&self.sandbox, &arguments);
        if catalog.candidates().iter().any(|candidate| candidate.name == "stress") {
            let message = text(&info.stderr);
            assert_eq!(info.status.code(), Some(3), "{what}: {message}");
            assert!(
                message.starts_with("error: plugin `stress`") && message.contains("\nhint: "),
                "{message}"
            );
        }
        for folder in fs::read_dir(place).expect("there").flatten() {
            let checked = plugin(&self.sandbox, &["check", &folder.path().display().to_string()]);
            let message = text(&checked.stdout) + &text(&checked.stderr);
            assert!(matches!(checked.status.code(), Some(2 | 3)), "{what}: {message}");
            assert!(message.contains("hint: "), "{what}: {message}");
        }
        self.untouched();
    }

    /// No code ran, nothing was put beside the user's plugins.
    fn untouched(&self) {
        assert!(!self.mark.exists(), "a constructor ran");
        let shelf = self.sandbox.path().join("data/coin-host/plugins");
        assert_eq!(fs::read_dir(shelf).map(Iterator::count).unwrap_or(0), 0, "something is left");
        assert!(!self.sandbox.path().join("data/coin-host/plugins.lock").exists(), "something was locked");
    }
}

#[test]
fn the_constructor_runs_when_the_library_is_loaded() {
    // Without this, none of the other tests would show anything.
    let hostile = Hostile::new();
    hostile.sandbox.put("stress", &hostile.library);
    let folder = hostile.sandbox.plugins().display().to_string();
    let listed = plugin(&hostile.sandbox, &["list", "--plugin-dir", &folder, "--trust", "any"]);
    assert!(listed.status.success() && !hostile.mark.exists(), "listing runs no code");
    let refused = plugin(&hostile.sandbox, &["info", "stress", "--plugin-dir", &folder]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(!hostile.mark.exists(), "what is refused does not run");
    let info = plugin(&hostile.sandbox, &["info", "stress", "--plugin-dir", &folder, "--trust", "any"]);
    assert!(info.status.success(), "{}", text(&info.stderr));
    assert_eq!(fs::read_to_string(&hostile.mark).expect("the constructor made it"), "constructed");
}

#[test]
fn a_bare_file_with_any_64th_byte_flipped_is_refused_under_a_lock() {
    let hostile = Hostile::new();
    hostile.sandbox.lock(&[("stress", &hostile.library)]);
    let path = hostile.sandbox.put("stress", &hostile.library);
    let file = fs::File::options().write(true).open(path).expect("there");
    for place in (0..hostile.library.len()).step_by(64) {
        let byte = hostile.library[place];
        file.write_all_at(&[byte ^ 1 << (place / 64 % 8)], place as u64).expect("written");
        let error = hostile.sandbox.load("stress", Trust::Locked).expect_err("another file");
        let is_refusal = matches!(error, PluginError::Refused { .. }) && error.exit_code() == 3;
        assert!(is_refusal, "byte {place}: {error}");
        file.write_all_at(&[byte], place as u64).expect("written");
    }
    assert!(!hostile.mark.exists(), "a constructor ran");
}

#[test]
fn a_bare_file_that_nobody_locked_is_refused_by_what_its_headers_show() {
    let hostile = Hostile::new();
    let sound = &hostile.library;
    let with = |at: usize, value: &[u8]| {
        let mut bytes = sound.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    let mut thirty_two = b"\x7fELF\x01\x01\x01".to_vec();
    thirty_two.resize(52, 0);
    thirty_two[16] = 3;
    thirty_two[18] = 3;
    let mut cases: Vec<(String, Vec<u8>, &str)> = vec![
        ("empty".into(), Vec::new(), "the file is empty"),
        ("text".into(), b"#!/bin/sh\ntouch mark\n".to_vec(), "a text file"),
        ("archive".into(), b"!<arch>\n\x00".to_vec(), "not a shared library"),
        ("aarch64".into(), with(18, &183u16.to_le_bytes()), "built for aarch64"),
        ("32-bit".into(), thirty_two.clone(), "truncated"),
        ("32-bit, long".into(), [thirty_two, vec![0; 4096]].concat(), "32-bit"),
        ("32-bit class".into(), with(4, &[1]), "32-bit"),
        ("program".into(), with(16, &2u16.to_le_bytes()), "not a shared library"),
        ("no sections".into(), with(60, &0u16.to_le_bytes()), "no section headers"),
        ("sections far away".into(), with(40, &u64::MAX.to_le_bytes()), "truncated"),
        ("segments far away".into(), with(32, &(1u64 << 40).to_le_bytes()), "truncated"),
    ];
    for part in (0..64).chain([1021]) {
        let length = sound.len() * part / 1024;
        cases.push((format!("cut to {length}"), sound[..length].to_vec(), ""));
    }
    cases.push(("cut by one".into(), sound[..sound.len() - 1].to_vec(), "truncated"));
    for (name, bytes, part) in &cases {
        hostile.sandbox.put("stress", bytes);
        // Under the policy that asks for nothing.
        let error = hostile.sandbox.load("stress", Trust::Any).expect_err(name);
        let message = error.to_string();
        assert_eq!(error.exit_code(), 3, "{name}: {message}");
        assert!(message.contains(part), "{name}: {message}");
        assert!(message.lines().count() == 2 && message.contains("\nhint: "), "{name}: {message}");
        let path = hostile.sandbox.plugins().join(library_file("stress"));
        assert!(hostile.refused(&path).contains(part), "{name}");
    }
}

#[test]
fn flipped_bits_in_the_tables_of_a_library_are_seen() {
    let sound = fs::read(built::plugin("stress")).expect("readable");
    let number = |at: usize, size: usize| {
        let mut word = [0; 8];
        word[..size].copy_from_slice(&sound[at..at + size]);
        u64::from_le_bytes(word) as usize
    };
    let segments = number(32, 8)..number(32, 8) + number(56, 2) * 56;
    let sections = number(40, 8)..number(40, 8) + number(60, 2) * 64;
    let mut share = Vec::new();
    for (name, range) in [("header", 0..64), ("segments", segments), ("sections", sections)] {
        let (mut seen, mut all, mut bytes) = (0, 0, sound.clone());
        for place in range {
            for bit in 0..8 {
                bytes[place] ^= 1 << bit;
                seen += usize::from(elf::read(&bytes).is_err());
                all += 1;
                bytes[place] = sound[place];
            }
        }
        share.push((name, 100 * seen / all));
    }
    eprintln!("percent of flipped bits that are seen: {share:?}");
    // What is not seen has no meaning for the linker: entry point, physical addresses, names and kinds of sections.
    assert!(share[0].1 >= 85 && share[1].1 >= 60 && share[2].1 >= 50, "percent seen: {share:?}");
}

#[test]
fn a_package_with_any_64th_byte_flipped_or_cut_anywhere_is_refused() {
    let hostile = Hostile::new();
    let contents = hostile.package();
    let packed = archive::pack(&contents, &package::folder_name(&contents.manifest)).expect("packed");
    assert_eq!(archive::open(&packed).expect("sound"), contents);
    let (sealed, mut changed) = (packed.len() - 40, packed.clone());
    for place in (0..packed.len()).step_by(64) {
        changed[place] ^= 1 << (place / 64 % 8);
        assert!(archive::open(&changed).is_err(), "byte {place}");
        assert!(archive::open(&packed[..place]).is_err(), "cut at {place}");
        changed[place] = packed[place];
    }
    // Somebody who flips a bit and seals it again gets in what the manifest lists, or nothing.
    for place in (0..sealed).step_by(1024) {
        changed[place] ^= 1 << (place / 1024 % 8);
        if let Ok(opened) = archive::open(&archive::sealed(changed[..sealed].to_vec())) {
            assert_eq!(opened.files, contents.files, "byte {place}");
        }
        changed[place] = packed[place];
    }
    let path = hostile.sandbox.path().join("p.coinplugin.tar.zst");
    for bytes in [&packed[..packed.len() / 2], b"text", b"", &changed[1..]] {
        fs::write(&path, bytes).expect("written");
        assert!(hostile.refused(&path).contains("is no package, or a damaged one"));
    }
}

/// A package whose manifest says something else, with everything else as it was.
fn with_manifest(contents: &Contents, from: &str, to: &str) -> Contents {
    assert!(contents.text.contains(from), "{from} is not in {}", contents.text);
    let text = contents.text.replacen(from, to, 1);
    let files = contents.files.iter().map(|(path, bytes)| (path.clone(), bytes.clone())).collect();
    Contents { manifest: contents.manifest.clone(), text, signature: None, files }
}

#[test]
fn a_manifest_that_lies_is_refused() {
    let hostile = Hostile::new();
    let sound = hostile.package();
    let file = library_file("stress");
    let sha256 = verify::sha256(&hostile.library);
    let size = format!("size = {}", hostile.library.len());
    let target = format!("target = \"{}\"", manifest::target());
    let cases = [
        (sha256.as_str(), "0".repeat(64), "the file was changed"),
        (&size, String::from("size = 1"), "the manifest says 1"),
        (&size, String::from("size = 9000000000000000000"), "too much for a package"),
        (&size, String::from("size = -1"), "invalid value"),
        (&target, String::from("target = \"aarch64-linux\""), "only for aarch64-linux"),
        (&target, String::from("target = \"../x\""), "is not a platform"),
        ("version = \"1.0\"", String::from("version = \"9.0\""), "built for api 9.0"),
        ("version = \"1.0\"", String::from("version = \"new\""), "is not a version"),
        ("name = \"stress\"", String::from("name = \"../../x\""), "is not a name"),
        ("name = \"stress\"", String::from("name = \"/tmp/x\""), "is not a name"),
        ("version = \"0.1.0\"", String::from("version = \"0.1.0/../../x\""), "is not a version"),
        (&file, String::from("../../x"), "does not stay"),
        (&file, String::from("/etc/passwd"), "does not stay"),
        (&file, String::from("a/b.so"), "is not in the manifest"),
        (
            "[[file]]",
            format!("[[file]]\npath = \"{file}\"\nsize = 1\nsha256 = \"{sha256}\"\n[[file]]"),
            "is listed twice",
        ),
        ("[plugin]", String::from("[plugin]\nrun = \"sh\""), "unknown field"),
        ("license", String::from("\u{0}license"), "plugin.toml"),
    ];
    let path = hostile.sandbox.path().join("p.coinplugin.tar.zst");
    let folder = hostile.place().join("folder");
    for (from, to, part) in &cases {
        let lying = with_manifest(&sound, from, to);
        fs::write(&path, archive::pack(&lying, "p").expect("packed")).expect("written");
        let message = hostile.refused(&path);
        assert!(message.contains(part), "{to}: {message}");
        // The same as a folder.
        let _before = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("created");
        for (name, bytes) in lying.all() {
            fs::write(folder.join(name), bytes).expect("written");
        }
        hostile.refused(&folder);
        hostile.never_loaded(to);
    }
    // As it is, the same folder is loaded.
    for (name, bytes) in sound.all() {
        fs::write(folder.join(name), bytes).expect("written");
    }
    let place = hostile.place().display().to_string();
    let info = plugin(&hostile.sandbox, &["info", "stress@0.1.0", "--plugin-dir", &place, "--trust", "any"]);
    assert!(info.status.success() && hostile.mark.exists(), "without this, the test would show nothing");
}

#[test]
fn folders_with_links_pipes_and_giants_are_refused() {
    let hostile = Hostile::new();
    let sound = hostile.package();
    let fresh = |name: &str| {
        let _before = fs::remove_dir_all(hostile.place());
        let folder = sound.write_folder(&hostile.place()).expect("written");
        let named = folder.with_file_name(name);
        fs::rename(folder, &named).expect("renamed");
        named
    };
    let library = |folder: &Path| folder.join(library_file("stress"));

    let folder = fresh("link");
    let elsewhere = hostile.sandbox.path().join("elsewhere.so");
    fs::rename(library(&folder), &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, library(&folder)).expect("linked");
    assert!(hostile.refused(&folder).contains("is no plain file"));
    // A folder that somebody put there by hand may link; the bytes count.
    fs::write(&elsewhere, &hostile.library[..4096]).expect("written");
    hostile.never_loaded("a link to other bytes");

    let folder = fresh("pipe");
    fs::remove_file(folder.join("plugin.toml")).expect("removed");
    let made = std::process::Command::new("mkfifo").arg(folder.join("plugin.toml")).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo is there");
    assert!(hostile.refused(&folder).contains("not a file"));
    hostile.never_loaded("a pipe");

    let folder = fresh("pipe-of-library");
    fs::remove_file(library(&folder)).expect("removed");
    let made = std::process::Command::new("mkfifo").arg(library(&folder)).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo is there");
    assert!(hostile.refused(&folder).contains("is no plain file"));
    hostile.never_loaded("a pipe for a library");

    let folder = fresh("giant");
    let file = fs::File::options().write(true).open(folder.join("plugin.toml")).expect("there");
    file.set_len(100 << 20).expect("a sparse file");
    assert!(hostile.refused(&folder).contains("too much for a manifest"));
    hostile.never_loaded("a manifest of 100 MB");

    let folder = fresh("signature");
    fs::File::create(folder.join("plugin.toml.minisig"))
        .and_then(|file| file.set_len(100 << 20))
        .expect("sparse");
    assert!(hostile.refused(&folder).contains("too much for a signature"));
    hostile.never_loaded("a signature of 100 MB");

    let giant = hostile.sandbox.path().join("giant.coinplugin.tar.zst");
    fs::File::create(&giant).and_then(|file| file.set_len(1 << 40)).expect("sparse");
    assert!(hostile.refused(&giant).contains("too much for a package"));
}

#[test]
fn bombs_are_refused_before_they_unpack() {
    let hostile = Hostile::new();
    let sound = hostile.package();
    let entry = |archive: &mut Vec<u8>, name: &str, size: u64, bytes: &[u8]| {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(bytes);
        archive.resize(archive.len().next_multiple_of(512), 0);
    };
    let path = hostile.sandbox.path().join("bomb.coinplugin.tar.zst");
    let refused = |archive: &[u8], part: &str| {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let packed = archive::sealed(ruzstd::encoding::compress_to_vec(archive, level));
        fs::write(&path, &packed).expect("written");
        let message = hostile.refused(&path);
        assert!(message.contains(part), "{message}");
        packed.len()
    };
    let text = sound.text.as_bytes();
    let zeros = vec![0; 64 << 20];
    // A manifest of 100 MB, by its header and in full.
    let mut archive = Vec::new();
    entry(&mut archive, "p/plugin.toml", 100 << 20, b"");
    refused(&archive, "too much for plugin.toml");
    let mut archive = Vec::new();
    entry(&mut archive, "p/plugin.toml", zeros.len() as u64, &zeros);
    assert!(refused(&archive, "too much for plugin.toml") < 1 << 20, "it packs well");
    // A file that is not listed, one that is larger than listed, one that claims to be endless.
    for (name, size, part) in [
        ("p/zeros", zeros.len() as u64, "is not in the manifest"),
        ("p/libstress.so", zeros.len() as u64, "was cut or changed"),
        ("p/libstress.so", 0o77777777777, "was cut or changed"),
    ] {
        let mut archive = Vec::new();
        entry(&mut archive, "p/plugin.toml", text.len() as u64, text);
        entry(&mut archive, name, size, &zeros);
        refused(&archive, part);
    }
    // Listed as it is, more than any package has.
    let size = format!("size = {}", hostile.library.len());
    let lying = with_manifest(&sound, &size, "size = 300000000");
    let mut archive = Vec::new();
    entry(&mut archive, "p/plugin.toml", lying.text.len() as u64, lying.text.as_bytes());
    entry(&mut archive, "p/libstress.so", 300_000_000, &zeros);
    refused(&archive, "too much for a package");
}

#[test]
fn a_file_that_is_swapped_while_it_is_loaded_is_never_another_one() {
    let hostile = Hostile::new();
    let sound = fs::read(built::plugin("stress")).expect("readable");
    hostile.sandbox.lock(&[("stress", &sound)]);
    let path = hostile.sandbox.put("stress", &sound);
    let stop = AtomicBool::new(false);
    let (mut taken, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = path.with_extension("other");
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let bytes = if turn % 2 == 0 { &hostile.library } else { &sound };
                if turn % 3 == 0 {
                    // In place, under the reader's hands.
                    fs::write(&path, bytes).expect("written");
                } else {
                    fs::write(&other, bytes).and_then(|()| fs::rename(&other, &path)).expect("renamed");
                }
            }
        });
        for _ in 0..300 {
            match hostile.sandbox.load("stress", Trust::Locked) {
                Ok(plugin) => {
                    assert_eq!(plugin.sha256(), verify::sha256(&sound));
                    taken += 1;
                }
                Err(error) => {
                    assert_eq!(error.exit_code(), 3, "{error}");
                    refused += 1;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused: nothing was swapped");
    assert!(!hostile.mark.exists(), "a constructor ran");
}

#[test]
fn the_program_ends_with_code_3_and_one_line() {
    let hostile = Hostile::new();
    let contents = hostile.package();
    let sound = archive::pack(&contents, "p").expect("packed");
    let path = hostile.sandbox.path().join("p.coinplugin.tar.zst");
    let lying =
        |from: &str, to: &str| archive::pack(&with_manifest(&contents, from, to), "p").expect("packed");
    let cases = [
        sound[..sound.len() / 2].to_vec(),
        b"text".to_vec(),
        Vec::new(),
        lying("name = \"stress\"", "name = \"../../x\""),
        lying(&verify::sha256(&hostile.library), &"0".repeat(64)),
        lying("version = \"1.0\"", "version = \"9.0\""),
    ];
    for bytes in cases {
        fs::write(&path, bytes).expect("written");
        let output = plugin(&hostile.sandbox, &["add", &path.display().to_string()]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{message}");
        assert!(message.starts_with("error: plugin ") && message.contains("\nhint: "), "{message}");
        hostile.untouched();
    }
    // A user without a home is an error of another kind.
    assert!(Shelf::open(&Surroundings::default()).is_err());
}
