//! A Llama model in GGUF, with the names and the order of rows that Hugging Face's `LlamaForCausalLM` has.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::model::gguf::{ElementType, Gguf};

const HINT: &str = "hint: only plain Llama models with a tied head can be converted";

/// Sizes, as the file gives them.
pub(super) struct Sizes {
    pub layers: i64,
    pub hidden: i64,
    inner: i64,
    heads: i64,
    key_value_heads: i64,
    context: i64,
    rope_theta: f64,
    epsilon: f64,
}

impl Sizes {
    pub(super) fn read(file: &Gguf) -> Result<Sizes> {
        let architecture = file.text("general.architecture")?;
        ensure!(architecture == "llama", "the model is a `{architecture}`, not a `llama`\n{HINT}");
        let sizes = Sizes {
            layers: file.integer("llama.block_count")?,
            hidden: file.integer("llama.embedding_length")?,
            inner: file.integer("llama.feed_forward_length")?,
            heads: file.integer("llama.attention.head_count")?,
            key_value_heads: file.integer("llama.attention.head_count_kv")?,
            context: file.integer("llama.context_length")?,
            rope_theta: file.float("llama.rope.freq_base")?,
            epsilon: file.float("llama.attention.layer_norm_rms_epsilon")?,
        };
        let all = [sizes.layers, sizes.hidden, sizes.inner, sizes.heads, sizes.key_value_heads];
        ensure!(all.iter().all(|size| (1..1 << 20).contains(size)), "a size of the model is absurd: {all:?}");
        let heads = (sizes.hidden % sizes.heads, sizes.heads % sizes.key_value_heads);
        ensure!(heads == (0, 0), "{} heads do not fit a width of {}", sizes.heads, sizes.hidden);
        Ok(sizes)
    }

    /// `text_config` of a `config.json`.
    pub(super) fn config(&self, vocabulary: i64) -> Value {
        // The file has it in float32: its shortest text is what was meant.
        let epsilon: f64 = (self.epsilon as f32).to_string().parse().unwrap_or(self.epsilon);
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.key_value_heads,
            "hidden_act": "silu",
            "rms_norm_eps": epsilon,
            "rope_theta": self.rope_theta,
            "max_position_embeddings": self.context,
            "tie_word_embeddings": true,
            "attention_bias": false,
            "mlp_bias": false,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 2,
        })
    }
}

/// All tensors of the file under the names of a LLaVA checkpoint: quantised ones in float16, others in float32.
pub(super) fn tensors(file: &Gguf, sizes: &Sizes) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for (name, entry) in file.tensors() {
        let target =
            renamed(name).with_context(|| format!("a Llama model has no tensor `{name}`\n{HINT}"))?;
        let shape: Vec<i64> = entry.shape.iter().map(|&size| size as i64).collect();
        let tensor = Tensor::f_from_slice(&file.values(name)?)?.f_view(&shape[..])?;
        let tensor = match target.rsplit('.').nth(1) {
            Some("q_proj") => unpermuted(&tensor, sizes.heads),
            Some("k_proj") => unpermuted(&tensor, sizes.key_value_heads),
            _ => Ok(tensor),
        };
        let kind = if entry.element == ElementType::F32 { Kind::Float } else { Kind::Half };
        let tensor = tensor.and_then(|tensor| Ok(tensor.f_to_kind(kind)?));
        tensors.insert(target, tensor.with_context(|| format!("tensor `{name}`"))?);
    }
    Ok(tensors)
}

/// Rows of a projection from llama.cpp's order, where the two halves of a rotated pair are neighbours, to Hugging Face's, where they
/// lie half a head apart.
fn unpermuted(weight: &Tensor, heads: i64) -> Result<Tensor> {
    let (rows, columns) = weight.size2()?;
    ensure!(rows % (2 * heads) == 0, "{rows} rows do not divide into {heads} heads of pairs");
    let pairs = weight.f_view([heads, rows / heads / 2, 2, columns])?;
    Ok(pairs.f_transpose(1, 2)?.f_reshape([rows, columns])?)
}

fn renamed(name: &str) -> Option<String> {
    let name = name.strip_suffix(".weight")?;
    let path = match name {
        "token_embd" => String::from("embed_tokens"),
        "output_norm" => String::from("norm"),
        _ => {
            let (block, part) = name.strip_prefix("blk.")?.split_once('.')?;
            let block: u32 = block.parse().ok()?;
            let part = match part {
                "attn_norm" => "input_layernorm",
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "ffn_norm" => "post_attention_layernorm",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                _ => return None,
            };
            format!("layers.{block}.{part}")
        }
    };
    Some(format!("language_model.model.{path}.weight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_a_head_come_apart() {
        // Two heads of four rows: (0, 1) and (2, 3) are the rotated pairs of the first.
        let weight = Tensor::f_from_slice(&[0f32, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]).unwrap();
        let rows = unpermuted(&weight.f_view([8, 1]).unwrap(), 2).unwrap();
        let rows = Vec::<f32>::try_from(&rows.f_view([8]).unwrap()).unwrap();
        assert_eq!(rows, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert!(unpermuted(&weight.f_view([8, 1]).unwrap(), 3).is_err());
    }

    #[test]
    fn names_of_no_llama_are_not_translated() {
        assert_eq!(
            renamed("blk.12.ffn_up.weight").unwrap(),
            "language_model.model.layers.12.mlp.up_proj.weight"
        );
        for name in ["rope_freqs.weight", "blk.x.attn_q.weight", "blk.0.attn_q.bias", "output.weight"] {
            assert_eq!(renamed(name), None);
        }
    }
}
