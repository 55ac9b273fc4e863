//! The parameters of a backbone: name in the checkpoint, shape, initial distribution. Loading, random construction
//! and the list of sites all read this one table.

use super::config::{ModelConfig, TextConfig, VisionConfig};
use super::efficientnet;

/// One tensor of the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub shape: Vec<i64>,
    pub init: Init,
}

/// The distribution that pre-training starts from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    /// Normal with this standard deviation.
    Normal(f64),
}

/// The tensors that `config` needs, in the order of the forward pass.
pub fn parameters(config: &ModelConfig) -> Vec<Parameter> {
    let mut list = List::default();
    match config.vision_config.model_type.as_str() {
        efficientnet::MODEL_TYPE => list.efficientnet(),
        _ => list.vision(&config.vision_config, config.vision_blocks()),
    }
    let (wide, text) = (config.image_feature_size(), config.text_config.hidden_size);
    let biased = config.multimodal_projector_bias;
    list.linear("multi_modal_projector.linear_1", wide, text, 1.0, biased);
    list.linear("multi_modal_projector.linear_2", text, text, 1.0, biased);
    list.language(&config.text_config);
    list.0
}

/// Whether a tensor may stand in a checkpoint although this implementation has no use for it: blocks of the tower
/// behind the feature layer, stored buffers, the copy of a tied head.
pub fn is_unused(config: &ModelConfig, name: &str) -> bool {
    if name.ends_with("rotary_emb.inv_freq") || name.ends_with("embeddings.position_ids") {
        return true;
    }
    if name == "language_model.lm_head.weight" {
        return config.text_config.tie_word_embeddings;
    }
    if name.starts_with("vision_tower.vision_model.post_layernorm.") {
        return !config.vision_config.feature_norm;
    }
    let block = name
        .strip_prefix("vision_tower.vision_model.encoder.layers.")
        .and_then(|rest| rest.split('.').next())
        .and_then(|index| index.parse::<i64>().ok());
    block.is_some_and(|index| {
        (config.vision_blocks()..config.vision_config.num_hidden_layers).contains(&index)
    })
}

#[derive(Default)]
struct List(Vec<Parameter>);

impl List {
    fn push(&mut self, name: String, shape: &[i64], init: Init) {
        self.0.push(Parameter { name, shape: shape.to_vec(), init });
    }

    /// Weights of unit gain, times `gain`.
    fn linear(&mut self, path: &str, from: i64, to: i64, gain: f64, bias: bool) {
        self.push(format!("{path}.weight"), &[to, from], Init::Normal(gain / (from as f64).sqrt()));
        if bias {
            self.push(format!("{path}.bias"), &[to], Init::Zeros);
        }
    }

    fn layer_norm(&mut self, path: &str, size: i64) {
        self.push(format!("{path}.weight"), &[size], Init::Ones);
        self.push(format!("{path}.bias"), &[size], Init::Zeros);
    }

    fn vision(&mut self, config: &VisionConfig, blocks: i64) {
        let root = "vision_tower.vision_model";
        let width = config.hidden_size;
        self.push(format!("{root}.embeddings.class_embedding"), &[width], Init::Normal(0.1));
        if config.stem_channels.is_empty() {
            let (from, side) = (config.num_channels, config.patch_size);
            let deviation = 1.0 / ((from * side * side) as f64).sqrt();
            self.push(
                format!("{root}.embeddings.patch_embedding.weight"),
                &[width, from, side, side],
                Init::Normal(deviation),
            );
        }
        let mut from = config.num_channels;
        for (index, &to) in config.stem_channels.iter().enumerate() {
            let deviation = (2.0 / (9 * from) as f64).sqrt();
            self.push(
                format!("{root}.embeddings.stem.{index}.weight"),
                &[to, from, 3, 3],
                Init::Normal(deviation),
            );
            self.push(format!("{root}.embeddings.stem.{index}.bias"), &[to], Init::Zeros);
            from = to;
        }
        let places = config.grid().pow(2) + 1;
        self.push(
            format!("{root}.embeddings.position_embedding.weight"),
            &[places, width],
            Init::Normal(0.1),
        );
        self.layer_norm(&format!("{root}.pre_layrnorm"), width);
        let residual = 1.0 / (2.0 * blocks.max(1) as f64).sqrt();
        for block in 0..blocks {
            let path = format!("{root}.encoder.layers.{block}");
            self.layer_norm(&format!("{path}.layer_norm1"), width);
            for name in ["q_proj", "k_proj", "v_proj"] {
                self.linear(&format!("{path}.self_attn.{name}"), width, width, 1.0, true);
            }
            self.linear(&format!("{path}.self_attn.out_proj"), width, width, residual, true);
            self.layer_norm(&format!("{path}.layer_norm2"), width);
            self.linear(&format!("{path}.mlp.fc1"), width, config.intermediate_size, 1.0, true);
            self.linear(&format!("{path}.mlp.fc2"), config.intermediate_size, width, residual, true);
        }
        if config.feature_norm {
            self.layer_norm(&format!("{root}.post_layernorm"), width);
        }
    }

    fn efficientnet(&mut self) {
        for convolution in efficientnet::convolutions() {
            let shape = convolution.shape();
            let deviation = (2.0 / shape[1..].iter().product::<i64>() as f64).sqrt();
            self.push(convolution.name("weight"), &shape, Init::Normal(deviation));
            self.push(convolution.name("bias"), &[convolution.to], Init::Zeros);
        }
    }

    fn language(&mut self, config: &TextConfig) {
        let root = "language_model.model";
        let width = config.hidden_size;
        let (queries, keys) =
            (config.num_attention_heads * config.head_dim(), config.key_value_heads() * config.head_dim());
        let table = Init::Normal(1.0 / (width as f64).sqrt());
        self.push(format!("{root}.embed_tokens.weight"), &[config.vocab_size, width], table);
        let residual = 1.0 / (2.0 * config.num_hidden_layers as f64).sqrt();
        for layer in 0..config.num_hidden_layers {
            let path = format!("{root}.layers.{layer}");
            self.push(format!("{path}.input_layernorm.weight"), &[width], Init::Ones);
            self.linear(&format!("{path}.self_attn.q_proj"), width, queries, 1.0, false);
            self.linear(&format!("{path}.self_attn.k_proj"), width, keys, 1.0, false);
            self.linear(&format!("{path}.self_attn.v_proj"), width, keys, 1.0, false);
            self.linear(&format!("{path}.self_attn.o_proj"), queries, width, residual, false);
            self.push(format!("{path}.post_attention_layernorm.weight"), &[width], Init::Ones);
            self.linear(&format!("{path}.mlp.gate_proj"), width, config.intermediate_size, 1.0, false);
            self.linear(&format!("{path}.mlp.up_proj"), width, config.intermediate_size, 1.0, false);
            self.linear(&format!("{path}.mlp.down_proj"), config.intermediate_size, width, residual, false);
        }
        self.push(format!("{root}.norm.weight"), &[width], Init::Ones);
        if !config.tie_word_embeddings {
            self.push("language_model.lm_head.weight".to_owned(), &[config.vocab_size, width], table);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::small;
    use super::*;

    #[test]
    fn names_are_those_of_hugging_face_and_unique() {
        let list = parameters(&small());
        let names: std::collections::BTreeSet<&str> = list.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names.len(), list.len());
        for name in [
            "vision_tower.vision_model.embeddings.position_embedding.weight",
            "vision_tower.vision_model.encoder.layers.1.mlp.fc2.bias",
            "multi_modal_projector.linear_1.weight",
            "language_model.model.layers.1.self_attn.q_proj.weight",
            "language_model.lm_head.weight",
        ] {
            assert!(names.contains(name), "{name}");
        }
        let keys = list
            .iter()
            .find(|p| p.name == "language_model.model.layers.0.self_attn.k_proj.weight")
            .expect("there");
        assert_eq!(keys.shape, [8, 16]);
    }

    #[test]
    fn a_tied_head_and_blocks_behind_the_feature_layer_are_not_needed() {
        let mut config = small();
        config.text_config.tie_word_embeddings = true;
        config.vision_feature_layer = -2;
        let list = parameters(&config);
        assert!(list.iter().all(|p| !is_unused(&config, &p.name)));
        assert!(list.iter().all(|p| !p.name.contains("lm_head") && !p.name.contains("encoder.layers.1.")));
        assert!(is_unused(&config, "language_model.lm_head.weight"));
        assert!(is_unused(&config, "vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight"));
        assert!(!is_unused(&config, "vision_tower.vision_model.encoder.layers.2.mlp.fc1.weight"));
    }
}
