//! Files made by hand, sound and otherwise.

use proptest::prelude::*;

use super::*;

/// A file under construction.
#[derive(Default)]
pub(crate) struct Builder {
    metadata: Vec<u8>,
    pairs: u64,
    table: Vec<u8>,
    tensors: u64,
    data: Vec<u8>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl Builder {
    fn pair(mut self, key: &str, kind: u32, value: &[u8]) -> Builder {
        self.metadata.extend([&text(key)[..], &kind.to_le_bytes(), value].concat());
        self.pairs += 1;
        self
    }

    pub(crate) fn integer(self, key: &str, value: u32) -> Builder {
        self.pair(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn float(self, key: &str, value: f32) -> Builder {
        self.pair(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Builder {
        self.pair(key, 8, &text(value))
    }

    pub(crate) fn texts(self, key: &str, values: &[&str]) -> Builder {
        let mut list = [&8u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        values.iter().for_each(|value| list.extend(text(value)));
        self.pair(key, 9, &list)
    }

    pub(crate) fn integers(self, key: &str, values: &[i32]) -> Builder {
        let mut list = [&5u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        values.iter().for_each(|value| list.extend(value.to_le_bytes()));
        self.pair(key, 9, &list)
    }

    /// `shape` rows first.
    pub(crate) fn tensor(mut self, name: &str, shape: &[u64], element: u32, bytes: &[u8]) -> Builder {
        self.table.extend(text(name));
        self.table.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|size| self.table.extend(size.to_le_bytes()));
        self.table.extend(element.to_le_bytes());
        self.table.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(bytes);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.tensors += 1;
        self
    }

    pub(crate) fn floats(self, name: &str, shape: &[u64], values: impl Iterator<Item = f32>) -> Builder {
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        self.tensor(name, shape, 0, &bytes)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(self.tensors.to_le_bytes());
        bytes.extend(self.pairs.to_le_bytes());
        bytes.extend(&self.metadata);
        bytes.extend(&self.table);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }
}

fn small() -> Vec<u8> {
    Builder::default()
        .text("general.architecture", "llama")
        .integer("llama.block_count", 2)
        .float("llama.rope.freq_base", 100.0)
        .texts("tokenizer.ggml.tokens", &["a", "b"])
        .integers("tokenizer.ggml.token_type", &[1, 3])
        .floats("norm", &[3], [1.0, -2.0, 0.5].into_iter())
        .tensor("quantised", &[2, 32], 8, &[0; 68])
        .bytes()
}

#[test]
fn a_small_file_is_read() {
    let bytes = small();
    let file = Gguf::parse(&bytes).unwrap();
    assert_eq!(file.text("general.architecture").unwrap(), "llama");
    assert_eq!(file.integer("llama.block_count").unwrap(), 2);
    assert_eq!(file.float("llama.rope.freq_base").unwrap(), 100.0);
    assert_eq!(file.texts("tokenizer.ggml.tokens").unwrap(), ["a", "b"]);
    assert_eq!(file.integers("tokenizer.ggml.token_type").unwrap(), [1, 3]);
    assert_eq!(file.values("norm").unwrap(), [1.0, -2.0, 0.5]);
    assert_eq!(file.tensors()["quantised"].shape, [2, 32]);
    assert_eq!(file.values("quantised").unwrap(), [0.0; 64]);
    let message = file.integer("general.architecture").unwrap_err().to_string();
    assert!(message.contains("a text") && message.contains("whole number"), "{message}");
    assert!(file.values("no").unwrap_err().to_string().contains("`no`"));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = small();
    let data = 68usize.next_multiple_of(32) - 68;
    for length in 0..bytes.len() - data {
        let message = format!("{:#}", Gguf::parse(&bytes[..length]).unwrap_err());
        assert!(message.contains("hint:"), "{length}: {message}");
    }
}

#[test]
fn what_is_absurd_is_named_and_takes_no_memory() {
    let announce = |tensors: u64, pairs: u64| {
        [MAGIC, &3u32.to_le_bytes(), &tensors.to_le_bytes(), &pairs.to_le_bytes(), &[0; 64]].concat()
    };
    let huge = |size: u64| Builder::default().tensor("t", &[size, size], 0, &[]).bytes();
    let text = |key: &str, kind, value: &[u8]| Builder::default().pair(key, kind, value).bytes();
    let nested = [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat().repeat(9);
    for (bytes, said) in [
        (b"GGML".to_vec(), "does not begin with `GGUF`"),
        ([MAGIC, &9u32.to_le_bytes(), &[0; 16]].concat(), "version 9"),
        (announce(u64::MAX, 0), "entries are announced"),
        (announce(0, u64::MAX / 13), "entries are announced"),
        (huge(u64::MAX), "too large"),
        (huge(1 << 20), "ends behind the end"),
        (text("k", 8, &u64::MAX.to_le_bytes()), "entries are announced"),
        (text("k", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xFF]), "UTF-8"),
        (text("k", 99, &[0; 8]), "unknown type 99"),
        (text("k", 7, &[2]), "neither true nor false"),
        (text("k", 9, &nested), "lists within lists"),
        (text("general.alignment", 4, &0u32.to_le_bytes()), "general.alignment"),
        (Builder::default().tensor("t", &[32], 7, &[]).bytes(), "element type 7"),
        (Builder::default().tensor("t", &[31], 3, &[0; 20]).bytes(), "whole blocks"),
        (Builder::default().tensor("t", &[1; 5], 0, &[0; 4]).bytes(), "5 dimensions"),
        (
            Builder::default().tensor("t", &[1], 0, &[0; 4]).tensor("t", &[1], 0, &[0; 4]).bytes(),
            "stands twice",
        ),
    ] {
        let message = format!("{:#}", Gguf::parse(&bytes).unwrap_err());
        assert!(message.contains(said), "{said}: {message}");
    }
}

proptest! {
    #[test]
    fn no_change_of_bytes_stops_the_program(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = small();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Ok(file) = Gguf::parse(&bytes) {
            for name in file.tensors().keys() {
                let _ = file.values(name);
            }
        }
    }
}
