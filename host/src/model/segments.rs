//! A pass over a training batch in segments: the embedding with projector and soft tokens, then one decoder layer at a time. A layer is
//! a function of its input, so that gradient checkpointing (Chen et al. 2016, arXiv 1604.06174) can keep inputs alone and compute the
//! layers once more when their gradients are wanted.

use anyhow::Result;
use tch::Tensor;

use super::backbone::Backbone;
use super::decoder::Frame;
use super::input::ModelInput;
use super::site::LinearHook;

/// A pass that is computed one segment at a time.
pub struct Segments {
    frame: Frame,
    tokens: Vec<i64>,
    /// What the first layer gets, `[B, T, d]`, with the graph of projector and soft tokens.
    pub embedded: Tensor,
}

impl Backbone {
    /// The pass of [`Backbone::hidden_at`], up to the first layer.
    pub fn segments(&self, input: &ModelInput, tokens: &[i64], hook: &dyn LinearHook) -> Result<Segments> {
        let embedded = self.embed(input, hook, None)?;
        let frame = self.decoder.frame(input, embedded.size3()?.1, hook, Some(tokens))?;
        Ok(Segments { frame, tokens: tokens.to_vec(), embedded })
    }

    /// Decoder layers.
    pub fn layers(&self) -> usize {
        self.decoder.layers()
    }

    /// A layer of such a pass: `[B, T, d]` to `[B, T, d]`; the last one to what [`Backbone::hidden_at`] gives, `[K, d]`.
    pub fn layer(
        &self,
        pass: &Segments,
        index: usize,
        input: &Tensor,
        hook: &dyn LinearHook,
    ) -> Result<Tensor> {
        let hidden = self.decoder.layer(index, input, &pass.frame, hook, None)?;
        if index + 1 < self.layers() {
            return Ok(hidden);
        }
        self.decoder.finish(hidden, &pass.frame, Some(&pass.tokens))
    }
}
