//! The vision transformer of CLIP (Radford et al. 2021), as Hugging Face lays it out, with an optional stack of
//! convolutions in place of the patch convolution; and the choice between it and the other towers.

use anyhow::{Result, ensure};
use tch::Tensor;

use super::backbone::{Linear, Weights};
use super::config::{Activation, ModelConfig, SelectStrategy};
use super::efficientnet::{self, EfficientNet};
use super::projector::activate;
use super::site::LinearHook;

/// One of the supported towers.
pub(super) enum VisionTower {
    Clip(Box<Clip>),
    EfficientNet { tower: EfficientNet, image_size: i64 },
}

pub(super) struct Clip {
    class: Tensor,
    patch: Option<Tensor>,
    stem: Vec<(Tensor, Tensor)>,
    positions: Tensor,
    before: LayerNorm,
    blocks: Vec<Block>,
    after: Option<LayerNorm>,
    activation: Activation,
    heads: i64,
    patch_size: i64,
    image_size: i64,
    grid: i64,
    strategy: SelectStrategy,
    scale: i64,
}

struct Block {
    norm_1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm_2: LayerNorm,
    up: Linear,
    down: Linear,
}

struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    fn new(weights: &Weights, path: &str, epsilon: f64) -> Result<LayerNorm> {
        let (weight, bias) =
            (weights.tensor(&format!("{path}.weight"))?, weights.tensor(&format!("{path}.bias"))?);
        Ok(LayerNorm { weight, bias, epsilon })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let size = self.weight.size();
        Ok(input.f_layer_norm(&size[..], Some(&self.weight), Some(&self.bias), self.epsilon, false)?)
    }
}

impl VisionTower {
    pub(super) fn new(config: &ModelConfig, weights: &Weights) -> Result<VisionTower> {
        let image_size = config.vision_config.image_size;
        Ok(match config.vision_config.model_type.as_str() {
            efficientnet::MODEL_TYPE => {
                VisionTower::EfficientNet { tower: EfficientNet::new(weights)?, image_size }
            }
            _ => VisionTower::Clip(Box::new(Clip::new(config, weights)?)),
        })
    }

    /// `[B, 3, H, W]` to the visual tokens `[B, N, d]` that the projector takes.
    pub(super) fn forward(&self, pixels: &Tensor, hook: &dyn LinearHook) -> Result<Tensor> {
        let (_, _, height, width) = pixels.size4()?;
        let size = match self {
            VisionTower::Clip(tower) => tower.image_size,
            VisionTower::EfficientNet { image_size, .. } => *image_size,
        };
        ensure!(
            height == size && width == size,
            "a picture of {width}x{height} pixels was given to a vision tower for {size}x{size}\nhint: resize to the model's image_size"
        );
        match self {
            VisionTower::Clip(tower) => tower.forward(pixels, hook),
            VisionTower::EfficientNet { tower, .. } => tower.forward(pixels),
        }
    }
}

impl Clip {
    fn new(config: &ModelConfig, weights: &Weights) -> Result<Clip> {
        let vision = &config.vision_config;
        let root = "vision_tower.vision_model";
        let norm = |name: &str| LayerNorm::new(weights, &format!("{root}.{name}"), vision.layer_norm_eps);
        let mut blocks = Vec::new();
        for index in 0..config.vision_blocks() {
            let linear = |name: &str| weights.linear(&format!("{root}.encoder.layers.{index}.{name}"));
            blocks.push(Block {
                norm_1: norm(&format!("encoder.layers.{index}.layer_norm1"))?,
                query: linear("self_attn.q_proj")?,
                key: linear("self_attn.k_proj")?,
                value: linear("self_attn.v_proj")?,
                out: linear("self_attn.out_proj")?,
                norm_2: norm(&format!("encoder.layers.{index}.layer_norm2"))?,
                up: linear("mlp.fc1")?,
                down: linear("mlp.fc2")?,
            });
        }
        let mut stem = Vec::new();
        for index in 0..vision.stem_channels.len() {
            let path = format!("{root}.embeddings.stem.{index}");
            stem.push((weights.tensor(&format!("{path}.weight"))?, weights.tensor(&format!("{path}.bias"))?));
        }
        let patch = match stem.is_empty() {
            true => Some(weights.tensor(&format!("{root}.embeddings.patch_embedding.weight"))?),
            false => None,
        };
        Ok(Clip {
            class: weights.tensor(&format!("{root}.embeddings.class_embedding"))?,
            patch,
            stem,
            positions: weights.tensor(&format!("{root}.embeddings.position_embedding.weight"))?,
            before: norm("pre_layrnorm")?,
            blocks,
            after: if vision.feature_norm { Some(norm("post_layernorm")?) } else { None },
            activation: vision.hidden_act,
            heads: vision.num_attention_heads,
            patch_size: vision.patch_size,
            image_size: vision.image_size,
            grid: vision.grid(),
            strategy: config.vision_feature_select_strategy,
            scale: config.projector_scale_factor,
        })
    }

    fn forward(&self, pixels: &Tensor, hook: &dyn LinearHook) -> Result<Tensor> {
        let rows = pixels.size4()?.0;
        let mut grid = pixels.shallow_clone();
        if let Some(patch) = &self.patch {
            let side = [self.patch_size; 2];
            grid = grid.f_conv2d(patch, None::<&Tensor>, side, [0, 0], [1, 1], 1)?;
        }
        for (weight, bias) in &self.stem {
            grid = grid.f_conv2d(weight, Some(bias), [2, 2], [1, 1], [1, 1], 1)?.f_gelu("none")?;
        }
        let patches = grid.f_flatten(2, 3)?.f_transpose(1, 2)?;
        let channels = patches.size3()?.2;
        let class = self.class.f_view([1, 1, -1])?.f_expand([rows, 1, channels], true)?;
        let embedded = Tensor::f_cat(&[class, patches], 1)?.f_add(&self.positions)?;
        let mut hidden = self.before.forward(&embedded)?;
        for block in &self.blocks {
            hidden = block.forward(&hidden, self.heads, self.activation, hook)?;
        }
        if self.strategy == SelectStrategy::Default {
            hidden = hidden.f_narrow(1, 1, self.grid * self.grid)?;
        }
        if let Some(norm) = &self.after {
            hidden = norm.forward(&hidden)?;
        }
        self.unshuffle(&hidden)
    }

    /// Joins each square of `scale x scale` neighbouring tokens into one (pixel unshuffle, channels in Idefics3's order).
    fn unshuffle(&self, tokens: &Tensor) -> Result<Tensor> {
        if self.scale == 1 {
            return Ok(tokens.shallow_clone());
        }
        let (rows, _, width) = tokens.size3()?;
        let (side, scale) = (self.grid / self.scale, self.scale);
        Ok(tokens
            .f_reshape([rows, side, scale, side, scale, width])?
            .f_permute([0, 1, 3, 2, 4, 5])?
            .f_reshape([rows, side * side, scale * scale * width])?)
    }
}

impl Block {
    fn forward(
        &self,
        input: &Tensor,
        heads: i64,
        activation: Activation,
        hook: &dyn LinearHook,
    ) -> Result<Tensor> {
        let (rows, tokens, width) = input.size3()?;
        let normed = self.norm_1.forward(input)?;
        let split = |linear: &Linear| -> Result<Tensor> {
            Ok(linear
                .forward(&normed, hook)?
                .f_view([rows, tokens, heads, width / heads])?
                .f_transpose(1, 2)?)
        };
        let mixed = Tensor::f_scaled_dot_product_attention(
            &split(&self.query)?,
            &split(&self.key)?,
            &split(&self.value)?,
            None::<&Tensor>,
            0.0,
            false,
            None,
            false,
        )?;
        let mixed = mixed.f_transpose(1, 2)?.f_reshape([rows, tokens, width])?;
        let hidden = input.f_add(&self.out.forward(&mixed, hook)?)?;
        let inner = activate(&self.up.forward(&self.norm_2.forward(&hidden)?, hook)?, activation)?;
        Ok(hidden.f_add(&self.down.forward(&inner, hook)?)?)
    }
}
