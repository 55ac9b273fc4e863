//! A LLaVA model: vision tower, projector and decoder behind one interface, with frozen weights.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tch::{Device, Kind, Tensor, no_grad};

use super::cache::KeyValueCache;
use super::checkpoint::Checkpoint;
use super::config::ModelConfig;
use super::decoder::Decoder;
use super::input::ModelInput;
use super::parameter::{Init, parameters};
use super::prefix::Shift;
use super::projector::Projector;
use super::site::{Frozen, LinearHook, Part, Pass, Phase, Site, sites};
use super::tokenizer::Tokenizer;
use super::vision::VisionTower;
use super::weights;
use crate::stream::random::Draws;

const TINY_CONFIG: &str = include_str!("../../assets/tiny/config.json");
const TINY_TOKENIZER: &[u8] = include_bytes!("../../assets/tiny/tokenizer.json");
const TINY_PREPROCESSOR: &str = include_str!("../../assets/tiny/preprocessor_config.json");
const TINY_WEIGHTS: &[u8] = include_bytes!("../../assets/tiny/model.safetensors");

/// The model. Its weights never change and ask for no gradient; what is trained enters through a [`LinearHook`].
pub struct Backbone {
    config: ModelConfig,
    parameters: BTreeMap<String, Tensor>,
    sites: Vec<Site>,
    /// How many of the sites are not in the vision tower; these come first.
    before_vision: usize,
    vision: VisionTower,
    projector: Projector,
    pub(super) decoder: Decoder,
}

impl Backbone {
    /// Reads `config.json` and the safetensors files of a folder.
    ///
    /// A tensor that is missing, not expected or of another shape is an error that lists all of them.
    pub fn load(folder: &Path, device: Device, kind: Kind) -> Result<Backbone> {
        Checkpoint::open(folder, None)?.backbone(device, kind)
    }

    /// The same, from the bytes of `config.json` and of one safetensors file.
    pub fn from_bytes(config: &str, weights: &[u8], device: Device, kind: Kind) -> Result<Backbone> {
        let config = ModelConfig::parse(config)?;
        let tensors = weights::load_bytes(weights, &config, device, kind)?;
        Backbone::from_tensors(config, tensors)
    }

    /// What takes the place of a checkpoint's files for the quickstart's.
    pub fn builtin_tiny_files() -> [&'static [u8]; 3] {
        [TINY_CONFIG.as_bytes(), TINY_TOKENIZER, TINY_WEIGHTS]
    }

    /// The quickstart's backbone, which is part of this binary, and its tokenizer.
    pub fn builtin_tiny(device: Device, kind: Kind) -> Result<(Backbone, Tokenizer)> {
        let backbone = Backbone::from_bytes(TINY_CONFIG, TINY_WEIGHTS, device, kind)
            .context("the built-in backbone `builtin:tiny`")?;
        Ok((backbone, Tokenizer::from_bytes(TINY_TOKENIZER)?))
    }

    /// The quickstart's backbone as a checkpoint in a folder.
    pub fn write_builtin_tiny(folder: &Path) -> Result<()> {
        let mut config: serde_json::Value = serde_json::from_str(TINY_CONFIG)?;
        config["conversation_template"] = "tiny".into();
        for (name, bytes) in [
            ("config.json", (serde_json::to_string_pretty(&config)? + "\n").as_bytes()),
            ("preprocessor_config.json", TINY_PREPROCESSOR.as_bytes()),
            ("tokenizer.json", TINY_TOKENIZER),
            ("model.safetensors", TINY_WEIGHTS),
        ] {
            let path = folder.join(name);
            std::fs::write(&path, bytes).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(())
    }

    /// Untrained float32 weights on the CPU, drawn from the stream `model-init` of `root`.
    pub fn random(config: ModelConfig, root: u64) -> Result<Backbone> {
        config.check()?;
        let mut tensors = BTreeMap::new();
        for (index, parameter) in parameters(&config).into_iter().enumerate() {
            let options = (Kind::Float, Device::Cpu);
            let shape = &parameter.shape[..];
            let tensor = match parameter.init {
                Init::Zeros => Tensor::f_zeros(shape, options)?,
                Init::Ones => Tensor::f_ones(shape, options)?,
                Init::Normal(deviation) => {
                    let mut draws = Draws::new(root, "model-init", &[index as u64]);
                    let count = shape.iter().product::<i64>();
                    let values: Vec<f32> = (0..count).map(|_| (deviation * draws.normal()) as f32).collect();
                    Tensor::f_from_slice(&values)?.f_view(shape)?
                }
            };
            tensors.insert(parameter.name, tensor);
        }
        Backbone::from_tensors(config, tensors)
    }

    /// The same weights on a device.
    pub fn on(self, device: Device) -> Result<Backbone> {
        if self.device() == device {
            return Ok(self);
        }
        let moved =
            self.parameters().iter().map(|(name, tensor)| Ok((name.clone(), tensor.f_to_device(device)?)));
        let tensors = moved.collect::<Result<_>>()?;
        Backbone::from_tensors(self.config, tensors)
    }

    /// A model over tensors that have the names and shapes that `config` asks for.
    pub fn from_tensors(config: ModelConfig, tensors: BTreeMap<String, Tensor>) -> Result<Backbone> {
        weights::check(&config, &tensors)?;
        let sites = sites(&config);
        let weights = Weights { tensors: &tensors, sites: &sites };
        let vision = VisionTower::new(&config, &weights)?;
        let projector = Projector::new(&config, &weights)?;
        let decoder = Decoder::new(&config.text_config, &weights)?;
        let before_vision = sites.iter().filter(|site| site.part != Part::Vision).count();
        Ok(Backbone { config, parameters: tensors, sites, before_vision, vision, projector, decoder })
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// All weights by name in the checkpoint.
    pub fn parameters(&self) -> &BTreeMap<String, Tensor> {
        &self.parameters
    }

    /// The linears of language model and projector.
    pub fn sites(&self) -> &[Site] {
        &self.sites[..self.before_vision]
    }

    /// The same, followed by those of the vision tower.
    pub fn all_sites(&self) -> &[Site] {
        &self.sites
    }

    /// The frozen weight `[out, in]` and bias `[out]` of a site.
    pub fn site_parameters(&self, site: &Site) -> Result<(&Tensor, Option<&Tensor>)> {
        let weight = self.parameters.get(&format!("{}.weight", site.path));
        let weight = weight.with_context(|| format!("this backbone has no site `{}`", site.path))?;
        Ok((weight, self.parameters.get(&format!("{}.bias", site.path))))
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.decoder.device()
    }

    /// The weights' element type.
    pub fn kind(&self) -> Kind {
        self.decoder.kind()
    }

    /// Pixels `[B, 3, H, W]` to visual tokens `[B, N, d_v]`, by the frozen tower, without gradient: what a feature
    /// cache keeps, and what [`ModelInput`] takes. The projector comes later, in [`Backbone::hidden`].
    pub fn image_features(&self, pixels: &Tensor) -> Result<Tensor> {
        no_grad(|| self.image_features_with(pixels, &Frozen))
    }

    /// The same through a hook that stands for the linears of the vision tower, with gradient.
    pub fn image_features_with(&self, pixels: &Tensor, hook: &dyn LinearHook) -> Result<Tensor> {
        let pixels = pixels.f_to_device(self.device())?.f_to_kind(self.kind())?;
        self.vision.forward(&pixels, hook)
    }

    /// Visual tokens `[n, N, d_v]` through the projector, `[n, N, d]`.
    pub fn project(&self, features: &Tensor, hook: &dyn LinearHook) -> Result<Tensor> {
        self.projector.forward(&features.f_to_kind(self.kind())?, hook)
    }

    /// The batch with the soft tokens of the hook in place, where it has some, filled up with `pad`.
    pub fn with_prefix(
        &self,
        input: &ModelInput,
        phase: Phase,
        hook: &dyn LinearHook,
        pad: i64,
    ) -> Result<Option<(ModelInput, Shift)>> {
        hook.begin(&Pass { phase, input })?;
        let Some(prefix) = hook.prefix()? else { return Ok(None) };
        let width = self.config.text_config.hidden_size;
        Ok(Some(input.with_prefix(&prefix, width, self.config.image_token_index, pad)?))
    }

    /// Hidden states after the final norm, `[B, T, d]`.
    pub fn hidden(
        &self,
        input: &ModelInput,
        hook: &dyn LinearHook,
        cache: Option<&mut KeyValueCache>,
    ) -> Result<Tensor> {
        let embedded = self.embed(input, hook, cache.as_deref())?;
        self.decoder.forward(embedded, input, hook, cache, None)
    }

    /// Hidden states after the final norm at some tokens, `[K, d]`; a token is given as `row * T + column`.
    ///
    /// Equal to `hidden` and `index_select`; with a token-local hook the last layer computes no other token.
    pub fn hidden_at(
        &self,
        input: &ModelInput,
        tokens: &[i64],
        hook: &dyn LinearHook,
        cache: Option<&mut KeyValueCache>,
    ) -> Result<Tensor> {
        let embedded = self.embed(input, hook, cache.as_deref())?;
        self.decoder.forward(embedded, input, hook, cache, Some(tokens))
    }

    /// Scores of the vocabulary for hidden states `[K, d]`: `[K, V]`.
    pub fn logits(&self, hidden_rows: &Tensor) -> Result<Tensor> {
        self.decoder.logits(hidden_rows)
    }

    /// An empty cache with room for `capacity` tokens in each row.
    pub fn cache(&self, capacity: usize) -> KeyValueCache {
        KeyValueCache::new(self.config.text_config.num_hidden_layers as usize, capacity)
    }

    /// The ids, with another in the place of an image token that the embedding has no row for: visual tokens go there.
    pub(crate) fn with_rows(&self, input_ids: &Tensor) -> Result<Tensor> {
        let rows = self.config.text_config.vocab_size;
        if self.config.image_token_index < rows {
            return Ok(input_ids.shallow_clone());
        }
        Ok(input_ids.f_masked_fill(&input_ids.f_eq(self.config.image_token_index)?, 0)?)
    }

    pub(super) fn embed(
        &self,
        input: &ModelInput,
        hook: &dyn LinearHook,
        cache: Option<&KeyValueCache>,
    ) -> Result<Tensor> {
        let phase = match cache {
            None => Phase::Train,
            Some(cache) if cache.is_answering() => Phase::Decode,
            Some(_) => Phase::Prefill,
        };
        let columns = input.input_ids.size2()?.1 + cache.map_or(0, |cache| cache.length() as i64);
        let limit = self.config.text_config.max_position_embeddings;
        // While answers are written, the columns are those of the longest row that there was: who writes them ends each in time.
        ensure!(
            columns <= limit || phase == Phase::Decode,
            "a sequence of {columns} tokens does not fit a model of {limit} positions\nhint: shorten the text, or leave the record out"
        );
        hook.begin(&Pass { phase, input })?;
        let embedded = self.decoder.embed(&self.with_rows(&input.input_ids)?)?;
        let (rows, columns, width) = embedded.size3()?;
        let mut tokens = embedded.f_view([rows * columns, width])?;
        if let Some(images) = &input.images {
            let projected = self.project(&images.features, hook)?;
            tokens = tokens.f_index_copy(0, &images.positions, &projected.f_view([-1, width])?)?;
        }
        if let Some(soft) = &input.soft {
            tokens = soft.put_into(&tokens, self.kind())?;
        }
        Ok(tokens.f_view([rows, columns, width])?)
    }
}

/// The tensors of a checkpoint, handed to the parts by name.
pub(super) struct Weights<'a> {
    tensors: &'a BTreeMap<String, Tensor>,
    sites: &'a [Site],
}

impl Weights<'_> {
    pub(super) fn tensor(&self, name: &str) -> Result<Tensor> {
        Ok(self.tensors.get(name).with_context(|| format!("tensor `{name}` is missing"))?.shallow_clone())
    }

    pub(super) fn find(&self, name: &str) -> Option<Tensor> {
        self.tensors.get(name).map(Tensor::shallow_clone)
    }

    pub(super) fn linear(&self, path: &str) -> Result<Linear> {
        let site = self.sites.iter().find(|site| site.path == path);
        Ok(Linear {
            site: site.with_context(|| format!("`{path}` is not a linear of this model"))?.clone(),
            weight: self.tensor(&format!("{path}.weight"))?,
            bias: self.find(&format!("{path}.bias")),
        })
    }
}

/// A linear that a hook stands for.
pub(super) struct Linear {
    site: Site,
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn forward(&self, input: &Tensor, hook: &dyn LinearHook) -> Result<Tensor> {
        hook.linear(&self.site, &self.weight, self.bias.as_ref(), input)
            .with_context(|| format!("at site `{}`", self.site.path))
    }
}
