//! A checkpoint on disk: which files are its parts, in the layout of Hugging Face or in LLaVA's own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tch::{Device, Kind};

use super::backbone::Backbone;
use super::config::ModelConfig;
use super::layout::canonical;
use super::original::{Original, is_original};
use super::tokenizer::Tokenizer;
use super::weights;

/// The file that LLaVA's pre-training writes, without its ending.
const PROJECTOR: &str = "mm_projector";

/// A checkpoint whose configuration was read.
pub struct Checkpoint {
    folder: PathBuf,
    config: ModelConfig,
    /// In LLaVA's own layout.
    separate: Option<Separate>,
}

/// What LLaVA's own layout has apart.
struct Separate {
    /// Folder of the vision tower.
    tower: PathBuf,
    pads: bool,
}

impl Checkpoint {
    /// Reads `config.json` of a folder; `vision_tower` is the folder of the tower where the checkpoint has none of its own.
    ///
    /// # Errors
    /// Another architecture; a tower that is not there; a tower for a checkpoint that has one.
    pub fn open(folder: &Path, vision_tower: Option<&Path>) -> Result<Checkpoint> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).ok();
        let value = text.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        ensure!(
            value.as_ref().and_then(|value| value.get("model_type")?.as_str()) != Some("llama"),
            "{} is that of a language model alone, without vision tower and projector\nhint: docs/models.md says how LLaVA before its instruction tuning is put together: config.json and {PROJECTOR}.bin of LLaVA's pre-training go into this folder",
            path.display()
        );
        if let Some(value) = value.filter(is_original) {
            let original = Original::parse(&value).with_context(|| path.display().to_string())?;
            let tower = original.tower(folder, vision_tower)?;
            let config = original.model(&value, &tower).with_context(|| path.display().to_string())?;
            let separate = Some(Separate { tower, pads: original.pads() });
            return Ok(Checkpoint { folder: folder.to_owned(), config, separate });
        }
        let config = ModelConfig::read(&path)?;
        ensure!(
            vision_tower.is_none(),
            "{} has its vision tower in it, and another one is named\nhint: `--vision-tower` and `backbone.vision_tower` are for LLaVA's own layout (`mm_vision_tower` in config.json)",
            folder.display()
        );
        Ok(Checkpoint { folder: folder.to_owned(), config, separate: None })
    }

    /// The configuration. In LLaVA's own layout the image token is the tokenizer's to say, and not known yet.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The folder that says how pictures are prepared, and whether they are bordered to a square, where the checkpoint says that.
    pub fn preparation(&self) -> (&Path, bool) {
        match &self.separate {
            None => (&self.folder, false),
            Some(Separate { tower, pads }) => (tower, *pads),
        }
    }

    /// The files of weights; those of a separate tower are not among them.
    ///
    /// In LLaVA's own layout the projector may have a file to itself, as its pre-training writes it. Checkpoints that were tuned later keep
    /// that file too: it counts only where the others have no projector.
    pub(super) fn weights(&self) -> Result<Vec<PathBuf>> {
        let mut files = weights::files(&self.folder)?;
        let own = ["safetensors", "bin"].map(|end| self.folder.join(format!("{PROJECTOR}.{end}")));
        let Some(own) = own.into_iter().find(|path| path.is_file()) else { return Ok(files) };
        if self.separate.is_none() || files.contains(&own) {
            return Ok(files);
        }
        for path in &files {
            let has = |(name, _): &(String, _)| canonical(name).starts_with("multi_modal_projector.");
            if weights::shapes(path)?.iter().any(has) {
                return Ok(files);
            }
        }
        files.push(own);
        Ok(files)
    }

    fn tower_weights(&self) -> Result<Vec<PathBuf>> {
        self.separate.as_ref().map_or(Ok(Vec::new()), |separate| weights::files(&separate.tower))
    }

    /// Whether the vision tower is in the same files as the rest.
    pub(super) fn has_own_tower(&self) -> bool {
        self.separate.is_none()
    }

    /// The files that a backbone, its tokenizer and the preparation of its pictures are read from.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = vec![self.folder.join("config.json"), self.folder.join("tokenizer.json")];
        let (folder, _) = self.preparation();
        let preparation = ["preprocessor_config.json", "processor_config.json"].map(|name| folder.join(name));
        files.extend(preparation.into_iter().find(|path| path.is_file()));
        files.extend(self.weights()?);
        if let Some(Separate { tower, .. }) = &self.separate {
            files.push(tower.join("config.json"));
            files.extend(self.tower_weights()?);
        }
        Ok(files)
    }

    /// The model and the tokenizer.
    ///
    /// # Errors
    /// As [`Backbone::load`]; a tokenizer that is not the model's.
    pub fn load(mut self, device: Device, kind: Kind) -> Result<(Backbone, Tokenizer)> {
        let mut tokenizer = Tokenizer::load(&self.folder)?;
        if self.separate.is_some() {
            self.config.image_token_index = tokenizer.with_image_token()?;
        }
        // Before the weights, which take their time.
        let place = || self.folder.join("tokenizer.json").display().to_string();
        tokenizer.check(&self.config).with_context(place)?;
        Ok((self.backbone(device, kind)?, tokenizer))
    }

    /// The model alone.
    pub(super) fn backbone(self, device: Device, kind: Kind) -> Result<Backbone> {
        let (files, tower) = (self.weights()?, self.tower_weights()?);
        let tensors = weights::load_files(&files, &tower, &self.config, device, kind)?;
        Backbone::from_tensors(self.config, tensors)
    }
}
