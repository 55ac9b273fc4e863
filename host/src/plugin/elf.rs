//! The headers of a shared library, read before any of its code can run. A library whose headers lead outside the file would end
//! the process inside the dynamic linker; one that is no plugin would run its constructors before anybody noticed.

mod layout;
mod linked;

pub use linked::Linked;

/// The symbol that `coin_plugin_api::export_plugin!` exports.
pub const HEADER_SYMBOL: &str = "_1as_0lib_1header_0root_bmodule_bloader";

const TYPE_SHARED: u16 = 3;
const SECTION_DYNAMIC: u32 = 6;
const SECTION_NO_BITS: u32 = 8;
const SECTION_DYNAMIC_SYMBOLS: u32 = 11;
const SECTION_VERSIONS_NEEDED: u32 = 0x6fff_fffe;

const COPY_AGAIN: &str =
    "hint: a copy, a download or a build that stopped half-way leaves such a file; get it again";
const COMPILE: &str = "hint: a plugin is what `cargo build --release` makes of its source, for example target/release/liblora.so";
const OTHER_MACHINE: &str = "hint: get the plugin built for this machine, or build it here from its source";

/// What the headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    pub linked: Linked,
    /// The lowest glibc that it starts with, major and minor, where it asks for one.
    pub glibc: Option<(u32, u32)>,
    /// Whether it exports [`HEADER_SYMBOL`].
    pub plugin: bool,
}

/// Reads the headers of a shared library for this machine. Program and section headers must stay within the file; those of a plugin must
/// agree with each other, and link nothing but the C library.
///
/// # Errors
/// Why the dynamic linker must not see these bytes, with a hint.
pub fn read(bytes: &[u8]) -> Result<Library, String> {
    let file = File(bytes);
    if bytes.is_empty() {
        return Err(format!("the file is empty\n{COPY_AGAIN}"));
    }
    if !bytes.starts_with(b"\x7fELF") {
        let text = bytes.iter().take(64).all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~'));
        let what = if text { "a text file, not a shared library" } else { "not a shared library" };
        return Err(format!("{what}\n{COMPILE}"));
    }
    let truncated =
        || format!("truncated: its headers lead beyond the {} bytes of the file\n{COPY_AGAIN}", bytes.len());
    if bytes.len() < 64 {
        return Err(truncated());
    }
    if bytes[4] != 2 {
        return Err(format!("a 32-bit library, this host is a 64-bit program\n{OTHER_MACHINE}"));
    }
    if bytes[5] != if cfg!(target_endian = "little") { 1 } else { 2 } {
        return Err(format!("built for a machine of the other byte order\n{OTHER_MACHINE}"));
    }
    let machine = file.u16(18).unwrap_or_default();
    if machine != machine_of_host() {
        return Err(format!(
            "built for {}, this machine is {}\n{OTHER_MACHINE}",
            machine_name(machine),
            std::env::consts::ARCH
        ));
    }
    if file.u16(16) != Some(TYPE_SHARED) {
        return Err(String::from(
            "an ELF file, but not a shared library\nhint: `crate-type = [\"cdylib\"]` in the plugin's Cargo.toml makes one",
        ));
    }
    let library = file.libraries().ok_or_else(truncated)??;
    // What is no plugin is refused for that.
    if library.plugin {
        layout::check(&file)?;
        linked::check(&library.linked)?;
    }
    Ok(library)
}

fn machine_of_host() -> u16 {
    match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        "riscv64" => 243,
        "powerpc64" => 21,
        "s390x" => 22,
        "loongarch64" => 258,
        _ => 0,
    }
}

fn machine_name(machine: u16) -> String {
    match machine {
        3 => "x86".into(),
        40 => "arm".into(),
        62 => "x86_64".into(),
        183 => "aarch64".into(),
        243 => "riscv64".into(),
        other => format!("machine {other}"),
    }
}

/// Bytes whose every read is checked.
struct File<'a>(&'a [u8]);

struct Section {
    kind: u32,
    address: u64,
    offset: u64,
    size: u64,
    link: u32,
}

impl<'a> File<'a> {
    /// `None` where anything leads outside the file.
    fn libraries(&self) -> Option<Result<Library, String>> {
        for index in 0..self.u16(56)? {
            let header = self.entry(self.u64(32)?, self.u16(54)?, 56, index)?;
            self.range(header.u64(8)?, header.u64(32)?)?;
        }
        let count = self.u16(60)?;
        if count == 0 {
            return Some(Err(String::from(
                "it has no section headers, so it cannot be checked before it is loaded\nhint: strip a plugin with `strip = true` of its Cargo profile, which keeps them",
            )));
        }
        let sections: Vec<Section> = (0..count).map(|index| self.section(index)).collect::<Option<_>>()?;
        let mut library = Library { linked: Linked::default(), glibc: None, plugin: false };
        for section in &sections {
            match section.kind {
                SECTION_DYNAMIC => self.linked(section, &sections, &mut library.linked)?,
                SECTION_VERSIONS_NEEDED => library.glibc = library.glibc.max(self.glibc(section, &sections)?),
                SECTION_DYNAMIC_SYMBOLS => library.plugin |= self.exports_header(section, &sections)?,
                _ => {}
            }
        }
        Some(Ok(library))
    }

    fn section(&self, index: u16) -> Option<Section> {
        let header = self.entry(self.u64(40)?, self.u16(58)?, 64, index)?;
        let section = Section {
            kind: header.u32(4)?,
            address: header.u64(16)?,
            offset: header.u64(24)?,
            size: header.u64(32)?,
            link: header.u32(40)?,
        };
        if section.kind != 0 && section.kind != SECTION_NO_BITS {
            self.range(section.offset, section.size)?;
        }
        Some(section)
    }

    fn exports_header(&self, section: &Section, sections: &[Section]) -> Option<bool> {
        let names = self.contents(sections.get(section.link as usize)?)?;
        for symbol in self.contents(section)?.0.chunks_exact(24).map(File) {
            let defined = symbol.u16(6)? != 0;
            if defined && names.text(u64::from(symbol.u32(0)?))? == HEADER_SYMBOL.as_bytes() {
                return Some(true);
            }
        }
        Some(false)
    }

    fn contents(&self, section: &Section) -> Option<File<'a>> {
        if section.kind == SECTION_NO_BITS { None } else { self.range(section.offset, section.size) }
    }

    /// An entry of a table of headers, each at least `least` bytes long.
    fn entry(&self, table: u64, size: u16, least: u16, index: u16) -> Option<File<'a>> {
        let size = u64::from(size);
        if size < u64::from(least) {
            return None;
        }
        self.range(table.checked_add(size.checked_mul(u64::from(index))?)?, size)
    }

    fn range(&self, offset: u64, size: u64) -> Option<File<'a>> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        self.0.get(start..end).map(File)
    }

    /// A text that ends with a zero byte.
    fn text(&self, offset: u64) -> Option<&'a [u8]> {
        let rest = self.0.get(usize::try_from(offset).ok()?..)?;
        Some(&rest[..rest.iter().position(|byte| *byte == 0)?])
    }

    fn u16(&self, at: usize) -> Option<u16> {
        Some(u16::from_ne_bytes(self.0.get(at..at + 2)?.try_into().ok()?))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.0.get(at..at + 4)?.try_into().ok()?))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(self.0.get(at..at + 8)?.try_into().ok()?))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The test itself is a position independent executable: an ELF file of the kind of a shared library.
    fn own() -> Vec<u8> {
        let path = std::env::current_exe().expect("a test knows its own file");
        std::fs::read(path).expect("a test can read itself")
    }

    #[test]
    fn the_libraries_a_file_links_are_listed() {
        let library = read(&own()).expect("this very program is sound");
        assert!(library.linked.needed.iter().any(|name| name.starts_with("libc.so")), "{library:?}");
        assert!(library.glibc.is_some_and(|(major, minor)| major == 2 && minor >= 17), "{library:?}");
        assert!(!library.plugin);
    }

    #[test]
    fn what_is_foreign_is_named() {
        let mut other = own();
        other.truncate(4096);
        let changed = |at: usize, value: u8| {
            let mut bytes = other.clone();
            bytes[at] = value;
            read(&bytes).expect_err("changed")
        };
        assert!(changed(4, 1).contains("32-bit"));
        assert!(changed(5, 2).contains("byte order"));
        assert!(changed(16, 2).contains("not a shared library"));
        assert!(changed(18, 8).contains("built for"));
        assert!(read(&other).expect_err("cut").contains("truncated"));
        assert!(read(b"#!/bin/sh\n").expect_err("text").contains("text file"));
        assert!(read(b"").expect_err("empty").contains("empty"));
    }

    #[test]
    fn cut_anywhere_it_is_refused() {
        let own = own();
        for part in 0..64 {
            assert!(read(&own[..own.len() / 64 * part]).is_err(), "{part}/64");
        }
        assert!(read(&own[..own.len() - 1]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_damage_of_the_headers_leads_outside_the_file(
            changes in prop::collection::vec((0usize..64, any::<u8>()), 1..8),
        ) {
            static OWN: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(own);
            let mut bytes = OWN.clone();
            for (at, value) in changes {
                bytes[at] = value;
            }
            // Where it is taken all the same, the damage was in a field that leads nowhere: the rest reads as before.
            if let Ok(library) = read(&bytes) {
                prop_assert!(!library.plugin);
            }
        }
    }
}
