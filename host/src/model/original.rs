//! `config.json` as LLaVA's own code writes it: the language model's keys with `mm_*` beside them, and the name of a vision tower that is a
//! checkpoint of its own (Liu et al. 2023, `LlavaLlamaForCausalLM`).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::config::{Activation, ModelConfig, SelectStrategy, TextConfig, VisionConfig};

/// The keys that are LLaVA's.
#[derive(Deserialize)]
pub(super) struct Original {
    /// Name on a hub, or a folder.
    mm_vision_tower: String,
    #[serde(default)]
    mm_projector_type: Option<String>,
    mm_vision_select_layer: i64,
    #[serde(default)]
    mm_vision_select_feature: Option<String>,
    #[serde(default)]
    mm_hidden_size: Option<i64>,
    #[serde(default)]
    mm_use_im_start_end: bool,
    #[serde(default)]
    mm_use_im_patch_token: bool,
    #[serde(default)]
    image_aspect_ratio: Option<String>,
}

/// Whether a `config.json` is of this kind.
pub(super) fn is_original(config: &Value) -> bool {
    let model = config.get("model_type").and_then(Value::as_str);
    matches!(model, Some("llava" | "llava_llama"))
        && config.get("text_config").is_none()
        && config.get("mm_vision_tower").or(config.get("mm_projector_type")).is_some()
}

impl Original {
    /// # Errors
    /// A model of LLaVA's family that is built otherwise than LLaVA 1.5.
    pub(super) fn parse(config: &Value) -> Result<Original> {
        let mut config = config.clone();
        // As LLaVA reads it: the first name counts where both stand there.
        if let Some(keys) = config.as_object_mut()
            && let Some(tower) = keys.remove("vision_tower")
        {
            keys.entry("mm_vision_tower").or_insert(tower);
        }
        let original = Original::deserialize(config)
            .context("config.json is not that of a LLaVA 1.5 model\nhint: it needs `mm_vision_tower` and `mm_vision_select_layer`")?;
        let of = |value: &Option<String>, usual: &str| value.as_deref().unwrap_or(usual).to_owned();
        for (key, found, known) in [
            ("mm_projector_type", of(&original.mm_projector_type, "linear"), &["mlp2x_gelu"][..]),
            (
                "mm_vision_select_feature",
                of(&original.mm_vision_select_feature, "patch"),
                &["patch", "cls_patch"],
            ),
            ("image_aspect_ratio", of(&original.image_aspect_ratio, "square"), &["pad", "square"]),
        ] {
            ensure!(
                known.contains(&&*found),
                "config.json: {key} is `{found}`, and only {} is supported\nhint: use a checkpoint of LLaVA 1.5",
                known.join(" or ")
            );
        }
        ensure!(
            !original.mm_use_im_start_end && !original.mm_use_im_patch_token,
            "config.json: marks around a picture (`mm_use_im_start_end`, `mm_use_im_patch_token`) are not supported\nhint: use a checkpoint of LLaVA 1.5"
        );
        Ok(original)
    }

    /// Whether pictures are bordered to a square.
    pub(super) fn pads(&self) -> bool {
        self.image_aspect_ratio.as_deref() == Some("pad")
    }

    /// The folder of the vision tower: the one given, else the one that `config.json` names, as a path within `folder` or from the root.
    pub(super) fn tower(&self, folder: &Path, given: Option<&Path>) -> Result<PathBuf> {
        let has = |folder: &Path| folder.join("config.json").is_file();
        let named = folder.join(&self.mm_vision_tower);
        match given {
            Some(given) if has(given) => Ok(given.to_owned()),
            Some(given) => bail!(
                "{} holds no config.json\nhint: `--vision-tower` and `backbone.vision_tower` name the folder of {}",
                given.display(),
                self.mm_vision_tower
            ),
            None if has(&named) => Ok(named),
            None => bail!(
                "{} names its vision tower `{}`, which is no folder here\nhint: copy that checkpoint, and name its folder with `--vision-tower`, or `vision_tower` in `[backbone]` of a comparison",
                folder.join("config.json").display(),
                self.mm_vision_tower
            ),
        }
    }

    /// The model with the tower of the folder `tower`. Its image token is the first id beyond the vocabulary, until the tokenizer says
    /// which it is.
    pub(super) fn model(&self, config: &Value, tower: &Path) -> Result<ModelConfig> {
        let mut text: TextConfig = serde_json::from_value(config.clone()).context("config.json")?;
        text.settle_rotary()?;
        let path = tower.join("config.json");
        let of_tower =
            std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let of_tower: Value = serde_json::from_str(&of_tower).with_context(|| path.display().to_string())?;
        let vision = match of_tower.get("model_type").and_then(Value::as_str) {
            Some("clip") => of_tower.get("vision_config").cloned().unwrap_or_default(),
            Some("clip_vision_model") => of_tower,
            other => bail!(
                "{}: model_type is `{}`, and the tower must be `clip` or `clip_vision_model`\nhint: LLaVA 1.5 has openai/clip-vit-large-patch14-336",
                path.display(),
                other.unwrap_or_default()
            ),
        };
        let vision: VisionConfig =
            serde_json::from_value(vision).with_context(|| path.display().to_string())?;
        ensure!(
            self.mm_hidden_size.is_none_or(|width| width == vision.hidden_size),
            "{}: the tower is {} wide, and the projector takes {}\nhint: the tower must be {}",
            path.display(),
            vision.hidden_size,
            self.mm_hidden_size.unwrap_or(0),
            self.mm_vision_tower
        );
        let model = ModelConfig {
            architectures: vec!["LlavaForConditionalGeneration".to_owned()],
            model_type: "llava".to_owned(),
            image_token_index: text.vocab_size,
            text_config: TextConfig { model_type: "llama".to_owned(), ..text },
            vision_config: VisionConfig { model_type: "clip_vision_model".to_owned(), ..vision },
            vision_feature_layer: self.mm_vision_select_layer,
            vision_feature_select_strategy: match self.mm_vision_select_feature.as_deref() {
                Some("cls_patch") => SelectStrategy::Full,
                _ => SelectStrategy::Default,
            },
            projector_hidden_act: Activation::Gelu,
            multimodal_projector_bias: true,
            tie_word_embeddings: false,
            projector_scale_factor: 1,
            conversation_template: config
                .get("conversation_template")
                .and_then(Value::as_str)
                .map(str::to_owned),
        };
        model.check()?;
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As liuhaotian/llava-v1.5-7b has it.
    fn published() -> Value {
        json!({"architectures": ["LlavaLlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
            "freeze_mm_mlp_adapter": false, "hidden_size": 4096, "image_aspect_ratio": "pad", "initializer_range": 0.02,
            "intermediate_size": 11008, "max_position_embeddings": 4096, "mm_hidden_size": 1024, "mm_projector_type": "mlp2x_gelu",
            "mm_resampler_type": null, "mm_use_im_patch_token": false, "mm_use_im_start_end": false,
            "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2,
            "mm_vision_tower": "openai/clip-vit-large-patch14-336", "model_type": "llava", "num_attention_heads": 32,
            "num_hidden_layers": 32, "num_key_value_heads": 32, "pad_token_id": 0, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
            "rope_scaling": null, "tie_word_embeddings": false, "torch_dtype": "float16", "use_cache": true, "vocab_size": 32000})
    }

    /// As openai/clip-vit-large-patch14-336 has it.
    fn tower() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let config = json!({"model_type": "clip", "text_config": {"hidden_size": 768}, "projection_dim": 768,
            "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336,
                "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14}});
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        folder
    }

    #[test]
    fn llava_1_5_is_what_hugging_face_makes_of_it() {
        let (config, tower) = (published(), tower());
        assert!(is_original(&config));
        let original = Original::parse(&config).unwrap();
        let model = original.model(&config, tower.path()).unwrap();
        assert!(original.pads());
        assert_eq!((model.image_tokens(), model.vision_blocks(), model.image_token_index), (576, 23, 32_000));
        assert_eq!(
            (model.text_config.rms_norm_eps, model.text_config.max_position_embeddings),
            (1e-5, 4_096)
        );
        assert_eq!(model.template(), "vicuna_v1");
        let mut scaled = config.clone();
        scaled["rope_scaling"] = json!({"type": "linear", "factor": 2.0});
        let error = format!("{:#}", original.model(&scaled, tower.path()).unwrap_err());
        assert!(error.contains("rope_scaling"), "{error}");
        let mut both = config.clone();
        both["vision_tower"] = "elsewhere".into();
        let tower_of = |config: &Value| Original::parse(config).unwrap().mm_vision_tower;
        assert_eq!(tower_of(&both), tower_of(&config));
        let other = json!({"model_type": "llava", "text_config": {}, "mm_projector_type": "x"});
        assert!(!is_original(&other) && !is_original(&json!({"model_type": "qwen2_5_vl"})));
    }

    #[test]
    fn the_tower_is_the_one_given_or_beside_the_checkpoint() {
        let (mut config, tower) = (published(), tower());
        let folder = tempfile::tempdir().unwrap();
        let of = |config: &Value, given| Original::parse(config).unwrap().tower(folder.path(), given);
        let error = of(&config, None).unwrap_err().to_string();
        assert!(
            error.contains("openai/clip-vit-large-patch14-336") && error.contains("--vision-tower"),
            "{error}"
        );
        assert_eq!(of(&config, Some(tower.path())).unwrap(), tower.path());
        assert!(of(&config, Some(folder.path())).is_err());
        config["mm_vision_tower"] = tower.path().to_str().into();
        assert_eq!(of(&config, None).unwrap(), tower.path());
        std::fs::create_dir(folder.path().join("clip")).unwrap();
        std::fs::write(folder.path().join("clip/config.json"), "{}").unwrap();
        config["mm_vision_tower"] = "clip".into();
        assert_eq!(of(&config, None).unwrap(), folder.path().join("clip"));
    }

    #[test]
    fn relatives_that_are_built_otherwise_are_refused() {
        for (key, value, said) in [
            ("mm_projector_type", json!("linear"), "mlp2x_gelu"),
            ("mm_vision_select_feature", json!("cls"), "cls_patch"),
            ("image_aspect_ratio", json!("anyres"), "anyres"),
            ("mm_use_im_start_end", json!(true), "mm_use_im_start_end"),
            ("mm_vision_tower", Value::Null, "mm_vision_tower"),
        ] {
            let mut config = published();
            config[key] = value;
            let message = format!("{:#}", Original::parse(&config).err().unwrap());
            assert!(message.contains(said) && message.contains("hint:"), "{message}");
        }
        let (mut config, tower) = (published(), tower());
        config["mm_hidden_size"] = 768.into();
        let error = Original::parse(&config).unwrap().model(&config, tower.path()).unwrap_err().to_string();
        assert!(error.contains("1024 wide, and the projector takes 768"), "{error}");
    }
}
