//! The forward pass that an adapter or a strategy takes part in.

use crate::abi::{Context, Ints, RawStep, Text};
use crate::error::Result;
use crate::registry::ParameterId;
use crate::services::{Parameters, ReplayBuffer, SampleRef};
use crate::tensor::{Tensor, host, received, received_optional};

/// What a forward pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PassPhase {
    /// A training batch: gradients, dropout.
    Train,
    /// The prompt of rows to answer.
    Prefill,
    /// One more token of rows to answer.
    Decode,
    /// A snapshot on the training batch at hand.
    Teacher,
    /// A batch that a strategy asked for.
    Extra,
}

/// A row of a training batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// The sample.
    pub sample: SampleRef,
    /// Its slot, where a strategy took it from the replay buffer in place of a fresh sample.
    pub slot: Option<u64>,
}

/// The forward pass at hand.
pub struct Step {
    context: Context,
    parameters: Parameters,
}

impl Step {
    pub(crate) fn new(context: Context) -> Step {
        Step { context, parameters: Parameters::new(context) }
    }

    fn raw(&self) -> Result<RawStep> {
        Ok((host().step().step())(self.context).into_result()?)
    }

    /// What the pass is for.
    pub fn phase(&self) -> Result<PassPhase> {
        Ok(match self.raw()?.phase {
            0 => PassPhase::Train,
            1 => PassPhase::Prefill,
            2 => PassPhase::Decode,
            3 => PassPhase::Teacher,
            _ => PassPhase::Extra,
        })
    }

    /// Stage in the stream, from 0.
    pub fn stage(&self) -> Result<usize> {
        Ok(self.raw()?.stage as usize)
    }

    /// Optimizer step in the stage, from 0, and how many the stage has.
    pub fn position(&self) -> Result<(usize, usize)> {
        let raw = self.raw()?;
        Ok((raw.step as usize, raw.steps as usize))
    }

    /// The tensors of the cell.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The replay buffer. Its calls need `replay`.
    pub fn replay(&self) -> ReplayBuffer {
        ReplayBuffer::at(self.context)
    }

    /// `[B, T]`, 1 where there is a token. Not for token-local adapters: they may be shown a part of a batch.
    pub fn attention_mask(&self) -> Result<Tensor> {
        received((host().step().attention_mask())(self.context))
    }

    /// `[B, T]`, 1 where the next token is supervised. Training only.
    pub fn label_mask(&self) -> Result<Tensor> {
        received((host().step().label_mask())(self.context))
    }

    /// The rows of the training batch.
    pub fn rows(&self) -> Result<Vec<Row>> {
        let raw = (host().step().rows())(self.context).into_result()?;
        Ok(raw
            .into_iter()
            .map(|row| Row { sample: SampleRef(row.sample), slot: u64::try_from(row.slot).ok() })
            .collect())
    }

    /// Logits at supervised positions, `[K, V]`, with their graph. Strategies, training only.
    pub fn logits(&self) -> Result<Tensor> {
        received((host().step().logits())(self.context))
    }

    /// Target tokens at supervised positions, `[K]`.
    pub fn targets(&self) -> Result<Tensor> {
        received((host().step().targets())(self.context))
    }

    /// The row of each supervised position, `[K]`.
    pub fn target_rows(&self) -> Result<Tensor> {
        received((host().step().target_rows())(self.context))
    }

    /// The task loss, scalar, with its graph. Strategies, training only.
    pub fn task_loss(&self) -> Result<Tensor> {
        received((host().step().task_loss())(self.context))
    }

    /// Logits at supervised positions under a snapshot, `[K, V]`, without graph. Needs `teacher`.
    pub fn teacher_logits(&self, snapshot: &str) -> Result<Tensor> {
        received((host().stage().teacher_logits())(self.context, Text::borrow(snapshot.as_bytes())))
    }

    /// Mean frozen vision features of each row, `[B, d_v]`; zero without a picture. Needs `image_features`.
    pub fn image_features(&self) -> Result<Tensor> {
        received((host().step().image_features())(self.context))
    }

    /// Mean token embedding of each row's prompt, never of its answer, `[B, d]`. Needs `text_features`.
    pub fn text_features(&self) -> Result<Tensor> {
        received((host().step().text_features())(self.context))
    }

    /// The row of each picture, `[n]`, in the order in which sites of the projector are shown them: their input is `[n, N, in]`, and rows
    /// without a picture have no part in it. Adapters only.
    pub fn image_rows(&self) -> Result<Tensor> {
        received((host().step().image_rows())(self.context))
    }

    /// The stage that the sample of each row belongs to, `[B]`: earlier ones where rows were replayed. Batches of training samples only,
    /// whatever the phase; never while answering.
    pub fn row_stages(&self) -> Result<Tensor> {
        received((host().step().row_stages())(self.context))
    }

    /// Token embeddings of the prompts `[B, T, d]`, zero at visual tokens, filling and answers: what soft tokens are placed among.
    /// Adapters only (draft: may change).
    pub fn prompt_embeddings(&self) -> Result<Tensor> {
        received((host().draft().prompt_embeddings())(self.context))
    }

    /// The task in the stream, from 0. While answering it needs `task_id_at_test`.
    pub fn task_index(&self) -> Result<usize> {
        Ok((host().step().task_index())(self.context).into_result()? as usize)
    }

    /// Adds a named scalar to the loss from inside an adapter that is not token-local; counted once, also under gradient checkpointing.
    pub fn add_term(&self, name: &str, value: &Tensor) -> Result<()> {
        Ok((host().step().add_term())(self.context, Text::borrow(name.as_bytes()), value.raw())
            .into_result()?)
    }

    /// Adds to a registered buffer from inside an adapter that is not token-local, once per training forward, also under gradient
    /// checkpointing. The buffer changes when the pass is over.
    pub fn count(&self, buffer: ParameterId, delta: &Tensor) -> Result<()> {
        Ok((host().step().count())(self.context, buffer.0, delta.raw()).into_result()?)
    }

    /// What [`Step::set_sequence`] kept for these rows at prefill.
    pub fn sequence(&self, key: &str) -> Result<Option<Tensor>> {
        received_optional((host().step().sequence())(self.context, Text::borrow(key.as_bytes())))
    }

    /// Keeps a tensor `[B, ..]` for these rows from prefill through decoding.
    pub fn set_sequence(&self, key: &str, value: &Tensor) -> Result<()> {
        Ok((host().step().set_sequence())(self.context, Text::borrow(key.as_bytes()), value.raw())
            .into_result()?)
    }

    /// Inverted dropout in the train phase, else the tensor itself. Each call draws anew from its own named place.
    pub fn dropout(&self, input: &Tensor, probability: f64) -> Result<Tensor> {
        if probability == 0.0 {
            return Ok(input.clone());
        }
        received((host().random().dropout())(
            self.context,
            Text::borrow(b"dropout"),
            input.raw(),
            probability,
        ))
    }

    /// Standard normal float32 draws from the named stream.
    pub fn normal(&self, stream: &str, sizes: &[i64]) -> Result<Tensor> {
        received((host().random().normal())(
            self.context,
            Text::borrow(stream.as_bytes()),
            Ints::borrow(sizes),
        ))
    }

    /// Uniform float32 draws in `[0, 1)` from the named stream.
    pub fn uniform(&self, stream: &str, sizes: &[i64]) -> Result<Tensor> {
        received((host().random().uniform())(
            self.context,
            Text::borrow(stream.as_bytes()),
            Ints::borrow(sizes),
        ))
    }
}
