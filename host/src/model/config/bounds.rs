//! Sizes and constants of config.json that a model can have. What lies beyond them is a damaged file: it would fill the memory before
//! a single tensor is compared, overflow a product, or make every logit NaN.

use anyhow::{Result, ensure};

use super::ModelConfig;

const LAYERS: i64 = 1 << 10;
const WIDTH: i64 = 1 << 20;
const VOCABULARY: i64 = 1 << 24;
const POSITIONS: i64 = 1 << 22;
const SIDE: i64 = 1 << 14;
/// Stages of a stem; each halves the picture.
const STEM: usize = 14;

impl ModelConfig {
    /// Every size within its bounds, so that no product of two or three of them overflows; every constant one to compute with.
    pub(super) fn check_bounds(&self) -> Result<()> {
        let (text, vision) = (&self.text_config, &self.vision_config);
        for (name, value, most) in [
            ("text_config.vocab_size", text.vocab_size, VOCABULARY),
            ("text_config.hidden_size", text.hidden_size, WIDTH),
            ("text_config.intermediate_size", text.intermediate_size, WIDTH),
            ("text_config.num_hidden_layers", text.num_hidden_layers, LAYERS),
            ("text_config.num_attention_heads", text.num_attention_heads, WIDTH),
            ("text_config.num_key_value_heads", text.key_value_heads(), WIDTH),
            ("text_config.head_dim", text.head_dim(), WIDTH),
            ("text_config.max_position_embeddings", text.max_position_embeddings, POSITIONS),
            ("vision_config.hidden_size", vision.hidden_size, WIDTH),
            ("vision_config.intermediate_size", vision.intermediate_size, WIDTH),
            ("vision_config.num_attention_heads", vision.num_attention_heads, WIDTH),
            ("vision_config.num_channels", vision.num_channels, WIDTH),
            ("vision_config.image_size", vision.image_size, SIDE),
            ("vision_config.patch_size", vision.patch_size, vision.image_size.clamp(1, SIDE)),
            ("projector_scale_factor", self.projector_scale_factor, SIDE),
        ] {
            in_range(name, value, 1, most)?;
        }
        in_range("vision_config.num_hidden_layers", vision.num_hidden_layers, 0, LAYERS)?;
        in_range("image_token_index", self.image_token_index, 0, 2 * VOCABULARY)?;
        ensure!(
            vision.stem_channels.len() <= STEM,
            "config.json: vision_config.stem_channels has {} stages, more than {STEM}\n{HINT}",
            vision.stem_channels.len()
        );
        for channels in &vision.stem_channels {
            in_range("vision_config.stem_channels", *channels, 1, WIDTH)?;
        }
        // Products of what was bounded above.
        for (name, value) in [
            (
                "text_config.num_attention_heads times head_dim",
                text.num_attention_heads.saturating_mul(text.head_dim()),
            ),
            (
                "text_config.num_key_value_heads times head_dim",
                text.key_value_heads().saturating_mul(text.head_dim()),
            ),
            (
                "vision_config.hidden_size times the square of projector_scale_factor",
                vision.hidden_size.saturating_mul(self.projector_scale_factor.saturating_pow(2)),
            ),
        ] {
            in_range(name, value, 1, WIDTH)?;
        }
        for (name, value) in [
            ("text_config.rms_norm_eps", text.rms_norm_eps),
            ("vision_config.layer_norm_eps", vision.layer_norm_eps),
        ] {
            ensure!(
                value > 0.0 && value < 1.0,
                "config.json: {name} is {value}, it must be between 0 and 1\n{HINT}"
            );
        }
        ensure!(
            (1.0..=1e15).contains(&text.rope_theta),
            "config.json: text_config.rope_theta is {}, it must be at least 1, and no more than 1e15\n{HINT}",
            text.rope_theta
        );
        Ok(())
    }
}

const HINT: &str = "hint: the file is damaged, or of a model of another kind; copy the checkpoint again";

fn in_range(name: &str, value: i64, least: i64, most: i64) -> Result<()> {
    ensure!(
        (least..=most).contains(&value),
        "config.json: {name} is {value}, it must be {} and no more than {most}\n{HINT}",
        if least == 1 { "positive" } else { "0 or more" }
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::small;
    use super::*;
    use crate::model::parameter::parameters;

    #[test]
    fn sizes_beyond_any_model_are_refused_before_anything_is_made_of_them() {
        for (change, said) in [
            ((|model| model.text_config.num_hidden_layers = 2_000_000_000) as fn(&mut ModelConfig), "layers"),
            (|model| model.vision_config.num_hidden_layers = 2_000_000_000, "layers"),
            (|model| model.vision_config.num_hidden_layers = -1, "layers"),
            (|model| model.text_config.intermediate_size = i64::MAX, "intermediate_size"),
            (|model| model.text_config.intermediate_size = -3, "intermediate_size"),
            (|model| model.vision_config.intermediate_size = 0, "intermediate_size"),
            (|model| model.text_config.head_dim = Some(i64::MAX / 2), "head_dim"),
            (|model| model.text_config.head_dim = Some(1 << 19), "times head_dim"),
            (|model| model.text_config.max_position_embeddings = 1 << 40, "max_position"),
            (|model| model.text_config.vocab_size = i64::MAX, "vocab_size"),
            (|model| model.vision_config.image_size = i64::MAX, "image_size"),
            (|model| model.vision_config.patch_size = 17, "patch_size"),
            (|model| model.vision_config.num_channels = 0, "num_channels"),
            (|model| model.vision_config.stem_channels = vec![12; 70], "stem_channels"),
            (|model| model.projector_scale_factor = 1 << 13, "projector_scale_factor"),
            (|model| model.vision_feature_layer = i64::MIN, "vision_feature_layer"),
            (|model| model.image_token_index = i64::MAX, "image_token_index"),
            (|model| model.image_token_index = -1, "image_token_index"),
        ] {
            let mut model = small();
            change(&mut model);
            let error = model.check().expect_err("refused").to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
    }

    #[test]
    fn constants_that_make_every_logit_nan_are_refused() {
        for (change, said) in [
            ((|model| model.text_config.rope_theta = -5.0) as fn(&mut ModelConfig), "rope_theta is -5"),
            (|model| model.text_config.rope_theta = 0.0, "rope_theta"),
            (|model| model.text_config.rms_norm_eps = -100.0, "rms_norm_eps is -100"),
            (|model| model.text_config.rms_norm_eps = f64::NAN, "rms_norm_eps"),
            (|model| model.vision_config.layer_norm_eps = 1.0, "layer_norm_eps"),
        ] {
            let mut model = small();
            change(&mut model);
            let error = model.check().expect_err("refused").to_string();
            assert!(error.contains(said) && error.contains("hint:"), "{said}: {error}");
        }
    }

    /// The largest that is let through has shapes that can be counted.
    #[test]
    fn at_the_bounds_no_product_overflows() {
        let mut model = small();
        model.text_config.vocab_size = VOCABULARY;
        model.text_config.hidden_size = WIDTH;
        model.text_config.intermediate_size = WIDTH;
        model.text_config.num_attention_heads = WIDTH / 2;
        model.text_config.num_key_value_heads = Some(WIDTH / 2);
        model.text_config.head_dim = Some(2);
        model.check().expect("within the bounds");
        for parameter in parameters(&model) {
            let numbers = parameter.shape.iter().try_fold(8i64, |product, size| product.checked_mul(*size));
            assert!(numbers.is_some_and(|bytes| bytes > 0), "{}", parameter.name);
        }
    }
}
