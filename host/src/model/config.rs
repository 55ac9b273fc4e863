//! `config.json` of a LLaVA checkpoint, in the layout of Hugging Face transformers (`LlavaConfig`, `LlamaConfig`,
//! `CLIPVisionConfig`), with their default values for keys that a checkpoint leaves out.
//!
//! Extensions, for small models: the tower `efficientnet_lite0`, the keys `vision_config.stem_channels`, `vision_config.feature_norm`,
//! `projector_scale_factor` and `conversation_template`.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use super::efficientnet;

mod bounds;
mod rotary;

/// The whole model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    #[serde(default)]
    pub architectures: Vec<String>,
    pub model_type: String,
    pub text_config: TextConfig,
    pub vision_config: VisionConfig,
    /// The token whose places the projected visual tokens take; some versions of transformers write `image_token_id`.
    #[serde(default = "default_image_token_index")]
    pub image_token_index: i64,
    /// Which hidden state of the tower is used: 0 is the embedding, -1 the last block's output.
    #[serde(default = "default_vision_feature_layer")]
    pub vision_feature_layer: i64,
    #[serde(default)]
    pub vision_feature_select_strategy: SelectStrategy,
    #[serde(default = "default_projector_hidden_act")]
    pub projector_hidden_act: Activation,
    /// Whether the projector's linears have biases.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub multimodal_projector_bias: bool,
    /// Written by transformers 5 beside the language model's own; either ties the head to the embedding.
    #[serde(default, skip_serializing)]
    pub tie_word_embeddings: bool,
    /// Extension: side of the square of neighbouring visual tokens that are joined into one before the projector
    /// (pixel unshuffle, as in Idefics3).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub projector_scale_factor: i64,
    /// Extension: name of the prompt template that the language model was tuned with; absent means LLaVA 1.5's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_template: Option<String>,
}

/// The language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    pub model_type: String,
    pub vocab_size: i64,
    pub hidden_size: i64,
    pub intermediate_size: i64,
    pub num_hidden_layers: i64,
    pub num_attention_heads: i64,
    /// Fewer than `num_attention_heads` is grouped-query attention; absent means equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_key_value_heads: Option<i64>,
    /// Absent means `hidden_size / num_attention_heads`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<i64>,
    pub hidden_act: Activation,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    #[serde(skip_serializing)]
    pub rope_scaling: Option<serde_json::Value>,
    /// Where transformers 5 writes `rope_theta` and what was `rope_scaling`.
    #[serde(skip_serializing)]
    pub rope_parameters: Option<serde_json::Value>,
    pub max_position_embeddings: i64,
    pub tie_word_embeddings: bool,
    /// In force while transformers trains.
    #[serde(skip_serializing)]
    pub attention_dropout: Option<f64>,
    /// What each layer attends to, where a model has layers of several kinds.
    #[serde(skip_serializing)]
    pub layer_types: Option<Vec<String>>,
    #[serde(skip_serializing)]
    pub attention_bias: bool,
    #[serde(skip_serializing)]
    pub mlp_bias: bool,
}

/// The vision tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    pub model_type: String,
    pub hidden_size: i64,
    pub intermediate_size: i64,
    pub num_hidden_layers: i64,
    pub num_attention_heads: i64,
    pub num_channels: i64,
    pub image_size: i64,
    pub patch_size: i64,
    pub hidden_act: Activation,
    pub layer_norm_eps: f64,
    #[serde(skip_serializing)]
    pub attention_dropout: Option<f64>,
    /// Extension: output channels of a stack of 3x3 convolutions of stride 2, each followed by GELU, in place of
    /// the single patch convolution. The last must be `hidden_size`, and `patch_size` 2 to the number of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stem_channels: Vec<i64>,
    /// Extension: `post_layernorm` is applied to every visual token, not only to the class token.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub feature_norm: bool,
}

/// Which visual tokens go on to the projector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SelectStrategy {
    /// All but the class token.
    #[default]
    Default,
    /// The class token too.
    Full,
}

/// Element-wise activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    #[serde(rename = "gelu")]
    Gelu,
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    #[serde(rename = "silu", alias = "swish")]
    Silu,
}

impl Default for TextConfig {
    fn default() -> Self {
        TextConfig {
            model_type: "llama".to_owned(),
            vocab_size: 32_000,
            hidden_size: 4_096,
            intermediate_size: 11_008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            hidden_act: Activation::Silu,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            rope_scaling: None,
            rope_parameters: None,
            attention_dropout: None,
            layer_types: None,
            max_position_embeddings: 2_048,
            tie_word_embeddings: false,
            attention_bias: false,
            mlp_bias: false,
        }
    }
}

impl Default for VisionConfig {
    fn default() -> Self {
        VisionConfig {
            model_type: "clip_vision_model".to_owned(),
            hidden_size: 768,
            intermediate_size: 3_072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            attention_dropout: None,
            stem_channels: Vec::new(),
            feature_norm: false,
        }
    }
}

fn default_image_token_index() -> i64 {
    32_000
}

fn default_vision_feature_layer() -> i64 {
    -2
}

fn default_projector_hidden_act() -> Activation {
    Activation::Gelu
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

fn one() -> i64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(value: &i64) -> bool {
    *value == 1
}

/// What to do where a model's folder is not there.
pub(crate) const NO_FOLDER: &str = "there is no such folder; docs/models.md says for each model how it is made: `coin-host model fetch` (smollm2, or hf:OWNER/NAME from a hub) or `coin-host model pretrain`";

impl ModelConfig {
    /// Reads and checks a `config.json`.
    pub fn read(path: &Path) -> Result<ModelConfig> {
        let text = std::fs::read_to_string(path).with_context(|| {
            let hint = match path.parent() {
                Some(folder) if folder.is_dir() => {
                    "a backbone is a folder with config.json, tokenizer.json and safetensors files"
                }
                Some(file) if file.is_file() => "that is a file: name the folder it is in",
                _ => NO_FOLDER,
            };
            format!("{} cannot be read\nhint: {hint}", path.display())
        })?;
        ModelConfig::parse(&text).map_err(|error| {
            // Most faults name the file themselves.
            match error.to_string().strip_prefix("config.json") {
                Some(rest) if error.chain().len() == 1 => anyhow!("{}{rest}", path.display()),
                _ => error.context(path.display().to_string()),
            }
        })
    }

    /// The same from its text.
    pub fn parse(text: &str) -> Result<ModelConfig> {
        let mut model: serde_json::Value = serde_json::from_str(text).context("config.json is not JSON")?;
        // Looked at first: another architecture has other keys, and which of them is missing says little.
        match model.get("model_type").and_then(serde_json::Value::as_str) {
            Some(model) => known("model_type", model, "llava")?,
            None => bail!(
                "config.json has no `model_type`\nhint: it must be that of a LLaVA checkpoint, as transformers writes it"
            ),
        }
        one_spelling(&mut model, "image_token_index", "image_token_id")?;
        let mut config: ModelConfig = serde_json::from_value(model)
            .context("config.json is not that of a LLaVA model\nhint: it needs `model_type`, `text_config` and `vision_config`")?;
        config.text_config.tie_word_embeddings |= std::mem::take(&mut config.tie_word_embeddings);
        config.text_config.settle_rotary()?;
        config.check()?;
        Ok(config)
    }

    /// Refuses what this implementation does not compute, rather than computing something else.
    pub fn check(&self) -> Result<()> {
        let (text, vision) = (&self.text_config, &self.vision_config);
        known("model_type", &self.model_type, "llava")?;
        known("text_config.model_type", &text.model_type, "llama")?;
        self.check_bounds()?;
        if vision.model_type == efficientnet::MODEL_TYPE {
            self.check_efficientnet()?;
        } else {
            known("vision_config.model_type", &vision.model_type, "clip_vision_model")?;
            self.check_clip()?;
        }
        for (name, dropout) in [
            ("text_config.attention_dropout", text.attention_dropout),
            ("vision_config.attention_dropout", vision.attention_dropout),
        ] {
            ensure!(
                dropout.unwrap_or(0.0) == 0.0,
                "config.json: {name} is {}, and attention is trained without dropout here\nhint: set it to 0.0 in config.json, and know that transformers would train otherwise",
                dropout.unwrap_or(0.0)
            );
        }
        if let Some(other) = text.layer_types.iter().flatten().find(|kind| *kind != "full_attention") {
            bail!(
                "config.json: text_config.layer_types has `{other}`, and only `full_attention` is supported\nhint: use a checkpoint of a Llama whose layers all attend to everything before"
            );
        }
        ensure!(
            !text.attention_bias && !text.mlp_bias,
            "config.json: text_config asks for biases in attention or MLP, which this Llama decoder does not have\nhint: use a Llama checkpoint without them"
        );
        ensure!(
            text.num_attention_heads % text.key_value_heads() == 0,
            "config.json: {} attention heads do not divide into {} key-value heads",
            text.num_attention_heads,
            text.key_value_heads()
        );
        ensure!(
            text.head_dim() % 2 == 0,
            "config.json: head size {} is odd, rotary positions need pairs",
            text.head_dim()
        );
        if self.projector_scale_factor > 1 {
            ensure!(
                vision.grid() % self.projector_scale_factor == 0
                    && self.vision_feature_select_strategy == SelectStrategy::Default,
                "config.json: a grid of {0}x{0} visual tokens cannot be joined by {1}; the class token must be dropped (`default`)",
                vision.grid(),
                self.projector_scale_factor
            );
        }
        Ok(())
    }

    fn check_clip(&self) -> Result<()> {
        let vision = &self.vision_config;
        ensure!(
            vision.hidden_size % vision.num_attention_heads == 0,
            "config.json: vision width {} does not divide into {} heads",
            vision.hidden_size,
            vision.num_attention_heads
        );
        if let Some(last) = vision.stem_channels.last() {
            ensure!(
                *last == vision.hidden_size && vision.patch_size == 1 << vision.stem_channels.len(),
                "config.json: stem_channels must end in hidden_size {} and patch_size be {}, not {}",
                vision.hidden_size,
                1 << vision.stem_channels.len(),
                vision.patch_size
            );
        }
        let layer = self.vision_blocks();
        ensure!(
            (0..=vision.num_hidden_layers).contains(&layer),
            "config.json: vision_feature_layer {} is outside the tower's {} blocks",
            self.vision_feature_layer,
            vision.num_hidden_layers
        );
        Ok(())
    }

    /// The tower's shape is given by its name; what config.json says must be that.
    fn check_efficientnet(&self) -> Result<()> {
        let vision = &self.vision_config;
        for (name, found, fixed) in [
            ("vision_config.hidden_size", vision.hidden_size, efficientnet::WIDTH),
            ("vision_config.patch_size", vision.patch_size, efficientnet::STRIDE),
            ("vision_config.num_channels", vision.num_channels, 3),
            ("vision_config.num_hidden_layers", vision.num_hidden_layers, 0),
            ("vision_feature_layer", self.vision_feature_layer, -1),
            ("projector_scale_factor", self.projector_scale_factor, 1),
        ] {
            ensure!(
                found == fixed,
                "config.json: {name} is {found}, and {} has {fixed}",
                efficientnet::MODEL_TYPE
            );
        }
        ensure!(
            vision.image_size % efficientnet::STRIDE == 0
                && vision.stem_channels.is_empty()
                && !vision.feature_norm
                && self.vision_feature_select_strategy == SelectStrategy::Default,
            "config.json: {} takes squares whose side is a multiple of {} and has no class token, no other stem and no norm at its end",
            efficientnet::MODEL_TYPE,
            efficientnet::STRIDE
        );
        Ok(())
    }

    /// Name of the prompt template that the checkpoint is talked to with.
    pub fn template(&self) -> &str {
        self.conversation_template.as_deref().unwrap_or("vicuna_v1")
    }

    /// Blocks of the tower that are run: those up to `vision_feature_layer`.
    pub fn vision_blocks(&self) -> i64 {
        match self.vision_feature_layer {
            layer if layer < 0 => self.vision_config.num_hidden_layers + 1 + layer,
            layer => layer,
        }
    }

    /// Visual tokens of one image, as they enter the language model.
    pub fn image_tokens(&self) -> i64 {
        let patches = self.vision_config.grid().pow(2);
        match self.vision_feature_select_strategy {
            SelectStrategy::Default => patches / self.projector_scale_factor.pow(2),
            SelectStrategy::Full => patches + 1,
        }
    }

    /// Width of a visual token before the projector.
    pub fn image_feature_size(&self) -> i64 {
        self.vision_config.hidden_size * self.projector_scale_factor.pow(2)
    }
}

impl TextConfig {
    /// Key-value heads.
    pub fn key_value_heads(&self) -> i64 {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Width of one head.
    pub fn head_dim(&self) -> i64 {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }
}

impl VisionConfig {
    /// Patches along one side.
    pub fn grid(&self) -> i64 {
        self.image_size / self.patch_size
    }
}

/// Leaves the first of two names of one key, which transformers reads alike; both may stand there if they say the same.
fn one_spelling(config: &mut serde_json::Value, name: &str, other: &str) -> Result<()> {
    let Some(keys) = config.as_object_mut() else { return Ok(()) };
    let Some(value) = keys.remove(other) else { return Ok(()) };
    let kept = keys.entry(name).or_insert_with(|| value.clone());
    ensure!(
        *kept == value,
        "config.json: {name} is {kept} and {other} is {value}, and both name one thing\nhint: keep the one that tokenizer.json agrees with"
    );
    Ok(())
}

fn known(key: &str, found: &str, supported: &str) -> Result<()> {
    ensure!(
        found == supported,
        "config.json: {key} is `{found}`, and only `{supported}` is supported\nhint: convert the checkpoint to the Hugging Face layout of LLaVA 1.5"
    );
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A model of a few thousand parameters with every feature on: stem, pixel unshuffle, grouped queries.
    pub(crate) fn small() -> ModelConfig {
        let config = ModelConfig {
            architectures: vec!["LlavaForConditionalGeneration".to_owned()],
            model_type: "llava".to_owned(),
            text_config: TextConfig {
                vocab_size: 40,
                hidden_size: 16,
                intermediate_size: 24,
                num_hidden_layers: 2,
                num_attention_heads: 4,
                num_key_value_heads: Some(2),
                max_position_embeddings: 64,
                ..TextConfig::default()
            },
            vision_config: VisionConfig {
                hidden_size: 12,
                intermediate_size: 20,
                num_hidden_layers: 2,
                num_attention_heads: 2,
                image_size: 16,
                patch_size: 4,
                hidden_act: Activation::Gelu,
                stem_channels: vec![6, 12],
                feature_norm: true,
                ..VisionConfig::default()
            },
            image_token_index: 3,
            vision_feature_layer: -1,
            vision_feature_select_strategy: SelectStrategy::Default,
            projector_hidden_act: Activation::Gelu,
            multimodal_projector_bias: true,
            tie_word_embeddings: false,
            projector_scale_factor: 2,
            conversation_template: None,
        };
        config.check().expect("a sound configuration");
        config
    }

    #[test]
    fn a_config_survives_its_own_text() {
        let text = serde_json::to_string(&small()).expect("serialises");
        assert_eq!(ModelConfig::parse(&text).expect("parses"), small());
    }

    #[test]
    fn hugging_face_defaults_fill_what_llava_1_5_leaves_out() {
        let text = r#"{"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "ignore_index": -100,
            "image_token_index": 32000, "projector_hidden_act": "gelu", "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default", "tie_word_embeddings": false,
            "text_config": {"_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"],
                "max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05, "vocab_size": 32064},
            "vision_config": {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
                "model_type": "clip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
                "projection_dim": 768, "vocab_size": 32000}}"#;
        let config = ModelConfig::parse(text).expect("parses");
        assert_eq!((config.text_config.hidden_size, config.text_config.key_value_heads()), (4096, 32));
        assert_eq!(
            (config.image_tokens(), config.vision_blocks(), config.image_feature_size()),
            (576, 23, 1024)
        );
    }

    #[test]
    fn keys_of_transformers_5_mean_the_same() {
        let text = r#"{"model_type": "llava", "image_token_id": 299, "tie_word_embeddings": true,
            "text_config": {"model_type": "llama", "vocab_size": 300, "tie_word_embeddings": false,
                "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}, "pad_token_id": null},
            "vision_config": {"model_type": "clip_vision_model"}}"#;
        let config = ModelConfig::parse(text).expect("parses");
        assert_eq!((config.image_token_index, config.text_config.rope_theta), (299, 500_000.0));
        assert!(config.text_config.tie_word_embeddings && config.multimodal_projector_bias);
        let both = text.replacen('{', r#"{"image_token_index": 299, "#, 1);
        assert_eq!(ModelConfig::parse(&both).expect("they agree"), config);
        let message =
            ModelConfig::parse(&both.replace("x\": 299", "x\": 298")).expect_err("refused").to_string();
        assert!(message.contains("is 298 and image_token_id is 299"), "{message}");
        let scaled = text.replace("\"default\"", "\"linear\"");
        let message = format!("{:#}", ModelConfig::parse(&scaled).expect_err("refused"));
        assert!(message.contains("linear") && message.contains("rope_parameters"), "{message}");
    }

    #[test]
    fn another_architecture_is_named_before_its_keys_are_missed() {
        let message = ModelConfig::parse(r#"{"model_type": "qwen2_vl"}"#).expect_err("refused").to_string();
        assert!(message.contains("`qwen2_vl`") && message.contains("only `llava`"), "{message}");
        let message = ModelConfig::parse("{}").expect_err("refused").to_string();
        assert!(message.contains("model_type") && message.contains("hint:"), "{message}");
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let mut other = small();
        other.text_config.model_type = "mamba".to_owned();
        let message = other.check().expect_err("refused").to_string();
        assert!(
            message.contains("text_config.model_type is `mamba`") && message.contains("hint:"),
            "{message}"
        );
        let mut other = small();
        other.text_config.attention_dropout = Some(0.5);
        assert!(other.check().expect_err("refused").to_string().contains("attention_dropout is 0.5"));
        let mut other = small();
        other.text_config.layer_types =
            Some(vec!["full_attention".to_owned(), "sliding_attention".to_owned()]);
        assert!(other.check().expect_err("refused").to_string().contains("`sliding_attention`"));
        let mut other = small();
        other.projector_scale_factor = 3;
        assert!(other.check().is_err());
    }

    #[test]
    fn an_efficientnet_has_its_own_shape() {
        let mut config = small();
        config.vision_config = VisionConfig {
            model_type: "efficientnet_lite0".to_owned(),
            hidden_size: 1_280,
            num_hidden_layers: 0,
            image_size: 96,
            patch_size: 32,
            ..VisionConfig::default()
        };
        config.projector_scale_factor = 1;
        config.check().expect("sound");
        assert_eq!(
            (config.image_tokens(), config.vision_blocks(), config.image_feature_size()),
            (9, 0, 1_280)
        );
        for (change, said) in [
            ((|vision| vision.hidden_size = 640) as fn(&mut VisionConfig), "hidden_size is 640"),
            (|vision| vision.image_size = 100, "multiple of 32"),
            (|vision| vision.feature_norm = true, "no norm"),
        ] {
            let mut other = config.clone();
            change(&mut other.vision_config);
            let message = other.check().expect_err("refused").to_string();
            assert!(message.contains(said), "{message}");
        }
    }
}
