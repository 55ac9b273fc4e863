//! What `loss` is shown of a training pass.

use anyhow::Result;
use coin_plugin_api::abi::RawRow;
use tch::Tensor;

use crate::data::collate::TrainingBatch;
use crate::model::Backbone;
use crate::train::describe;

/// The training pass that `loss` looks at.
pub struct Pass<'c> {
    pub batch: &'c TrainingBatch,
    pub rows: &'c [RawRow],
    /// `[K, V]` at supervised positions.
    pub logits: &'c Tensor,
    pub task_loss: &'c Tensor,
}

impl Pass<'_> {
    /// `[K]`, the row of the batch that each supervised position stands in.
    pub(super) fn target_rows(&self) -> Result<Tensor> {
        let columns = self.batch.labels.size2()?.1;
        let rows: Vec<i64> = self.batch.positions.iter().map(|position| position / columns).collect();
        Ok(Tensor::f_from_slice(&rows)?.f_to_device(self.batch.labels.device())?)
    }

    pub(super) fn image_features(&self, backbone: &Backbone) -> Result<Tensor> {
        let input = &self.batch.input;
        describe::pooled_images(backbone, input.images.as_ref(), input.input_ids.size2()?)
    }

    pub(super) fn text_features(&self, backbone: &Backbone) -> Result<Tensor> {
        let input = &self.batch.input;
        describe::pooled_text(backbone, &input.input_ids, Some(self.batch), &input.attention_mask)
    }
}
