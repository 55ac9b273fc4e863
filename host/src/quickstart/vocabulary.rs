//! The tiny backbone's vocabulary: one token a word, read off the tasks and the captions themselves.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::captions;
use super::catalogue::assets;
use super::tasks::{self, Split, TASKS};

/// The special tokens, in the order of their ids from 0.
pub const SPECIAL: [&str; 7] = ["<pad>", "<unk>", "<s>", "</s>", "<image>", "<user>", "<assistant>"];

/// What one word is: a decimal number, digits, letters with apostrophes, or any other single character.
const WORD: &str = r"\d+\.\d+|\d+|[A-Za-z']+|[^\sA-Za-z\d']";

/// Captions read for their words; far more than it takes to see every template and every name.
const CAPTIONS: u64 = 50_000;

fn split(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let run = |test: &dyn Fn(char) -> bool| rest.find(|c| !test(c)).unwrap_or(rest.len());
        let end = if first.is_ascii_digit() {
            let whole = run(&|c| c.is_ascii_digit());
            match rest[whole..].strip_prefix('.') {
                Some(after) if after.starts_with(|c: char| c.is_ascii_digit()) => {
                    whole + 1 + after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())
                }
                _ => whole,
            }
        } else if first.is_ascii_alphabetic() || first == '\'' {
            run(&|c| c.is_ascii_alphabetic() || c == '\'')
        } else {
            first.len_utf8()
        };
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word.to_string())
    })
}

/// The words of all tasks and captions, sorted, after the special tokens.
pub fn words() -> Vec<String> {
    let mut found = BTreeSet::new();
    for task in 0..TASKS.len() {
        for split_name in [Split::Train, Split::Test] {
            for question in tasks::pictures(task, split_name).iter().flat_map(|p| &p.questions) {
                found.extend(split(&question.stored_text()));
                found.extend(split(&question.answer));
            }
        }
    }
    for index in 0..CAPTIONS {
        let plan = captions::plan(index);
        found.extend(split(&plan.prompt));
        found.extend(split(&plan.answer));
        found.extend(plan.regions.into_iter().map(|region| region.word));
    }
    found.extend(captions::answer_words(assets()));
    SPECIAL.iter().map(|s| s.to_string()).chain(found).collect()
}

/// `tokenizer.json` in the format of the `tokenizers` library.
pub fn tokenizer_json() -> anyhow::Result<String> {
    let vocabulary: serde_json::Map<String, Value> =
        words().into_iter().enumerate().map(|(id, word)| (word, json!(id))).collect();
    let special = |(id, content): (usize, &&str)| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let replace =
        |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": SPECIAL.iter().enumerate().map(special).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"},
            {"type": "Split", "pattern": {"Regex": WORD}, "behavior": "Isolated", "invert": false},
        ]},
        "post_processor": null,
        // Words joined by blanks, none of them inside brackets: "[0.10,0.20,0.50,0.60]".
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "WordPiece", "prefix": "##", "cleanup": false},
            {"type": "Fuse"},
            replace(json!({"Regex": r"\s*,\s*(?=\d)"}), ","),
            replace(json!({"String": "[ "}), "["),
            replace(json!({"String": " ]"}), "]"),
        ]},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    });
    Ok(serde_json::to_string_pretty(&tokenizer)? + "\n")
}
