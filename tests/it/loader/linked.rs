//! Libraries that have others loaded beside them. Those would run before anybody looked at them, so no plugin may name any.

use std::fs;
use std::process::Command;

use coin_host::config::Trust;
use coin_host::plugin::elf;

use super::sandbox::{Sandbox, plugin, text};
use crate::built;

const END: u64 = 0;
const NEEDED: u64 = 1;
const NAMES: u64 = 5;
const FLAGS: u64 = 0x6fff_fffb;
/// A symbol that a library asks for and does without.
const SPARE: &[u8] = b"_ITM_deregisterTMCloneTable\0";

/// A library whose dynamic table can be rewritten.
struct Patched {
    bytes: Vec<u8>,
    /// Where the dynamic table stands, and where its names do.
    table: usize,
    names: usize,
}

impl Patched {
    fn new() -> Patched {
        let bytes = fs::read(built::plugin("stress")).expect("readable");
        let word =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) as usize;
        let short = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let section = |index: usize| word(40) + index * 64;
        let dynamic = (0..short(60)).map(section).find(|at| bytes[at + 4] == 6).expect("a dynamic table");
        let (table, names) = (word(dynamic + 24), word(section(usize::from(bytes[dynamic + 40])) + 24));
        Patched { bytes, table, names }
    }

    /// The entry with this tag becomes another one.
    fn entry(mut self, from: u64, tag: u64, value: Option<u64>) -> Patched {
        let places = (self.table..).step_by(16);
        let at = places.take(64).find(|at| self.bytes[*at..at + 8] == from.to_le_bytes()).expect("an entry");
        self.bytes[at..at + 8].copy_from_slice(&tag.to_le_bytes());
        if let Some(value) = value {
            self.bytes[at + 8..at + 16].copy_from_slice(&value.to_le_bytes());
        }
        self
    }

    /// It links one more library.
    fn linking(mut self, name: &str) -> Patched {
        let found = self.bytes[self.names..].windows(SPARE.len()).position(|window| window == SPARE);
        let (offset, text) = (found.expect("a spare symbol"), [name.as_bytes(), b"\0"].concat());
        assert!(text.len() <= SPARE.len());
        let at = self.names + offset;
        self.bytes[at..at + text.len()].copy_from_slice(&text);
        self.entry(FLAGS, NEEDED, Some(offset as u64))
    }
}

#[test]
fn a_library_that_has_another_one_loaded_is_refused_before_either_runs() {
    let sandbox = Sandbox::new();
    let mark = sandbox.path().join("mark");
    fs::write(sandbox.path().join("h.so"), built::marked(&mark)).expect("written");
    let bytes = Patched::new().linking("../h.so").bytes;
    let path = sandbox.put("stress", &bytes);
    let project = sandbox.path().join("project");

    // Without this, the test would show nothing: the linker does load the other one, and its constructor runs.
    let loaded = Command::new("true").env("LD_PRELOAD", &path).current_dir(&project).output();
    assert!(loaded.is_ok_and(|output| output.status.success()));
    fs::remove_file(&mark).expect("the constructor made it");

    // Not even a lock on these very bytes, or a package that lists them, makes it a plugin.
    sandbox.lock(&[("stress", &bytes)]);
    sandbox.package("stress", "0.1.0", "1.0", &bytes);
    let folder = sandbox.plugins().display().to_string();
    let file = path.display().to_string();
    let commands: [&[&str]; 6] = [
        &["info", "stress", "--plugin-dir", &folder],
        &["info", "stress", "--plugin-dir", &folder, "--trust", "any"],
        &["info", "stress@0.1.0", "--plugin-dir", &folder, "--trust", "any"],
        &["verify", "stress", "--plugin-dir", &folder],
        &["lock", &file],
        &["add", &file],
    ];
    for arguments in commands {
        let output = plugin(&sandbox, arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {message}");
        assert!(message.contains("it links \"../h.so\"") && message.contains("\nhint: "), "{message}");
        assert!(!mark.exists(), "a constructor ran by {arguments:?}");
    }
}

#[test]
fn every_way_to_name_other_files_is_refused() {
    let sandbox = Sandbox::new();
    let refused = |patched: Patched, part: &str| {
        sandbox.put("stress", &patched.bytes);
        let error = sandbox.load("stress", Trust::Any).expect_err(part);
        let message = error.to_string();
        assert_eq!(error.exit_code(), 3, "{message}");
        assert!(message.contains(part) && message.contains("\nhint: "), "{part}: {message}");
    };
    for (tag, name) in [
        (15, "RPATH"),
        (29, "RUNPATH"),
        (0x6fff_fefc, "AUDIT"),
        (0x7fff_fffd, "AUXILIARY"),
        (0x7fff_ffff, "FILTER"),
    ] {
        refused(Patched::new().entry(FLAGS, tag, None), &format!("it has {name}"));
    }
    for name in ["/shared/lab/libhelper.so", "libhelper.so.1", "/lib/libc.so.6", "libc.so.6.evil"] {
        refused(Patched::new().linking(name), &format!("it links {name:?}"));
    }
    // A table that the linker reads further, or with other names, than its section says.
    refused(Patched::new().entry(END, FLAGS, None), "its dynamic table has no end");
    refused(Patched::new().entry(NAMES, NAMES, Some(0x2a8)), "its names elsewhere");
    let more =
        elf::read(&Patched::new().linking("libm.so.6").bytes).expect("what the system has may be linked");
    assert!(more.linked.needed.contains(&String::from("libm.so.6")), "{more:?}");
}
