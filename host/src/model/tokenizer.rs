//! Text to token ids and back, by the `tokenizer.json` of a checkpoint.

use std::path::Path;

use anyhow::{Context, Result, anyhow};

/// The tokenizer of a backbone.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a folder.
    pub fn load(folder: &Path) -> Result<Tokenizer> {
        let path = folder.join("tokenizer.json");
        let bytes = std::fs::read(&path).with_context(|| {
            format!("{} cannot be read\nhint: a backbone is a folder with config.json, tokenizer.json and safetensors files", path.display())
        })?;
        Tokenizer::from_bytes(&bytes).with_context(|| path.display().to_string())
    }

    /// The same from its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Tokenizer> {
        let inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|error| anyhow!("not a tokenizer.json: {error}"))?;
        Ok(Tokenizer { inner })
    }

    /// Ids of a piece of text, without tokens that are not written in it.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let encoding =
            self.inner.encode(text, false).map_err(|error| anyhow!("cannot tokenise {text:?}: {error}"))?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// Text of ids; special tokens are left out.
    pub fn decode(&self, ids: &[i64]) -> Result<String> {
        let ids: Vec<u32> = ids
            .iter()
            .map(|&id| u32::try_from(id))
            .collect::<Result<_, _>>()
            .context("a negative token id")?;
        self.inner.decode(&ids, true).map_err(|error| anyhow!("cannot decode {ids:?}: {error}"))
    }

    /// Id of a token that must be in the vocabulary, such as `</s>`.
    pub fn id(&self, token: &str) -> Result<i64> {
        let id = self.inner.token_to_id(token).with_context(|| {
            format!("the tokenizer has no token `{token}`\nhint: the prompt template and the backbone must fit together")
        })?;
        Ok(i64::from(id))
    }

    /// Number of entries, added tokens included.
    pub fn size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}
