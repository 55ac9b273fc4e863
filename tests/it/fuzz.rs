//! The parsers of everything that comes from outside, on the corpus in `tests/fuzz` and on mutations of it. A few seconds each time;
//! `COIN_FUZZ_SECONDS=300` takes that long for each target, `COIN_FUZZ_SEED` begins elsewhere.

#[path = "../fuzz/entries.rs"]
mod entries;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use entries::ENTRIES;
use proptest::prelude::*;

/// Texts that mean something to one parser or another.
const WORDS: &[&[u8]] = &[
    b"[[file]]\n",
    b"[plugin]\n",
    b"[[plugin]]\n",
    b"[[package]]\n",
    b"[[lab]]\n",
    b"[[lab.key]]\n",
    b"[[revoked]]\n",
    b"path = \"",
    b"../",
    b"/",
    b"\"",
    b"'''",
    b"= {",
    b"}",
    b"[[[[[[[[",
    b"]]",
    b"\0",
    b"-1",
    b"18446744073709551615",
    b"1e999",
    b"nan",
    b"2027-12-31",
    b"size = ",
    b"sha256 = ",
    b"ustar\0",
    b"\x28\xb5\x2f\xfd",
    b"\x50\x2a\x4d\x18",
    b"untrusted comment: ",
    b"trusted comment: ",
    b"\x7fELF",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"plugin.toml",
    b"\\u0000",
    b"\r\n",
    b"#",
];
/// Mutations stay below this size.
const LARGEST: usize = 1 << 16;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder(target))
        .unwrap_or_else(|error| panic!("no corpus for {target}: {error}"))
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("readable")).collect()
}

/// splitmix64: the same inputs from the same seed.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }
}

fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], draws: &mut Draws) {
    for _ in 0..=draws.below(4) {
        let at = draws.below(bytes.len() + 1);
        let length = draws.below(bytes.len() - at + 1).min(64);
        match draws.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << draws.below(8),
            1 if at < bytes.len() => bytes[at] = draws.next() as u8,
            2 => drop(bytes.drain(at..at + length)),
            3 => bytes.truncate(at),
            4 => {
                let block = bytes[at..at + length].to_vec();
                let to = draws.below(bytes.len() + 1);
                bytes.splice(to..to, block);
            }
            5 => {
                let word = WORDS[draws.below(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            6 if bytes.len() >= 8 => {
                let numbers = [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, u64::MAX, 1 << 40, bytes.len() as u64];
                let number = numbers[draws.below(numbers.len())].to_le_bytes();
                let size = 1 << draws.below(4);
                let at = at.min(bytes.len() - size);
                bytes[at..at + size].copy_from_slice(&number[..size]);
            }
            7 => {
                let other = &others[draws.below(others.len())];
                let from = draws.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ if !bytes.is_empty() => {
                let other = draws.below(bytes.len());
                let at = at.min(bytes.len() - 1);
                bytes.swap(at, other);
            }
            _ => {}
        }
    }
    bytes.truncate(LARGEST);
}

#[test]
fn the_corpus_is_taken_or_refused() {
    for (target, entry) in ENTRIES {
        let corpus = corpus(target);
        assert!(corpus.len() >= 3, "{target} has {} files", corpus.len());
        corpus.iter().for_each(|bytes| entry(bytes));
    }
}

#[test]
fn mutations_of_the_corpus_break_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (seconds, seed) = (number("COIN_FUZZ_SECONDS"), number("COIN_FUZZ_SEED").unwrap_or(0));
    let budget = seconds.map_or(Duration::from_millis(500), Duration::from_secs);
    for (target, entry) in ENTRIES {
        let corpus = corpus(target);
        let mut draws = Draws(seed);
        let (begun, mut count, mut slowest) = (Instant::now(), 0u64, Duration::ZERO);
        while begun.elapsed() < budget {
            let mut bytes = corpus[draws.below(corpus.len())].clone();
            mutate(&mut bytes, &corpus, &mut draws);
            let clock = Instant::now();
            if catch_unwind(|| entry(&bytes)).is_err() {
                let path = std::env::temp_dir().join(format!("coin-fuzz-{target}-{seed}-{count}"));
                fs::write(&path, &bytes).expect("written");
                panic!("{target}: seed {seed}, input {count}, kept in {}", path.display());
            }
            slowest = slowest.max(clock.elapsed());
            count += 1;
        }
        // A hang would show as one input that takes all the time.
        assert!(slowest < Duration::from_secs(10), "{target}: one input took {slowest:?}");
        if seconds.is_some() {
            eprintln!("{target}: {count} inputs in {:?}, the slowest took {slowest:?}", begun.elapsed());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_and_texts_break_nothing(bytes in prop::collection::vec(any::<u8>(), 0..2048), text in "\\PC{0,400}") {
        for (_, entry) in ENTRIES {
            entry(&bytes);
            entry(text.as_bytes());
        }
    }
}
