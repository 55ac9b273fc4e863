//! The Llama decoder (Touvron et al. 2023): pre-norm with RMSNorm, rotary positions on half-split pairs as in Hugging
//! Face's checkpoints, grouped-query attention, SwiGLU.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use super::backbone::{Linear, Weights};
use super::cache::KeyValueCache;
use super::config::{Activation, TextConfig};
use super::input::ModelInput;
use super::projector::activate;
use super::site::{LinearHook, product};

pub(super) struct Decoder {
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Tensor,
    rotary: Rotary,
}

struct Layer {
    input_norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    middle_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
    head_dim: i64,
}

struct RmsNorm {
    weight: Tensor,
    epsilon: f64,
}

/// Cosines and sines of every position, `[positions, head]`; the sines' first half is negated, so that a pair's
/// rotation is one product with the vector and one with its halves swapped.
struct Rotary {
    cosines: Tensor,
    sines: Tensor,
}

/// The rotations of one batch, `[B, T, 1, head]` each.
struct Rotation {
    cosine: Tensor,
    sine: Tensor,
}

/// What all layers of a pass have in common.
pub(super) struct Frame {
    rotation: Rotation,
    visible: Option<Tensor>,
    selection: Option<Selection>,
}

/// Tokens of a batch that the last layer is computed for: `S` places in each row, repeated where a row has fewer.
struct Selection {
    /// `[B * S]`, `row * T + column`.
    places: Tensor,
    rows: i64,
    width: i64,
    /// Where in `[B * S]` each token that was asked for stands, `[K]`.
    wanted: Tensor,
}

impl Decoder {
    pub(super) fn new(config: &TextConfig, weights: &Weights) -> Result<Decoder> {
        let root = "language_model.model";
        let norm = |name: &str| -> Result<RmsNorm> {
            Ok(RmsNorm {
                weight: weights.tensor(&format!("{root}.{name}.weight"))?,
                epsilon: config.rms_norm_eps,
            })
        };
        let embedding = weights.tensor(&format!("{root}.embed_tokens.weight"))?;
        let mut layers = Vec::new();
        for index in 0..config.num_hidden_layers {
            let linear = |name: &str| weights.linear(&format!("{root}.layers.{index}.{name}"));
            layers.push(Layer {
                input_norm: norm(&format!("layers.{index}.input_layernorm"))?,
                query: linear("self_attn.q_proj")?,
                key: linear("self_attn.k_proj")?,
                value: linear("self_attn.v_proj")?,
                out: linear("self_attn.o_proj")?,
                middle_norm: norm(&format!("layers.{index}.post_attention_layernorm"))?,
                gate: linear("mlp.gate_proj")?,
                up: linear("mlp.up_proj")?,
                down: linear("mlp.down_proj")?,
                activation: config.hidden_act,
                head_dim: config.head_dim(),
            });
        }
        let head = match config.tie_word_embeddings {
            true => embedding.shallow_clone(),
            false => weights.tensor("language_model.lm_head.weight")?,
        };
        let rotary = Rotary::new(config, &embedding)?;
        Ok(Decoder { embedding, layers, norm: norm("norm")?, head, rotary })
    }

    pub(super) fn device(&self) -> Device {
        self.embedding.device()
    }

    pub(super) fn kind(&self) -> Kind {
        self.embedding.kind()
    }

    pub(super) fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        Ok(Tensor::f_embedding(&self.embedding, ids, -1, false, false)?)
    }

    pub(super) fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(product(hidden, &self.head, None)?)
    }

    /// Embedded tokens `[B, T, d]` to normed hidden states, `[B, T, d]` or, for given tokens, `[K, d]`.
    pub(super) fn forward(
        &self,
        embedded: Tensor,
        input: &ModelInput,
        hook: &dyn LinearHook,
        mut cache: Option<&mut KeyValueCache>,
        tokens: Option<&[i64]>,
    ) -> Result<Tensor> {
        let columns = embedded.size3()?.1;
        let frame = self.frame(input, columns, hook, tokens)?;
        let mut hidden = embedded;
        for index in 0..self.layers.len() {
            let cache = cache.as_deref_mut().map(|cache| (cache, index));
            hidden = self.layer(index, &hidden, &frame, hook, cache)?;
        }
        if let Some(cache) = cache {
            cache.advance(columns);
        }
        self.finish(hidden, &frame, tokens)
    }

    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Of a batch with this many columns beyond what is cached.
    pub(super) fn frame(
        &self,
        input: &ModelInput,
        columns: i64,
        hook: &dyn LinearHook,
        tokens: Option<&[i64]>,
    ) -> Result<Frame> {
        let selection = match tokens {
            Some(tokens) if hook.is_token_local() && columns > 1 => {
                let rows = input.input_ids.size2()?.0;
                Some(Selection::new(tokens, rows, columns, self.device())?)
            }
            _ => None,
        };
        Ok(Frame { rotation: self.rotary.at(&input.position_ids)?, visible: input.visible()?, selection })
    }

    /// One layer: `[B, T, d]` to `[B, T, d]`; of the last one with a selection, to `[B, S, d]`.
    pub(super) fn layer(
        &self,
        index: usize,
        hidden: &Tensor,
        frame: &Frame,
        hook: &dyn LinearHook,
        cache: Option<(&mut KeyValueCache, usize)>,
    ) -> Result<Tensor> {
        let selection = frame.selection.as_ref().filter(|_| index + 1 == self.layers.len());
        self.layers[index].forward(hidden, &frame.rotation, frame.visible.as_ref(), hook, cache, selection)
    }

    /// What the last layer gave, normed: `[B, T, d]` or, for given tokens, `[K, d]`.
    pub(super) fn finish(&self, hidden: Tensor, frame: &Frame, tokens: Option<&[i64]>) -> Result<Tensor> {
        let width = hidden.size3()?.2;
        let chosen = match (tokens, &frame.selection) {
            (None, _) => hidden,
            (Some(_), Some(selection)) => hidden.f_view([-1, width])?.f_index_select(0, &selection.wanted)?,
            (Some(tokens), None) => {
                let places = Tensor::f_from_slice(tokens)?.f_to_device(self.device())?;
                hidden.f_view([-1, width])?.f_index_select(0, &places)?
            }
        };
        self.norm.forward(&chosen)
    }
}

impl Layer {
    fn forward(
        &self,
        input: &Tensor,
        rotation: &Rotation,
        visible: Option<&Tensor>,
        hook: &dyn LinearHook,
        cache: Option<(&mut KeyValueCache, usize)>,
        selection: Option<&Selection>,
    ) -> Result<Tensor> {
        let normed = self.input_norm.forward(input)?;
        let keys = rotation.rotate(&self.split(&self.key.forward(&normed, hook)?)?)?.f_transpose(1, 2)?;
        let values = self.split(&self.value.forward(&normed, hook)?)?.f_transpose(1, 2)?;
        let (keys, values) = match cache {
            Some((cache, layer)) => cache.append(layer, &keys, &values)?,
            None => (keys, values),
        };
        let (residual, mixed) = match selection {
            None => {
                let queries = rotation.rotate(&self.split(&self.query.forward(&normed, hook)?)?)?;
                let causal = visible.is_none();
                (input.shallow_clone(), attend(&queries.f_transpose(1, 2)?, &keys, &values, visible, causal)?)
            }
            Some(selection) => {
                let queries = self.split(&self.query.forward(&selection.of(&normed)?, hook)?)?;
                let queries = selection.rotation(rotation)?.rotate(&queries)?.f_transpose(1, 2)?;
                let visible = selection.visible(visible, keys.size4()?.2, input.size3()?.1)?;
                (selection.of(input)?, attend(&queries, &keys, &values, Some(&visible), false)?)
            }
        };
        let (rows, columns, _) = residual.size3()?;
        let mixed = mixed.f_transpose(1, 2)?.f_reshape([rows, columns, -1])?;
        let hidden = residual.f_add(&self.out.forward(&mixed, hook)?)?;
        let normed = self.middle_norm.forward(&hidden)?;
        let gate = activate(&self.gate.forward(&normed, hook)?, self.activation)?;
        let inner = gate.f_mul(&self.up.forward(&normed, hook)?)?;
        Ok(hidden.f_add(&self.down.forward(&inner, hook)?)?)
    }

    /// `[B, T, heads * head]` to `[B, T, heads, head]`.
    fn split(&self, projected: &Tensor) -> Result<Tensor> {
        let (rows, columns, _) = projected.size3()?;
        Ok(projected.f_view([rows, columns, -1, self.head_dim])?)
    }
}

/// Softmax attention of `[B, heads, T, head]` queries over `[B, groups, S, head]` keys and values.
fn attend(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    visible: Option<&Tensor>,
    causal: bool,
) -> Result<Tensor> {
    let (heads, groups) = (queries.size4()?.1, keys.size4()?.1);
    let (keys, values) = (repeat_heads(keys, heads / groups)?, repeat_heads(values, heads / groups)?);
    Ok(Tensor::f_scaled_dot_product_attention(queries, &keys, &values, visible, 0.0, causal, None, false)?)
}

fn repeat_heads(tensor: &Tensor, times: i64) -> Result<Tensor> {
    if times == 1 {
        return Ok(tensor.shallow_clone());
    }
    let (rows, groups, columns, size) = tensor.size4()?;
    Ok(tensor.f_unsqueeze(2)?.f_expand([rows, groups, times, columns, size], false)?.f_reshape([
        rows,
        groups * times,
        columns,
        size,
    ])?)
}

impl RmsNorm {
    /// Zhang and Sennrich 2019, over the last dimension.
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let size = self.weight.size();
        Ok(input.f_rms_norm(&size[..], Some(&self.weight), self.epsilon)?)
    }
}

impl Rotary {
    fn new(config: &TextConfig, like: &Tensor) -> Result<Rotary> {
        let size = config.head_dim();
        let options = (Kind::Float, like.device());
        let exponent = Tensor::f_arange_start_step(0, size, 2, options)?.f_div_scalar(size as f64)?;
        let inverse = exponent.f_mul_scalar(-config.rope_theta.ln())?.f_exp()?;
        let positions = Tensor::f_arange(config.max_position_embeddings, options)?;
        let angle = positions.f_outer(&inverse)?;
        let (cosine, sine) = (angle.f_cos()?, angle.f_sin()?);
        Ok(Rotary {
            cosines: Tensor::f_cat(&[&cosine, &cosine], 1)?.f_to_kind(like.kind())?,
            sines: Tensor::f_cat(&[&sine.f_neg()?, &sine], 1)?.f_to_kind(like.kind())?,
        })
    }

    fn at(&self, position_ids: &Tensor) -> Result<Rotation> {
        let (rows, columns) = position_ids.size2()?;
        let (flat, size) = (position_ids.f_reshape([-1])?, self.cosines.size2()?.1);
        let take = |table: &Tensor| -> Result<Tensor> {
            Ok(table.f_index_select(0, &flat)?.f_view([rows, columns, 1, size])?)
        };
        Ok(Rotation { cosine: take(&self.cosines)?, sine: take(&self.sines)? })
    }
}

impl Rotation {
    /// `[B, T, heads, head]`, rotated by each token's position.
    fn rotate(&self, input: &Tensor) -> Result<Tensor> {
        let half = input.size4()?.3 / 2;
        Ok(input.f_mul(&self.cosine)?.f_addcmul(&input.f_roll([half], [3])?, &self.sine)?)
    }
}

impl Selection {
    fn new(tokens: &[i64], rows: i64, columns: i64, device: Device) -> Result<Selection> {
        let mut by_row: Vec<Vec<i64>> = vec![Vec::new(); rows as usize];
        let mut wanted = Vec::with_capacity(tokens.len());
        for &token in tokens {
            ensure!(
                (0..rows * columns).contains(&token),
                "token {token} is outside a batch of {rows} x {columns}"
            );
            let row = &mut by_row[(token / columns) as usize];
            wanted.push((token / columns, row.len() as i64));
            row.push(token);
        }
        let width = by_row.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let mut places = Vec::with_capacity(by_row.len() * width);
        for (index, row) in by_row.iter().enumerate() {
            let filling = row.last().copied().unwrap_or(index as i64 * columns);
            places.extend(row.iter().copied().chain(std::iter::repeat(filling)).take(width));
        }
        let wanted: Vec<i64> = wanted.into_iter().map(|(row, place)| row * width as i64 + place).collect();
        Ok(Selection {
            places: Tensor::f_from_slice(&places)?.f_to_device(device)?,
            rows,
            width: width as i64,
            wanted: Tensor::f_from_slice(&wanted)?.f_to_device(device)?,
        })
    }

    /// `[B, T, d]` to `[B, S, d]`.
    fn of(&self, tensor: &Tensor) -> Result<Tensor> {
        let size = tensor.size3()?.2;
        Ok(tensor
            .f_reshape([-1, size])?
            .f_index_select(0, &self.places)?
            .f_view([self.rows, self.width, size])?)
    }

    fn rotation(&self, rotation: &Rotation) -> Result<Rotation> {
        let take =
            |tensor: &Tensor| -> Result<Tensor> { Ok(self.of(&tensor.f_squeeze_dim(2)?)?.f_unsqueeze(2)?) };
        Ok(Rotation { cosine: take(&rotation.cosine)?, sine: take(&rotation.sine)? })
    }

    /// `[B, 1, S, keys]`: the rows of the mask that belong to the selected tokens.
    fn visible(&self, visible: Option<&Tensor>, keys: i64, columns: i64) -> Result<Tensor> {
        match visible {
            Some(mask) => {
                let mask = mask.f_expand([self.rows, 1, columns, keys], false)?.f_reshape([-1, keys])?;
                Ok(mask.f_index_select(0, &self.places)?.f_view([self.rows, 1, self.width, keys])?)
            }
            None => {
                let column = self.places.f_remainder(columns)?.f_view([self.rows, 1, self.width, 1])?;
                Ok(Tensor::f_arange(keys, (Kind::Int64, self.places.device()))?.f_le_tensor(&column)?)
            }
        }
    }
}
