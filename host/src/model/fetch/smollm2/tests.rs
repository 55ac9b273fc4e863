//! The conversion of small files of the same form.

use tch::{Device, Kind};

use super::*;
use crate::model::gguf::tests::Builder;
use crate::model::torch_file::tests::{Part, file};

/// A Llama of one layer with two control tokens and some of the byte-level alphabet.
fn language() -> Builder {
    let tokens = ["<|im_start|>", "<|im_end|>", "a", "b", "1", "2", "Ġ", "Ċ", "ab", "Ġab"];
    let mut types = [1; 10];
    types[..2].fill(3);
    let mut builder = Builder::default()
        .text("general.architecture", "llama")
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "smollm")
        .texts("tokenizer.ggml.tokens", &tokens)
        .integers("tokenizer.ggml.token_type", &types)
        .texts("tokenizer.ggml.merges", &["a b", "Ġ ab"])
        .float("llama.rope.freq_base", 1_000.0)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5);
    for (key, value) in [
        ("block_count", 1),
        ("embedding_length", 32),
        ("feed_forward_length", 64),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("context_length", 256),
    ] {
        builder = builder.integer(&format!("llama.{key}"), value);
    }
    let values = |count: usize| (0..count).map(|index| (index % 7) as f32 / 7.0 - 0.4);
    builder = builder
        .tensor("token_embd.weight", &[10, 32], 8, &[17; 340])
        .floats("output_norm.weight", &[32], values(32))
        .floats("blk.0.attn_norm.weight", &[32], values(32))
        .floats("blk.0.ffn_norm.weight", &[32], values(32));
    for (name, rows, columns) in [
        ("attn_q", 32, 32),
        ("attn_k", 16, 32),
        ("attn_v", 16, 32),
        ("attn_output", 32, 32),
        ("ffn_gate", 64, 32),
        ("ffn_up", 64, 32),
        ("ffn_down", 32, 64),
    ] {
        let size = rows * columns;
        builder = builder.floats(&format!("blk.0.{name}.weight"), &[rows, columns], values(size as usize));
    }
    builder
}

fn vision() -> Vec<u8> {
    let mut parts: Vec<(String, Vec<i32>, f32)> = Vec::new();
    for convolution in efficientnet::convolutions() {
        let (weight, norm) = lite0::published_names(&convolution.path).unwrap();
        parts.push((weight, convolution.shape().iter().map(|&size| size as i32).collect(), 0.01));
        for (part, value) in [("weight", 2.0), ("bias", 0.5), ("running_mean", 0.1), ("running_var", 0.249)] {
            parts.push((format!("{norm}.{part}"), vec![convolution.to as i32], value));
        }
    }
    let parts: Vec<Part> = parts
        .iter()
        .map(|(name, shape, value)| {
            let strides: Vec<i32> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
            let count = shape.iter().product::<i32>() as usize;
            (name.as_str(), shape.clone(), strides, vec![*value; count])
        })
        .collect();
    file(&parts)
}

#[test]
fn a_converted_folder_is_loaded_and_complete() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("models/small");
    let construction = Construction::begin(&out, &origin()).unwrap().unwrap();
    convert(&construction, &language().bytes(), &vision()).unwrap();
    construction.finish(&origin()).unwrap();
    let (backbone, tokenizer) = crate::model::load(&out, Device::Cpu, Kind::Float).unwrap();
    let config = backbone.config();
    assert_eq!((config.image_tokens(), config.image_token_index, config.template()), (49, 10, "smollm2"));
    assert_eq!(config.text_config.rms_norm_eps, 1e-5);
    assert_eq!(tokenizer.encode("ab ab12\n<image>b<|im_end|>").unwrap(), [8, 9, 4, 5, 7, 10, 3, 1]);
    assert_eq!(tokenizer.decode(&[8, 9, 4, 5, 7, 1]).unwrap(), "ab ab12\n");
    // A gain of 2, a variance of 0.25 with what is beneath it.
    let stem = &backbone.parameters()["vision_tower.vision_model.stem.weight"];
    assert!((stem.f_double_value(&[0, 0, 0, 0]).unwrap() - 0.04).abs() < 1e-6);
    let bias = &backbone.parameters()["vision_tower.vision_model.stem.bias"];
    assert!((bias.f_double_value(&[0]).unwrap() - 0.1).abs() < 1e-6);
    let pixels = Tensor::f_zeros([1, 3, 224, 224], (Kind::Float, Device::Cpu)).unwrap();
    assert_eq!(backbone.image_features(&pixels).unwrap().size(), [1, 49, 1_280]);
    // What is there already from the same is left; anything else is not overwritten.
    assert!(!smollm2(&out, None, &|_| ()).unwrap());
    std::fs::write(out.join(super::super::MARKER), "{}").unwrap();
    let message = format!("{:#}", smollm2(&out, None, &|_| ()).unwrap_err());
    assert!(message.contains("something else") && message.contains("--out"), "{message}");
    let entries: Vec<_> = std::fs::read_dir(out.parent().unwrap()).unwrap().collect();
    assert_eq!(entries.len(), 1);
}

#[test]
fn what_is_no_such_model_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("small");
    let refused = |gguf: &[u8], pth: &[u8]| {
        let construction = Construction::begin(&out, &origin()).unwrap().unwrap();
        format!("{:#}", convert(&construction, gguf, pth).unwrap_err())
    };
    let vision = vision();
    let other = Builder::default().text("general.architecture", "mamba").bytes();
    assert!(refused(&other, &vision).contains("`mamba`"));
    let further = language().floats("output.weight", &[1], [0.0].into_iter()).bytes();
    assert!(refused(&further, &vision).contains("`output.weight`"));
    assert!(refused(b"GGUF", &vision).contains(LANGUAGE_MEMBER));
    let bytes = language().bytes();
    assert!(refused(&bytes, &vision[..100]).contains(VISION_MEMBER));
    let lone = file(&[("_conv_stem.weight", vec![1], vec![1], vec![0.0])]);
    assert!(refused(&bytes, &lone).contains("_bn0.weight"));
    assert!(!out.exists());
}

#[test]
fn the_tokenizer_of_another_split_is_refused() {
    let builder = Builder::default().text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "qwen2");
    let bytes = builder.bytes();
    let message = format!("{:#}", bpe::tokenizer(&Gguf::parse(&bytes).unwrap(), "<image>").unwrap_err());
    assert!(message.contains("`qwen2`") && message.contains("hint:"), "{message}");
}
