//! Which hook runs now, in a file that another process reads after a crash or a hang.
//!
//! The file is mapped into memory, so setting it is one store and works up to the very instruction that ends the process. Each thread
//! has a lane of its own; a lane holds the number of a plugin, of a hook and of a site, and the names of plugins stand behind the
//! lanes.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::hook::Hook;
use super::load::shared_words;

const MAGIC: u64 = u64::from_le_bytes(*b"coinhook");
/// Threads beyond these share lanes: the last one to start a hook is then the one that is seen.
const LANES: usize = 63;
/// Longer names are cut.
const NAME_WORDS: usize = 8;
const NAMES: usize = 56;
const WORDS: usize = 1 + LANES + NAMES * NAME_WORDS;

static INSTALLED: OnceLock<Breadcrumb> = OnceLock::new();

/// The file as its writer sees it.
#[derive(Debug)]
pub struct Breadcrumb {
    words: &'static [AtomicU64],
    names: Mutex<Vec<String>>,
}

/// A hook that ran when the file was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Name and version.
    pub plugin: String,
    pub hook: Hook,
    /// The index of the site, for hooks that have one.
    pub site: Option<usize>,
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {}, {}", self.plugin, self.hook.name())?;
        self.site.map_or(Ok(()), |site| write!(f, " at site {site}"))
    }
}

impl Breadcrumb {
    /// Makes the file, empty; an existing one is replaced.
    ///
    /// # Errors
    /// It cannot be made or mapped.
    pub fn create(path: &Path) -> std::io::Result<Breadcrumb> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len((WORDS * 8) as u64)?;
        let words = shared_words(&file, WORDS)?;
        words[0].store(MAGIC, Ordering::Relaxed);
        Ok(Breadcrumb { words, names: Mutex::default() })
    }

    /// Makes every plugin of this process leave its trace here. Only the first one counts.
    pub fn install(self) {
        let _first = INSTALLED.set(self);
    }

    /// The one that was installed.
    pub(super) fn installed() -> Option<&'static Breadcrumb> {
        INSTALLED.get()
    }

    /// The number of a plugin, by name and version.
    pub fn plugin(&self, name: &str) -> u16 {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let number = names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name.to_string());
            names.len() - 1
        });
        if number < NAMES {
            let mut bytes = [0; NAME_WORDS * 8];
            let length = name.len().min(bytes.len());
            bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
            let start = 1 + LANES + number * NAME_WORDS;
            for (word, bytes) in self.words[start..].iter().zip(bytes.chunks_exact(8)) {
                word.store(u64::from_le_bytes(std::array::from_fn(|at| bytes[at])), Ordering::Relaxed);
            }
        }
        number as u16
    }

    /// This thread runs a hook from now on, until what is returned is dropped; then what ran before runs again.
    pub fn set(&self, plugin: u16, hook: Hook, site: Option<usize>) -> Trace {
        let lane = &self.words[1 + LANE.get() % LANES];
        let site = site.map_or(0, |site| site as u64 + 1) & 0xFFFF_FFFF;
        let now = (u64::from(plugin) + 1) << 48 | (hook as u64) << 32 | site;
        Trace { lane, before: lane.swap(now, Ordering::Relaxed) }
    }

    /// The hooks that run, or ran when the process ended. Empty where none did, or where the process never came to make the file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> std::io::Result<Vec<Running>> {
        let bytes = std::fs::read(path)?;
        let words: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|bytes| u64::from_ne_bytes(std::array::from_fn(|at| bytes[at])))
            .collect();
        if words.len() != WORDS || words[0] != MAGIC {
            return Ok(Vec::new());
        }
        Ok(words[1..=LANES].iter().filter_map(|lane| running(*lane, &words)).collect())
    }
}

fn running(lane: u64, words: &[u64]) -> Option<Running> {
    let number = (lane >> 48).checked_sub(1)? as usize;
    let start = 1 + LANES + number * NAME_WORDS;
    let plugin = match words.get(start..start + NAME_WORDS) {
        Some(words) => {
            let bytes: Vec<u8> =
                words.iter().flat_map(|word| word.to_le_bytes()).take_while(|byte| *byte != 0).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        None => format!("number {number}"),
    };
    let hook = *Hook::ALL.get((lane >> 32 & 0xFFFF) as usize)?;
    Some(Running { plugin, hook, site: (lane & 0xFFFF_FFFF).checked_sub(1).map(|site| site as usize) })
}

thread_local! {
    static LANE: Cell<usize> = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        Cell::new(THREADS.fetch_add(1, Ordering::Relaxed))
    };
}

/// Ends the hook of [`Breadcrumb::set`] when dropped.
#[must_use = "the hook ends when this is dropped"]
#[derive(Debug)]
pub struct Trace {
    lane: &'static AtomicU64,
    before: u64,
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.lane.store(self.before, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_sees_the_innermost_hook_of_each_thread() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("hook");
        let crumb = Breadcrumb::create(&path).expect("made");
        let read = || Breadcrumb::read(&path).expect("readable");
        assert_eq!(read(), []);
        let (lora, ewc) = (crumb.plugin("lora 0.1.0"), crumb.plugin("ewc 0.1.0"));
        assert_eq!(crumb.plugin("lora 0.1.0"), lora);
        {
            let _outer = crumb.set(ewc, Hook::AfterStage, None);
            {
                let _inner = crumb.set(lora, Hook::Adapt, Some(3));
                let seen = read();
                assert_eq!(seen.len(), 1);
                assert_eq!(seen[0].to_string(), "plugin lora 0.1.0, adapt at site 3");
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        let _other = crumb.set(ewc, Hook::Records, Some(0));
                        assert_eq!(read().len(), 2);
                    });
                });
            }
            assert_eq!(read()[0].to_string(), "plugin ewc 0.1.0, after_stage");
        }
        assert_eq!(read(), []);
    }

    #[test]
    fn names_are_cut_and_too_many_plugins_keep_their_number() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("hook");
        let crumb = Breadcrumb::create(&path).expect("made");
        let long = "x".repeat(100);
        let first = crumb.plugin(&long);
        let mut last = first;
        for number in 0..NAMES {
            last = crumb.plugin(&number.to_string());
        }
        let plugin = |number| {
            let _trace = crumb.set(number, Hook::Score, None);
            Breadcrumb::read(&path).expect("readable")[0].plugin.clone()
        };
        assert_eq!(plugin(first), "x".repeat(64));
        assert_eq!(plugin(last), format!("number {NAMES}"));
    }

    #[test]
    fn hooks_are_numbered_in_order_and_another_file_says_nothing() {
        for (number, hook) in Hook::ALL.iter().enumerate() {
            assert_eq!(*hook as usize, number);
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("hook");
        std::fs::write(&path, vec![b'x'; WORDS * 8]).expect("written");
        assert_eq!(Breadcrumb::read(&path).expect("readable"), []);
    }
}
