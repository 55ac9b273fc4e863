//! Logits of a checkpoint for conversations in CoIN's layout, at all positions, with the answers in place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tch::{Device, Kind, Tensor, no_grad};
use tempfile::TempDir;

use crate::data::bad_input::BadInput;
use crate::data::conversation::Conversation;
use crate::data::image::{Aspect, Transform};
use crate::data::prompt::{Example, Prompter, Template};
use crate::data::task::Pictures;
use crate::model::input::Row;
use crate::model::{
    self, Backbone, Checkpoint, Frozen, ModelInput, Padding, Tokenizer, ensure_finite, weights,
};

/// A checkpoint and conversations for it, as a user names them.
pub struct Inputs<'a> {
    /// Folder of the checkpoint.
    pub model: &'a Path,
    /// Folder of the vision tower, for LLaVA's own layout.
    pub vision_tower: Option<&'a Path>,
    /// File in CoIN's training layout.
    pub data: &'a Path,
    /// What its picture paths start from.
    pub images: &'a Path,
    /// In place of what the checkpoint says.
    pub aspect: Option<Aspect>,
    pub kind: Kind,
    pub device: Device,
}

/// The same, read.
pub struct Loaded {
    pub folder: PathBuf,
    pub backbone: Backbone,
    pub tokenizer: Tokenizer,
    pub conversations: Vec<Conversation>,
    pub pictures: Pictures,
}

impl Inputs<'_> {
    /// Reads them. Pictures are read when they are needed.
    pub fn load(&self) -> Result<Loaded> {
        let conversations = Conversation::read(self.data)?;
        ensure!(
            self.images.is_dir() || conversations.iter().all(|conversation| conversation.image.is_none()),
            "{} is not a folder\nhint: --images names what the records' picture paths start from",
            self.images.display()
        );
        let builtin = model::builtin(self.model)?;
        let model = builtin.as_ref().map_or(self.model, TempDir::path);
        let checkpoint = Checkpoint::open(model, self.vision_tower)?;
        let side = checkpoint.config().vision_config.image_size as u32;
        let (folder, pads) = checkpoint.preparation();
        let transform = Transform::of_checkpoint(folder, side, self.aspect.or(pads.then_some(Aspect::Pad)))?;
        let (backbone, tokenizer) = checkpoint.load(self.device, self.kind)?;
        let pictures = Pictures { root: self.images.to_path_buf(), transform, blank: false };
        Ok(Loaded { folder: self.model.to_path_buf(), backbone, tokenizer, conversations, pictures })
    }
}

impl Loaded {
    /// With the checkpoint's own template.
    pub fn prompter(&self) -> Result<Prompter<'_>> {
        let model = self.backbone.config();
        let template = Template::named(model.template())?;
        Prompter::new(template, &self.tokenizer, model.image_token_index, model.image_tokens() as usize)
    }

    /// Every record's sequence.
    ///
    /// # Errors
    /// One that is longer than the model's context.
    pub fn examples(&self, prompter: &Prompter) -> Result<Vec<Example>> {
        let limit = self.backbone.config().text_config.max_position_embeddings as usize;
        self.conversations
            .iter()
            .map(|conversation| {
                let example = conversation.example(prompter)?;
                ensure!(
                    example.input_ids.len() <= limit,
                    "record `{}` has {} tokens, and the model has {limit} positions\nhint: shorten it, or leave it out",
                    conversation.id,
                    example.input_ids.len()
                );
                Ok(example)
            })
            .collect()
    }

    /// The visual tokens of a record's picture, `[N, d_v]`.
    pub fn features(&self, conversation: &Conversation) -> Result<Option<Tensor>> {
        let Some(image) = &conversation.image else { return Ok(None) };
        let pixels = self.pictures.pixels(image).with_context(|| format!("record `{}`", conversation.id))?;
        let side = i64::from(self.pictures.transform.size);
        let pixels = Tensor::f_from_slice(&pixels)?.f_view([1, 3, side, side])?;
        Ok(Some(self.backbone.image_features(&pixels)?.f_get(0)?))
    }
}

/// Writes `<id>.input_ids` `[T]`, int64, and `<id>.logits` `[T, V]`, float32, of every record to a safetensors file; returns how many
/// records there are.
pub fn write(loaded: &Loaded, batch_size: usize, out: &Path) -> Result<usize> {
    let prompter = loaded.prompter().map_err(BadInput::from)?;
    let examples = loaded.examples(&prompter).map_err(BadInput::from)?;
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    let records: Vec<_> = loaded.conversations.iter().zip(&examples).collect();
    for batch in records.chunks(batch_size.max(1)) {
        let features: Vec<Option<Tensor>> = batch
            .iter()
            .map(|(conversation, _)| Ok(loaded.features(conversation).map_err(BadInput::from)?))
            .collect::<Result<_>>()?;
        let rows: Vec<Row> = batch
            .iter()
            .zip(&features)
            .map(|((_, example), features)| Row {
                input_ids: &example.input_ids,
                image_features: features.as_ref(),
            })
            .collect();
        let backbone = &loaded.backbone;
        let image_token = backbone.config().image_token_index;
        let input =
            ModelInput::batch(&rows, Padding::Right, image_token, prompter.end_token(), backbone.device())?;
        let hidden = no_grad(|| backbone.hidden(&input, &Frozen, None))?;
        for (row, (conversation, example)) in batch.iter().enumerate() {
            let tokens = hidden.f_get(row as i64)?.f_narrow(0, 0, example.input_ids.len() as i64)?;
            let logits = no_grad(|| backbone.logits(&tokens))?.f_to_kind(Kind::Float)?;
            ensure_finite(&logits).with_context(|| format!("record `{}`", conversation.id))?;
            let ids = Tensor::f_from_slice(&example.input_ids)?;
            tensors.insert(format!("{}.input_ids", conversation.id), ids);
            tensors.insert(format!("{}.logits", conversation.id), logits.f_to_device(Device::Cpu)?);
        }
    }
    weights::save(out, &tensors, None)?;
    Ok(records.len())
}
