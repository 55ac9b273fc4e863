//! Services of the host, by subject. Each call names the [`Context`] of the hook it is made from; a context is refused once its
//! hook has returned, and a service that a hook may not use answers [`ErrorCode::UNAVAILABLE`](super::ErrorCode::UNAVAILABLE).
//!
//! `[thread]`: the thread the hook was called on.

use abi_stable::StableAbi;
use abi_stable::std_types::RVec;

use super::data::{
    RawGradient, RawModel, RawParameterInfo, RawParameterSpec, RawRow, RawSite, RawStage, RawStep,
};
use super::error::ApiResult;
use super::handle::{Context, Ints, RawTensor, Text};

/// An argument of `call_op`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct RawArgument {
    /// 0 none, 1 tensor, 2 integer, 3 truth value.
    pub kind: u32,
    /// Handle, integer bits, or 0 and 1.
    pub value: u64,
}

/// The model and the tensors that live with the host.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RegistryServicesRef, prefix_fields = RegistryServicesPrefix)))]
pub struct RegistryServices {
    /// Sizes of the model.
    pub model: extern "C" fn(Context) -> ApiResult<RawModel>,
    /// The linears an adapter may change.
    pub sites: extern "C" fn(Context) -> ApiResult<RVec<RawSite>>,
    /// The frozen weight of a site, `[out, in]`, read-only.
    pub site_weight: extern "C" fn(Context, u64) -> ApiResult<RawTensor>,
    /// The bias of a site, `[out]`, or none.
    pub site_bias: extern "C" fn(Context, u64) -> ApiResult<RawTensor>,
    /// Registers a tensor, or finds the one of that name and shape; returns its id.
    pub register: extern "C" fn(Context, RawParameterSpec) -> ApiResult<u64>,
    /// All tensors of the cell that a strategy may look at.
    pub parameters: extern "C" fn(Context) -> ApiResult<RVec<RawParameterInfo>>,
    /// The tensor itself (float32; part of the graph where it is trainable).
    pub value: extern "C" fn(Context, u64) -> ApiResult<RawTensor>,
    /// Overwrites its values.
    pub set_value: extern "C" fn(Context, u64, RawTensor) -> ApiResult<()>,
    /// The gradient of the optimizer step, or none.
    pub grad: extern "C" fn(Context, u64) -> ApiResult<RawTensor>,
    /// Replaces that gradient.
    pub set_grad: extern "C" fn(Context, u64, RawTensor) -> ApiResult<()>,
    /// Freezes or unfreezes it.
    pub set_trainable: extern "C" fn(Context, u64, bool) -> ApiResult<()>,
    /// Keeps the values of all registered tensors under a name.
    pub snapshot: extern "C" fn(Context, Text) -> ApiResult<()>,
    /// Forgets a snapshot.
    pub drop_snapshot: extern "C" fn(Context, Text) -> ApiResult<()>,
    /// The value of a tensor in a snapshot.
    #[sabi(last_prefix_field)]
    pub snapshot_value: extern "C" fn(Context, Text, u64) -> ApiResult<RawTensor>,
}

/// The stage that runs: its data, its batches, its teachers.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = StageServicesRef, prefix_fields = StageServicesPrefix)))]
pub struct StageServices {
    /// Number, length and data of the stage.
    pub stage: extern "C" fn(Context) -> ApiResult<RawStage>,
    /// The training samples of the stage (needs `stage_data`).
    pub samples: extern "C" fn(Context) -> ApiResult<RVec<u64>>,
    /// Makes a batch of samples that this cell may see; returns its number.
    pub batch: extern "C" fn(Context, RVec<u64>) -> ApiResult<u64>,
    /// Task loss of a batch: scalar, with its graph; dropout off; training streams untouched.
    pub batch_loss: extern "C" fn(Context, u64) -> ApiResult<RawTensor>,
    /// Gradients of the task loss of a batch, one for each trainable tensor, not accumulated.
    pub batch_gradients: extern "C" fn(Context, u64) -> ApiResult<RVec<RawGradient>>,
    /// Logits of a batch at its supervised positions `[K, V]`, with their graph.
    pub batch_logits: extern "C" fn(Context, u64) -> ApiResult<RawTensor>,
    /// Gives a batch back.
    pub drop_batch: extern "C" fn(Context, u64) -> ApiResult<()>,
    /// Logits `[K, V]` of the training batch at hand under a snapshot, without graph (needs `teacher`).
    #[sabi(last_prefix_field)]
    pub teacher_logits: extern "C" fn(Context, Text) -> ApiResult<RawTensor>,
}

/// The forward pass an adapter or a strategy takes part in.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = StepServicesRef, prefix_fields = StepServicesPrefix)))]
pub struct StepServices {
    /// Phase, stage, step and rows.
    pub step: extern "C" fn(Context) -> ApiResult<RawStep>,
    /// `[B, T]`, 1 where there is a token.
    pub attention_mask: extern "C" fn(Context) -> ApiResult<RawTensor>,
    /// `[B, T]`, 1 where the next token is supervised (training only).
    pub label_mask: extern "C" fn(Context) -> ApiResult<RawTensor>,
    /// The rows of a training batch.
    pub rows: extern "C" fn(Context) -> ApiResult<RVec<RawRow>>,
    /// Logits at supervised positions `[K, V]`, with their graph (strategies, training only).
    pub logits: extern "C" fn(Context) -> ApiResult<RawTensor>,
    /// Target tokens at supervised positions `[K]`.
    pub targets: extern "C" fn(Context) -> ApiResult<RawTensor>,
    /// The row of each supervised position `[K]`.
    pub target_rows: extern "C" fn(Context) -> ApiResult<RawTensor>,
    /// The task loss, scalar, with its graph (strategies, training only).
    pub task_loss: extern "C" fn(Context) -> ApiResult<RawTensor>,
    /// Mean of the frozen vision features of each row `[B, d_v]`; rows without a picture are zero (needs `image_features`).
    pub image_features: extern "C" fn(Context) -> ApiResult<RawTensor>,
    /// Mean token embedding of each row's prompt, never of the answer `[B, d]` (needs `text_features`).
    pub text_features: extern "C" fn(Context) -> ApiResult<RawTensor>,
    /// The row of each picture `[n]`, in the order in which the projector is shown them (adapters only).
    pub image_rows: extern "C" fn(Context) -> ApiResult<RawTensor>,
    /// The stage that the sample of each row belongs to `[B]` (training batches only).
    pub row_stages: extern "C" fn(Context) -> ApiResult<RawTensor>,
    /// The task in the stream, from 0 (while answering: needs `task_id_at_test`).
    pub task_index: extern "C" fn(Context) -> ApiResult<u64>,
    /// Adds a named scalar to the loss from inside an adapter.
    pub add_term: extern "C" fn(Context, Text, RawTensor) -> ApiResult<()>,
    /// Adds to a registered buffer, once per training forward.
    pub count: extern "C" fn(Context, u64, RawTensor) -> ApiResult<()>,
    /// What `set_sequence` kept for these rows, or none.
    pub sequence: extern "C" fn(Context, Text) -> ApiResult<RawTensor>,
    /// Keeps a tensor `[B, ..]` for the rows of a batch from prefill through decoding.
    #[sabi(last_prefix_field)]
    pub set_sequence: extern "C" fn(Context, Text, RawTensor) -> ApiResult<()>,
}

/// The replay buffer; every call needs `replay`.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ReplayServicesRef, prefix_fields = ReplayServicesPrefix)))]
pub struct ReplayServices {
    /// Samples the protocol lets it hold now.
    pub capacity: extern "C" fn(Context) -> ApiResult<u64>,
    /// Its filled slots as `(slot, sample)` pairs, by slot.
    pub slots: extern "C" fn(Context) -> ApiResult<RVec<RawRow>>,
    /// Keeps a sample; returns its slot. Full is an error.
    pub add: extern "C" fn(Context, u64) -> ApiResult<u64>,
    /// Forgets a slot and what was stored with it.
    pub remove: extern "C" fn(Context, u64) -> ApiResult<()>,
    /// Keeps a named tensor with a slot; its bytes are metered.
    pub store: extern "C" fn(Context, u64, Text, RawTensor) -> ApiResult<()>,
    /// The named tensor of a slot, or none.
    #[sabi(last_prefix_field)]
    pub stored: extern "C" fn(Context, u64, Text) -> ApiResult<RawTensor>,
}

/// Random draws from named streams, seeded by stage, step, micro-batch, site and call.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RandomServicesRef, prefix_fields = RandomServicesPrefix)))]
pub struct RandomServices {
    /// Uniform in `[0, 1)`, float32.
    pub uniform: extern "C" fn(Context, Text, Ints) -> ApiResult<RawTensor>,
    /// Standard normal, float32.
    pub normal: extern "C" fn(Context, Text, Ints) -> ApiResult<RawTensor>,
    /// Inverted dropout with this probability in the train phase, else the tensor itself.
    pub dropout: extern "C" fn(Context, Text, RawTensor, f64) -> ApiResult<RawTensor>,
    /// The first `count` numbers of a random order of `0..size`.
    #[sabi(last_prefix_field)]
    pub sample: extern "C" fn(Context, Text, u64, u64) -> ApiResult<RVec<u64>>,
    /// For tests of the border's growth: a random order of `0..size`.
    #[cfg(feature = "growth")]
    pub growth_shuffle: extern "C" fn(Context, Text, u64) -> ApiResult<RVec<u64>>,
}

/// Messages and measurements.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = LogServicesRef, prefix_fields = LogServicesPrefix)))]
pub struct LogServices {
    /// A message: level 0 error, 1 warning, 2 information, 3 detail. Works in every hook and outside.
    pub message: extern "C" fn(u32, Text),
    /// A named number of this step or stage, kept with the run.
    #[sabi(last_prefix_field)]
    pub metric: extern "C" fn(Context, Text, f64) -> ApiResult<()>,
}

/// Services without promise: they may change or go before they move to a group of their own.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = DraftServicesRef, prefix_fields = DraftServicesPrefix)))]
pub struct DraftServices {
    /// Token embeddings `[B, T, d]` of the prompts that soft tokens are placed among; zero at visual tokens, filling and answers.
    pub prompt_embeddings: extern "C" fn(Context) -> ApiResult<RawTensor>,
    /// Gradients of any scalar with regard to registered tensors: `(context, scalar, ids)`.
    #[sabi(last_prefix_field)]
    pub parameter_gradients: extern "C" fn(Context, RawTensor, RVec<u64>) -> ApiResult<RVec<RawGradient>>,
}
