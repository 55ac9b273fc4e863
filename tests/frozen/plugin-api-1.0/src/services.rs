//! Services of the host to a strategy: the stage, its batches, parameters, the replay buffer.

use std::ops::Deref;

use crate::abi::{Context, RawGradient, RawStage, Text};
use crate::error::Result;
use crate::registry::{ParameterId, Registry};
use crate::tensor::{Tensor, host, received, received_optional};

/// A sample that this cell may see, by reference: strategies choose samples, they do not read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct SampleRef(pub u64);

/// A registered tensor as strategies see it, those of other plugins and of the projector too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParameterInfo {
    /// Its number.
    pub id: ParameterId,
    /// `<owner>.<site path>.<name>`, or `<owner>.<name>`.
    pub name: String,
    /// The site it belongs to.
    pub site: Option<usize>,
    /// Whether it is a buffer.
    pub buffer: bool,
    /// The plugin that registered it, or `host`.
    pub owner: String,
    /// Shape.
    pub shape: Vec<i64>,
    /// Whether the optimizer changes it.
    pub trainable: bool,
}

/// The tensors of the cell.
pub struct Parameters {
    context: Context,
}

impl Parameters {
    pub(crate) fn new(context: Context) -> Parameters {
        Parameters { context }
    }

    /// All of them, in the order of their registration.
    pub fn all(&self) -> Result<Vec<ParameterInfo>> {
        let raw = (host().registry().parameters())(self.context).into_result()?;
        Ok(raw
            .into_iter()
            .map(|info| ParameterInfo {
                id: ParameterId(info.id),
                name: info.name.into_string(),
                site: usize::try_from(info.site).ok(),
                buffer: info.role == 1,
                owner: info.owner.into_string(),
                shape: info.shape.into_vec(),
                trainable: info.trainable,
            })
            .collect())
    }

    /// Those that the optimizer changes.
    pub fn trainable(&self) -> Result<Vec<ParameterInfo>> {
        Ok(self.all()?.into_iter().filter(|info| info.trainable).collect())
    }

    /// The tensor itself, float32. A term of the loss that is made from it trains it. Do not keep it: keep the id.
    pub fn value(&self, id: ParameterId) -> Result<Tensor> {
        received((host().registry().value())(self.context, id.0))
    }

    /// Overwrites the values.
    pub fn set_value(&self, id: ParameterId, value: &Tensor) -> Result<()> {
        Ok((host().registry().set_value())(self.context, id.0, value.raw()).into_result()?)
    }

    /// The gradient of this optimizer step; none where no gradient reached it.
    pub fn grad(&self, id: ParameterId) -> Result<Option<Tensor>> {
        received_optional((host().registry().grad())(self.context, id.0))
    }

    /// Replaces the gradient of this optimizer step.
    pub fn set_grad(&self, id: ParameterId, gradient: &Tensor) -> Result<()> {
        Ok((host().registry().set_grad())(self.context, id.0, gradient.raw()).into_result()?)
    }

    /// Freezes or unfreezes a parameter from the next optimizer step on.
    pub fn set_trainable(&self, id: ParameterId, trainable: bool) -> Result<()> {
        Ok((host().registry().set_trainable())(self.context, id.0, trainable).into_result()?)
    }

    /// Keeps the values of all registered tensors under a name, for teachers and anchors. Its bytes are metered.
    pub fn snapshot(&self, name: &str) -> Result<()> {
        Ok((host().registry().snapshot())(self.context, Text::borrow(name.as_bytes())).into_result()?)
    }

    /// Forgets a snapshot.
    pub fn drop_snapshot(&self, name: &str) -> Result<()> {
        Ok((host().registry().drop_snapshot())(self.context, Text::borrow(name.as_bytes())).into_result()?)
    }

    /// The value that a tensor had in a snapshot.
    pub fn snapshot_value(&self, name: &str, id: ParameterId) -> Result<Tensor> {
        received((host().registry().snapshot_value())(self.context, Text::borrow(name.as_bytes()), id.0))
    }

    /// Gradients of a scalar with regard to registered tensors, not accumulated anywhere (draft: may change).
    pub fn gradients_of(&self, scalar: &Tensor, ids: &[ParameterId]) -> Result<Vec<(ParameterId, Tensor)>> {
        let ids = ids.iter().map(|id| id.0).collect();
        let raw = (host().draft().parameter_gradients())(self.context, scalar.raw(), ids).into_result()?;
        Ok(raw.into_iter().map(gradient).collect())
    }

    /// A named number of this step or stage, kept with the run.
    pub fn metric(&self, name: &str, value: f64) -> Result<()> {
        Ok((host().log().metric())(self.context, Text::borrow(name.as_bytes()), value).into_result()?)
    }
}

/// The stage that runs.
pub struct Stage {
    context: Context,
    raw: RawStage,
    parameters: Parameters,
    registry: Registry,
}

impl Stage {
    pub(crate) fn new(context: Context) -> Result<Stage> {
        let raw = (host().stage().stage())(context).into_result()?;
        Ok(Stage { context, raw, parameters: Parameters::new(context), registry: Registry::new(context) })
    }

    /// Its number in the stream, from 0.
    pub fn index(&self) -> usize {
        self.raw.index as usize
    }

    /// Stages in the stream.
    pub fn count(&self) -> usize {
        self.raw.count as usize
    }

    /// Optimizer steps.
    pub fn steps(&self) -> usize {
        self.raw.steps as usize
    }

    /// Rows of a training batch.
    pub fn batch_size(&self) -> usize {
        self.raw.batch_size as usize
    }

    /// Training samples of this stage.
    pub fn sample_count(&self) -> usize {
        self.raw.samples as usize
    }

    /// The registry, to grow in `before_stage`.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The training samples of this stage. Needs `stage_data`.
    pub fn samples(&self) -> Result<Vec<SampleRef>> {
        let raw = (host().stage().samples())(self.context).into_result()?;
        Ok(raw.into_iter().map(SampleRef).collect())
    }

    /// `count` different samples of this stage, drawn from the named stream. Needs `stage_data`.
    pub fn draw(&self, stream: &str, count: usize) -> Result<Vec<SampleRef>> {
        let samples = self.samples()?;
        let count = count.min(samples.len());
        let places = self.sample(stream, samples.len(), count)?;
        Ok(places.into_iter().map(|place| samples[place]).collect())
    }

    /// A batch of samples that this cell may see: of this stage, or in the replay buffer.
    pub fn batch(&self, samples: &[SampleRef]) -> Result<Batch> {
        let samples = samples.iter().map(|sample| sample.0).collect();
        let number = (host().stage().batch())(self.context, samples).into_result()?;
        Ok(Batch { context: self.context, number })
    }

    /// The replay buffer. Its calls need `replay`.
    pub fn replay(&self) -> ReplayBuffer {
        ReplayBuffer::at(self.context)
    }

    /// The first `count` numbers of a random order of `0..size`, drawn from the named stream.
    pub fn sample(&self, stream: &str, size: usize, count: usize) -> Result<Vec<usize>> {
        let raw = (host().random().sample())(
            self.context,
            Text::borrow(stream.as_bytes()),
            size as u64,
            count as u64,
        )
        .into_result()?;
        Ok(raw.into_iter().map(|place| place as usize).collect())
    }
}

#[cfg(feature = "growth")]
impl Stage {
    /// For tests of the border's growth: the numbers `0..size` in random order.
    ///
    /// # Errors
    /// A host that is older than this service.
    pub fn growth_shuffle(&self, stream: &str, size: usize) -> Result<Vec<usize>> {
        let Some(shuffle) = host().random().growth_shuffle() else {
            return Err(crate::Error::missing("growth_shuffle"));
        };
        let raw = shuffle(self.context, Text::borrow(stream.as_bytes()), size as u64).into_result()?;
        Ok(raw.into_iter().map(|place| place as usize).collect())
    }
}

impl Deref for Stage {
    type Target = Parameters;
    fn deref(&self) -> &Parameters {
        &self.parameters
    }
}

/// A batch of training samples, for importance weights, reference gradients and teachers.
pub struct Batch {
    context: Context,
    number: u64,
}

impl Batch {
    /// Its task loss: scalar, with its graph; dropout off, training streams untouched.
    pub fn loss(&self) -> Result<Tensor> {
        received((host().stage().batch_loss())(self.context, self.number))
    }

    /// Gradients of its task loss for every trainable tensor, not accumulated.
    pub fn gradients(&self) -> Result<Vec<(ParameterId, Tensor)>> {
        let raw = (host().stage().batch_gradients())(self.context, self.number).into_result()?;
        Ok(raw.into_iter().map(gradient).collect())
    }

    /// Its logits at supervised positions `[K, V]`, with their graph.
    pub fn logits(&self) -> Result<Tensor> {
        received((host().stage().batch_logits())(self.context, self.number))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let _given_back = (host().stage().drop_batch())(self.context, self.number);
    }
}

/// A filled slot of the replay buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slot {
    /// Its number, which stays until it is removed.
    pub slot: u64,
    /// The sample in it.
    pub sample: SampleRef,
}

/// The replay buffer: the only way to samples of earlier stages. Its size is the protocol's, its content is reported.
pub struct ReplayBuffer {
    context: Context,
}

impl ReplayBuffer {
    pub(crate) fn at(context: Context) -> ReplayBuffer {
        ReplayBuffer { context }
    }

    /// Samples that the protocol lets it hold now.
    pub fn capacity(&self) -> Result<usize> {
        Ok((host().replay().capacity())(self.context).into_result()? as usize)
    }

    /// Its filled slots, by number.
    pub fn slots(&self) -> Result<Vec<Slot>> {
        let raw = (host().replay().slots())(self.context).into_result()?;
        Ok(raw
            .into_iter()
            .map(|row| Slot { slot: row.slot.cast_unsigned(), sample: SampleRef(row.sample) })
            .collect())
    }

    /// Keeps a sample of this stage.
    ///
    /// # Errors
    /// The buffer is full.
    pub fn add(&self, sample: SampleRef) -> Result<u64> {
        Ok((host().replay().add())(self.context, sample.0).into_result()?)
    }

    /// Forgets a slot and what was stored with it.
    pub fn remove(&self, slot: u64) -> Result<()> {
        Ok((host().replay().remove())(self.context, slot).into_result()?)
    }

    /// Keeps a named tensor with a slot, for example its logits. Its bytes are metered.
    pub fn store(&self, slot: u64, name: &str, value: &Tensor) -> Result<()> {
        Ok((host().replay().store())(self.context, slot, Text::borrow(name.as_bytes()), value.raw())
            .into_result()?)
    }

    /// The named tensor of a slot.
    pub fn stored(&self, slot: u64, name: &str) -> Result<Option<Tensor>> {
        received_optional((host().replay().stored())(self.context, slot, Text::borrow(name.as_bytes())))
    }
}

fn gradient(raw: RawGradient) -> (ParameterId, Tensor) {
    (ParameterId(raw.id), Tensor::owned(raw.value))
}

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is doubtful.
    Warning,
    /// Something worth knowing.
    Information,
    /// Only for looking closely.
    Detail,
}

/// Sends a message to the host's log.
pub fn log(level: Level, message: &str) {
    if crate::tensor::attached() {
        (host().log().message())(level as u32, Text::borrow(message.as_bytes()));
    }
}
