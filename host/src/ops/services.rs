//! What a hook may ask of the host. The training loop and the answering engine implement [`Services`] for the hooks they call and
//! enter it for the length of one call ([`super::context::enter`]); everything they leave out is refused with the hook's name.

use anyhow::Result;
use coin_plugin_api::abi::{
    RawModel, RawParameterInfo, RawParameterSpec, RawRow, RawSite, RawStage, RawStep,
};
use tch::Tensor;

/// The services of one hook call. Handles returned are owned by the plugin; every default refuses.
pub trait Services {
    /// The plugin and the hook, for messages: `lora.adapt`.
    fn hook(&self) -> String;

    fn model(&self) -> Result<RawModel> {
        refuse(&self.hook(), "model")
    }
    fn sites(&self) -> Result<Vec<RawSite>> {
        refuse(&self.hook(), "sites")
    }
    fn site_weight(&self, _site: u64) -> Result<Tensor> {
        refuse(&self.hook(), "site_weight")
    }
    fn site_bias(&self, _site: u64) -> Result<Option<Tensor>> {
        refuse(&self.hook(), "site_bias")
    }
    fn register(&self, _spec: RawParameterSpec) -> Result<u64> {
        refuse(&self.hook(), "register")
    }
    fn parameters(&self) -> Result<Vec<RawParameterInfo>> {
        refuse(&self.hook(), "parameters")
    }
    fn value(&self, _id: u64) -> Result<Tensor> {
        refuse(&self.hook(), "value")
    }
    fn set_value(&self, _id: u64, _value: &Tensor) -> Result<()> {
        refuse(&self.hook(), "set_value")
    }
    fn grad(&self, _id: u64) -> Result<Option<Tensor>> {
        refuse(&self.hook(), "grad")
    }
    fn set_grad(&self, _id: u64, _gradient: &Tensor) -> Result<()> {
        refuse(&self.hook(), "set_grad")
    }
    fn set_trainable(&self, _id: u64, _trainable: bool) -> Result<()> {
        refuse(&self.hook(), "set_trainable")
    }
    fn snapshot(&self, _name: &str) -> Result<()> {
        refuse(&self.hook(), "snapshot")
    }
    fn drop_snapshot(&self, _name: &str) -> Result<()> {
        refuse(&self.hook(), "drop_snapshot")
    }
    fn snapshot_value(&self, _name: &str, _id: u64) -> Result<Tensor> {
        refuse(&self.hook(), "snapshot_value")
    }

    fn stage(&self) -> Result<RawStage> {
        refuse(&self.hook(), "stage")
    }
    fn samples(&self) -> Result<Vec<u64>> {
        refuse(&self.hook(), "samples")
    }
    fn batch(&self, _samples: &[u64]) -> Result<u64> {
        refuse(&self.hook(), "batch")
    }
    fn batch_loss(&self, _batch: u64) -> Result<Tensor> {
        refuse(&self.hook(), "batch_loss")
    }
    fn batch_gradients(&self, _batch: u64) -> Result<Vec<(u64, Tensor)>> {
        refuse(&self.hook(), "batch_gradients")
    }
    fn batch_logits(&self, _batch: u64) -> Result<Tensor> {
        refuse(&self.hook(), "batch_logits")
    }
    fn drop_batch(&self, _batch: u64) -> Result<()> {
        refuse(&self.hook(), "drop_batch")
    }
    fn teacher_logits(&self, _snapshot: &str) -> Result<Tensor> {
        refuse(&self.hook(), "teacher_logits")
    }

    fn step(&self) -> Result<RawStep> {
        refuse(&self.hook(), "step")
    }
    fn attention_mask(&self) -> Result<Tensor> {
        refuse(&self.hook(), "attention_mask")
    }
    fn label_mask(&self) -> Result<Tensor> {
        refuse(&self.hook(), "label_mask")
    }
    fn rows(&self) -> Result<Vec<RawRow>> {
        refuse(&self.hook(), "rows")
    }
    fn logits(&self) -> Result<Tensor> {
        refuse(&self.hook(), "logits")
    }
    fn targets(&self) -> Result<Tensor> {
        refuse(&self.hook(), "targets")
    }
    fn target_rows(&self) -> Result<Tensor> {
        refuse(&self.hook(), "target_rows")
    }
    fn task_loss(&self) -> Result<Tensor> {
        refuse(&self.hook(), "task_loss")
    }
    fn image_features(&self) -> Result<Tensor> {
        refuse(&self.hook(), "image_features")
    }
    fn text_features(&self) -> Result<Tensor> {
        refuse(&self.hook(), "text_features")
    }
    fn image_rows(&self) -> Result<Tensor> {
        refuse(&self.hook(), "image_rows")
    }
    fn row_stages(&self) -> Result<Tensor> {
        refuse(&self.hook(), "row_stages")
    }
    fn task_index(&self) -> Result<u64> {
        refuse(&self.hook(), "task_index")
    }
    fn add_term(&self, _name: &str, _value: &Tensor) -> Result<()> {
        refuse(&self.hook(), "add_term")
    }
    fn count(&self, _buffer: u64, _delta: &Tensor) -> Result<()> {
        refuse(&self.hook(), "count")
    }
    fn sequence(&self, _key: &str) -> Result<Option<Tensor>> {
        refuse(&self.hook(), "sequence")
    }
    fn set_sequence(&self, _key: &str, _value: &Tensor) -> Result<()> {
        refuse(&self.hook(), "set_sequence")
    }

    fn replay_capacity(&self) -> Result<u64> {
        refuse(&self.hook(), "replay")
    }
    fn replay_slots(&self) -> Result<Vec<RawRow>> {
        refuse(&self.hook(), "replay")
    }
    fn replay_add(&self, _sample: u64) -> Result<u64> {
        refuse(&self.hook(), "replay")
    }
    fn replay_remove(&self, _slot: u64) -> Result<()> {
        refuse(&self.hook(), "replay")
    }
    fn replay_store(&self, _slot: u64, _name: &str, _value: &Tensor) -> Result<()> {
        refuse(&self.hook(), "replay")
    }
    fn replay_stored(&self, _slot: u64, _name: &str) -> Result<Option<Tensor>> {
        refuse(&self.hook(), "replay")
    }

    /// The seed of the next draw from a stream: hash of root seed, stream, stage, step, micro-batch, site and call.
    fn seed(&self, _stream: &str) -> Result<u64> {
        refuse(&self.hook(), "random draws")
    }
    /// Whether dropout is on.
    fn training(&self) -> bool {
        false
    }
    /// Whether the protocol grants `call_op`.
    fn call_op_granted(&self) -> bool {
        false
    }

    fn metric(&self, _name: &str, _value: f64) -> Result<()> {
        refuse(&self.hook(), "metric")
    }
    fn prompt_embeddings(&self) -> Result<Tensor> {
        refuse(&self.hook(), "prompt_embeddings")
    }
    fn parameter_gradients(&self, _scalar: &Tensor, _ids: &[u64]) -> Result<Vec<(u64, Tensor)>> {
        refuse(&self.hook(), "parameter_gradients")
    }
}

/// A service that a hook, a protocol or this host does not offer. Plugins see it as `ErrorCode::UNAVAILABLE`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

fn refuse<T>(hook: &str, service: &str) -> Result<T> {
    Err(Unavailable(format!("`{service}` is not available in {hook}")).into())
}
