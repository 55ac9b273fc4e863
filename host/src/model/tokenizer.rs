//! Text to token ids and back, by the `tokenizer.json` of a checkpoint.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};

use super::config::ModelConfig;

/// Stands in a text for the picture, in every LLaVA checkpoint.
const IMAGE_TOKEN: &str = "<image>";

/// The tokenizer of a backbone.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a folder.
    pub fn load(folder: &Path) -> Result<Tokenizer> {
        let path = folder.join("tokenizer.json");
        let bytes = std::fs::read(&path).with_context(|| {
            let hint = match folder.join("tokenizer.model").is_file() {
                true => "tokenizer.model beside it is sentencepiece's, which is not read; transformers converts it: `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)`, or take tokenizer.json of the language model that the checkpoint was made from",
                false => "a backbone is a folder with config.json, tokenizer.json and safetensors files",
            };
            format!("{} cannot be read\nhint: {hint}", path.display())
        })?;
        Tokenizer::from_bytes(&bytes).with_context(|| path.display().to_string())
    }

    /// The same from its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Tokenizer> {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|error| anyhow!("not a tokenizer.json: {error}"))?;
        // A file may carry the settings of whoever saved it; the length of a prompt is not the tokenizer's to decide.
        inner.with_padding(None).with_truncation(None).map_err(|error| anyhow!("{error}"))?;
        Ok(Tokenizer { inner })
    }

    /// The id of the image token, which is added where the tokenizer has none.
    pub(super) fn with_image_token(&mut self) -> Result<i64> {
        let token = tokenizers::AddedToken::from(IMAGE_TOKEN, true).normalized(false);
        self.inner.add_special_tokens(&[token]);
        self.id(IMAGE_TOKEN)
    }

    /// Whether the tokenizer belongs to a model: every id has an embedding, and the image token is one of its added tokens.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        let rows = config.text_config.vocab_size;
        let ids = self.inner.get_vocab(true).into_values().map(i64::from);
        let last = ids.filter(|&id| id != config.image_token_index).max().unwrap_or(-1);
        ensure!(
            last < rows,
            "the tokenizer has ids up to {last}, and the model's embedding has {rows} rows\nhint: tokenizer.json and the weights must come from the same checkpoint"
        );
        let (image, added) = (config.image_token_index, self.inner.get_added_tokens_decoder());
        let found = u32::try_from(image).ok().and_then(|id| added.get(&id));
        ensure!(
            found.is_some_and(|token| token.content == IMAGE_TOKEN),
            "the tokenizer has no image token: `{IMAGE_TOKEN}` must be its added token {image}, as config.json says, and there is {}\nhint: tokenizer.json must be the one of this LLaVA checkpoint, not that of its language model",
            self.token(image).map_or("none".to_owned(), |token| format!("`{token}`"))
        );
        Ok(())
    }

    /// The token with this id.
    pub fn token(&self, id: i64) -> Option<String> {
        self.inner.id_to_token(u32::try_from(id).ok()?)
    }

    /// Ids that the tokenizer puts before a text of its own accord, such as that of `<s>`.
    pub fn leading(&self) -> Result<Vec<i64>> {
        let encoding =
            self.inner.encode("a", true).map_err(|error| anyhow!("the tokenizer does not work: {error}"))?;
        let marked = encoding.get_ids().iter().zip(encoding.get_special_tokens_mask());
        Ok(marked.take_while(|(_, special)| **special == 1).map(|(&id, _)| i64::from(id)).collect())
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
