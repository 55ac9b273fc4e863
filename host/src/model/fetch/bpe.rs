//! A byte-level tokenizer in GGUF metadata, as a `tokenizer.json`.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::model::gguf::Gguf;

/// ggml's type of a token that no text contains.
const CONTROL: i64 = 3;

/// `tokenizer.json` of a model with GPT-2's byte-level tokens whose digits stand alone (llama.cpp's `smollm`), with one further token
/// behind its last; and the number of tokens then.
pub(super) fn tokenizer(file: &Gguf, further: &str) -> Result<(Value, i64)> {
    let (model, splitting) = (file.text("tokenizer.ggml.model")?, file.text("tokenizer.ggml.pre")?);
    ensure!(
        (model, splitting) == ("gpt2", "smollm"),
        "the tokenizer is `{model}` with `{splitting}`, and only `gpt2` with `smollm` can be converted\nhint: take the tokenizer.json that the model was published with"
    );
    let tokens = file.texts("tokenizer.ggml.tokens")?;
    let types = file.integers("tokenizer.ggml.token_type")?;
    ensure!(tokens.len() == types.len(), "{} tokens have {} types", tokens.len(), types.len());
    let mut vocabulary = Map::new();
    let mut added = Vec::new();
    for (id, (token, kind)) in tokens.iter().zip(&types).enumerate() {
        ensure!(vocabulary.insert((*token).to_owned(), id.into()).is_none(), "token `{token}` stands twice");
        if *kind == CONTROL {
            added.push(special(id, token));
        }
    }
    ensure!(!vocabulary.contains_key(further), "the model has a token `{further}` of its own");
    added.push(special(tokens.len(), further));
    let mut merges = Vec::new();
    for merge in file.texts("tokenizer.ggml.merges")? {
        let (left, right) = merge.split_once(' ').with_context(|| format!("merge `{merge}` is no pair"))?;
        merges.push(json!([left, right]));
    }
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": true}, byte_level],
        },
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocabulary,
            "merges": merges,
        },
    });
    Ok((tokenizer, tokens.len() as i64 + 1))
}

fn special(id: usize, token: &str) -> Value {
    json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": true})
}
