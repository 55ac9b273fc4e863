//! What a library makes the dynamic linker load beside itself, and where it has that looked for. Nothing vouches for such files, and
//! their constructors run as the library's own do; so a plugin may name the system's C library alone.

use super::{COPY_AGAIN, File, Section};

const TAG_END: u64 = 0;
const TAG_NEEDED: u64 = 1;
const TAG_NAMES: u64 = 5;
/// Entries by which a library changes where others are looked for, or has more of them loaded.
const SEARCHES: [(u64, &str); 7] = [
    (15, "RPATH"),
    (29, "RUNPATH"),
    (0x6fff_fefa, "CONFIG"),
    (0x6fff_fefb, "DEPAUDIT"),
    (0x6fff_fefc, "AUDIT"),
    (0x7fff_fffd, "AUXILIARY"),
    (0x7fff_ffff, "FILTER"),
];

/// The C library in its parts, what unwinds, and the linker itself (`ld-linux-x86-64.so.2`, `ld64.so.2`).
const SYSTEM: [&str; 6] = ["libc", "libgcc_s", "libm", "libpthread", "libdl", "librt"];
const LINKER: [&str; 2] = ["ld-linux", "ld64"];

const LINK_LESS: &str = "hint: link what the plugin uses into it (Rust crates are; of C, the static library `.a`), and set no rpath";

/// The dynamic table, as far as it says what is loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Linked {
    /// Names of the libraries it links.
    pub needed: Vec<String>,
    /// Entries by which it changes where libraries are looked for.
    pub searches: Vec<&'static str>,
    /// The linker would read another table than this: it has no end, or its names stand elsewhere.
    pub misleads: bool,
}

impl File<'_> {
    /// Reads the dynamic table; `None` where it leads outside the file.
    pub(super) fn linked(&self, section: &Section, sections: &[Section], linked: &mut Linked) -> Option<()> {
        let of_names = sections.get(section.link as usize)?;
        let names = self.contents(of_names)?;
        let (mut named, mut ended) = (false, false);
        for entry in self.contents(section)?.0.chunks_exact(16).map(File) {
            let (tag, value) = (entry.u64(0)?, entry.u64(8)?);
            match tag {
                // What stands behind the end is nothing to the linker.
                TAG_END => {
                    ended = true;
                    break;
                }
                TAG_NEEDED => linked.needed.push(String::from_utf8_lossy(names.text(value)?).into_owned()),
                // The linker takes the names from here, whatever section is said to have them.
                TAG_NAMES => {
                    named = true;
                    linked.misleads |= value == 0 || value != of_names.address;
                }
                _ => {
                    linked.searches.extend(SEARCHES.iter().find(|known| known.0 == tag).map(|known| known.1))
                }
            }
        }
        linked.misleads |= !named || !ended;
        Some(())
    }

    /// The lowest glibc that has all symbol versions a library asks for, from its table of them; `None` where that leads outside.
    pub(super) fn glibc(&self, section: &Section, sections: &[Section]) -> Option<Option<(u32, u32)>> {
        let names = self.contents(sections.get(section.link as usize)?)?;
        let table = self.contents(section)?;
        let (mut at, mut lowest, mut left) = (0, None, table.0.len() / 16);
        loop {
            let count = table.u16(at + 2)?;
            let mut version = at.checked_add(table.u32(at + 8)? as usize)?;
            for _ in 0..count {
                // Entries that overlap would be read without end.
                left = left.checked_sub(1)?;
                let name = names.text(u64::from(table.u32(version + 8)?))?;
                lowest = lowest.max(std::str::from_utf8(name).ok().and_then(glibc_of));
                match table.u32(version + 12)? as usize {
                    0 => break,
                    next => version = version.checked_add(next)?,
                }
            }
            left = left.checked_sub(1)?;
            match table.u32(at + 12)? as usize {
                0 => return Some(lowest),
                next => at = at.checked_add(next)?,
            }
        }
    }
}

/// `GLIBC_2.34` and `GLIBC_2.2.5` as major and minor.
fn glibc_of(symbol_version: &str) -> Option<(u32, u32)> {
    let version = symbol_version.strip_prefix("GLIBC_")?;
    if version == "ABI_DT_RELR" {
        return Some((2, 36));
    }
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// Holds what a plugin links against what it may.
///
/// # Errors
/// What it must not link, with a hint.
pub(super) fn check(linked: &Linked) -> Result<(), String> {
    if linked.misleads {
        return Err(format!(
            "damaged: its dynamic table has no end, or has its names elsewhere than its section\n{COPY_AGAIN}"
        ));
    }
    if let Some(entry) = linked.searches.first() {
        return Err(format!(
            "it has {entry}, by which the dynamic linker loads files that nobody checks\n{LINK_LESS}"
        ));
    }
    match linked.needed.iter().find(|name| !is_of_system(name)) {
        Some(name) => {
            Err(format!("it links {name:?}, a file beside the C library that nobody checks\n{LINK_LESS}"))
        }
        None => Ok(()),
    }
}

/// `libm.so.6`: a part of the system, by its plain name, so that the linker finds it where it finds the host's own.
fn is_of_system(name: &str) -> bool {
    let Some((stem, version)) = name.split_once(".so.") else { return false };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let known = SYSTEM.contains(&stem)
        || LINKER.iter().any(|linker| stem.starts_with(linker)) && stem.bytes().all(plain);
    known && !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_known_by_its_plain_names() {
        for name in ["libc.so.6", "libgcc_s.so.1", "libm.so.6", "ld-linux-x86-64.so.2", "ld64.so.2"] {
            assert!(is_of_system(name), "{name}");
        }
        for name in [
            "/lib/libc.so.6",
            "../libc.so.6",
            "libc.so",
            "libc.so.x",
            "libc.evil.so.6",
            "libcc.so.6",
            "ld-linux/../evil.so.2",
            "libhelper.so.1",
            "",
        ] {
            assert!(!is_of_system(name), "{name}");
        }
    }

    #[test]
    fn symbol_versions_give_the_lowest_glibc() {
        assert_eq!(glibc_of("GLIBC_2.34"), Some((2, 34)));
        assert_eq!(glibc_of("GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(glibc_of("GLIBC_ABI_DT_RELR"), Some((2, 36)));
        assert_eq!((glibc_of("GLIBC_PRIVATE"), glibc_of("GCC_3.0")), (None, None));
        assert!((2, 10) > (2, 9));
    }
}
