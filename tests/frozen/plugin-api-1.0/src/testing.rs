//! A host for unit tests of plugins, without libtorch: it writes down each operation with the shapes of its arguments, computes the
//! simple ones, and stands in for registry, stage, step, replay buffer and random draws.
//!
//! Each thread has its own, so tests run side by side. In a plugin's `Cargo.toml`:
//!
//! ```toml
//! [dev-dependencies]
//! coin-plugin-api = { version = "1.0.0", features = ["testing"] }
//! ```
//!
//! ```
//! use coin_plugin_api::testing::Recording;
//!
//! let recording = Recording::start();
//! let (x, w) = (recording.tensor("x", &[2, 3]), recording.tensor("w", &[4, 3]));
//! let y = x.linear(&w)?.relu()?;
//! assert_eq!(recording.trace(), "%0[2, 4] = linear(x[2, 3], w[4, 3])\n%1[2, 4] = relu(%0[2, 4])");
//! assert_eq!(y.shape()?, [2, 4]);
//! # Ok::<(), coin_plugin_api::Error>(())
//! ```

mod evaluate;
pub(crate) mod operand;
mod shape;
pub(crate) mod world;

use std::marker::PhantomData;

use crate::abi::recording::{give, host};
use crate::abi::{Context, DType, RawSite, RawStage};
use crate::adapter::Adapter;
use crate::error::Result;
use crate::export::Method;
use crate::registry::{ParameterId, Part, Registry, Site};
use crate::services::{ParameterInfo, Parameters, SampleRef, Slot, Stage};
use crate::step::{PassPhase, Step};
use crate::strategy::{Strategy, Term};
use crate::tensor::Tensor;
use world::{World, made_up, with};

const CONTEXT: Context = Context(0);

/// The table of the recording host, for tests that attach a library themselves.
#[doc(hidden)]
pub fn recording_host() -> crate::abi::HostRef {
    host()
}

/// The recording host of this thread.
pub struct Recording {
    _of_this_thread: PhantomData<*const ()>,
}

impl Recording {
    /// An empty host: no sites, nothing registered, in the train phase of stage 0 of 2, batches of 4 rows.
    pub fn start() -> Recording {
        crate::tensor::attach(host());
        with(|world| *world = World::default());
        Recording { _of_this_thread: PhantomData }
    }

    /// A tensor with values in `[-1, 1)` that follow from its name.
    pub fn tensor(&self, name: &str, sizes: &[i64]) -> Tensor {
        let values = made_up(name, sizes.iter().product::<i64>() as usize);
        with(|world| {
            let tensor = world.add(name.to_string(), sizes, DType::FLOAT, Some(values));
            Tensor::owned(give(world, tensor))
        })
    }

    /// Adds a linear of the language model.
    pub fn add_site(&self, path: &str, in_features: i64, out_features: i64) -> Site {
        let module = path.rsplit('.').next().unwrap_or(path).to_string();
        with(|world| {
            let index = world.sites.len();
            world.sites.push(RawSite {
                index: index as u64,
                path: path.into(),
                module: module.clone().into(),
                part: 0,
                in_features: in_features as u64,
                out_features: out_features as u64,
            });
            Site { index, path: path.to_string(), module, part: Part::Language, in_features, out_features }
        })
    }

    /// The registry, as `build` gets it.
    pub fn registry(&self) -> Registry {
        Registry::new(CONTEXT)
    }

    /// The registered tensors.
    pub fn parameters(&self) -> Parameters {
        Parameters::new(CONTEXT)
    }

    /// The tensors of a site in the order of their registration, as `adapt` gets them.
    pub fn site_parameters(&self, site: &Site) -> Result<Vec<Tensor>> {
        let parameters = self.parameters();
        let here = |info: &ParameterInfo| info.site == Some(site.index);
        parameters.all()?.iter().filter(|info| here(info)).map(|info| parameters.value(info.id)).collect()
    }

    /// A forward pass.
    pub fn step(&self, phase: PassPhase) -> Step {
        with(|world| {
            world.step.phase = match phase {
                PassPhase::Train => 0,
                PassPhase::Prefill => 1,
                PassPhase::Decode => 2,
                PassPhase::Teacher => 3,
                PassPhase::Extra => 4,
            }
        });
        Step::new(CONTEXT)
    }

    /// A stage with these training samples.
    pub fn stage(&self, index: usize, batch_size: usize, samples: &[u64]) -> Result<Stage> {
        with(|world| {
            world.stage = RawStage {
                index: index as u64,
                batch_size: batch_size as u64,
                samples: samples.len() as u64,
                ..world.stage
            };
            world.step.stage = index as u64;
            world.samples = samples.to_vec();
        });
        Stage::new(CONTEXT)
    }

    /// What the protocol lets the replay buffer hold.
    pub fn set_replay_capacity(&self, capacity: usize) {
        with(|world| world.capacity = capacity as u64);
    }

    /// The filled slots of the replay buffer.
    pub fn replay_slots(&self) -> Result<Vec<Slot>> {
        crate::services::ReplayBuffer::at(CONTEXT).slots()
    }

    /// The gradient that a batch of this one sample has for a parameter.
    pub fn set_gradient(&self, sample: SampleRef, parameter: ParameterId, gradient: &Tensor) {
        with(|world| {
            world.sample_gradients.entry(sample.0).or_default().push((parameter.0, gradient.raw().0 - 1));
        });
    }

    /// What a service of the step or of a batch answers: `logits`, `targets`, `target_rows`, `task_loss`, `attention_mask`, `label_mask`,
    /// `image_features`, `text_features`, `image_rows`, `row_stages`, `teacher_logits`, `batch_loss`, `batch_logits`, `prompt_embeddings`.
    pub fn supply(&self, service: &'static str, answer: &Tensor) {
        with(|world| world.supplied.insert(service, answer.raw().0 - 1));
    }

    /// The operations since the last call, a line each: `result[shape] = operation(arguments)`.
    pub fn trace(&self) -> String {
        with(|world| std::mem::take(&mut world.trace)).join("\n")
    }

    /// Handles that the plugin holds: none after a hook has returned.
    pub fn handles(&self) -> i64 {
        with(|world| world.handles)
    }
}

/// The adapter of a method.
///
/// # Panics
/// The method has none.
pub fn adapter(method: &Method) -> &dyn Adapter {
    method.adapter.as_deref().expect("the method has no adapter")
}

/// The strategy of a method.
///
/// # Panics
/// The method has none.
pub fn strategy(method: &mut Method) -> &mut dyn Strategy {
    method.strategy.as_deref_mut().expect("the method has no strategy")
}

/// Name and value of a term.
pub fn term(term: &Term) -> (&str, &Tensor) {
    (&term.name, &term.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(tensor: &Tensor) -> Vec<f32> {
        tensor.to_floats().expect("the values are known")
    }

    #[test]
    fn simple_operations_are_computed_as_pytorch_does() -> Result<()> {
        let _recording = Recording::start();
        let a = Tensor::from_floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
        let row = Tensor::from_floats(&[10.0, 20.0, 30.0], &[3])?;
        assert_eq!(floats(&a.add(&row)?), [11.0, 22.0, 33.0, 14.0, 25.0, 36.0]);
        assert_eq!(floats(&a.matmul(&a.transpose(0, 1)?)?), [14.0, 32.0, 32.0, 77.0]);
        assert_eq!(floats(&a.linear(&a)?), [14.0, 32.0, 32.0, 77.0]);
        assert_eq!(floats(&a.repeat_interleave(2, 0)?.select(1, -1)?), [3.0, 3.0, 6.0, 6.0]);
        assert_eq!(floats(&a.sum(&[0], false)?), [5.0, 7.0, 9.0]);
        assert_eq!(floats(&a.mean(&[1], true)?.expand(&[2, 2])?), [2.0, 2.0, 5.0, 5.0]);
        assert_eq!(floats(&a.permute(&[1, 0])?), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(floats(&Tensor::cat(&[&a, &a], 1)?.narrow(1, 2, 2)?), [3.0, 1.0, 6.0, 4.0]);
        assert_eq!(floats(&Tensor::stack(&[&row, &row], 1)?), [10.0, 10.0, 20.0, 20.0, 30.0, 30.0]);
        assert_eq!(floats(&a.chunk(2, 1)?[1]), [3.0, 6.0]);
        let sum: f32 = floats(&a.softmax(-1)?).iter().sum();
        assert!((sum - 2.0).abs() < 1e-6);
        let blocks = Tensor::arange(0.0, 12.0, 1.0, DType::FLOAT)?.reshape(&[2, 2, 3])?;
        assert_eq!(floats(&blocks.matmul(&row.unsqueeze(1)?)?), [80.0, 260.0, 440.0, 620.0]);
        assert_eq!(a.gt_scalar(2.0)?.dtype()?, DType::BOOL);
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors_with_names_and_shapes() {
        let recording = Recording::start();
        let (x, w) = (recording.tensor("x", &[2, 3]), recording.tensor("w", &[4, 5]));
        let error = x.linear(&w).expect_err("3 is not 5");
        assert_eq!(
            error.message(),
            "linear(x[2, 3], w[4, 5]): the input's last size must be the weight's last size"
        );
        for result in [
            x.matmul(&w),
            x.add(&w),
            x.reshape(&[4]),
            x.narrow(0, 1, 2),
            x.transpose(0, 2),
            Tensor::cat(&[&x, &w], 0),
        ] {
            assert!(result.is_err());
        }
        assert!(Tensor::from_floats(&[1.0], &[2]).is_err());
    }

    #[test]
    fn what_is_not_computed_still_has_a_shape() -> Result<()> {
        let recording = Recording::start();
        let (u, s, v) = recording.tensor("x", &[5, 3]).svd()?;
        assert_eq!((u.shape()?, s.shape()?, v.shape()?), (vec![5, 3], vec![3], vec![3, 3]));
        assert!(s.mul_scalar(2.0)?.to_floats().is_err());
        assert_eq!(recording.tensor("y", &[4, 7]).topk(2, -1, true)?.1.shape()?, [4, 2]);
        Ok(())
    }

    #[test]
    fn handles_are_counted_and_draws_repeat() -> Result<()> {
        let recording = Recording::start();
        let x = recording.tensor("x", &[2]);
        let copy = x.clone();
        assert_eq!(recording.handles(), 2);
        drop((x, copy));
        assert_eq!(recording.handles(), 0);
        let stage = recording.stage(0, 4, &[1, 2, 3, 4, 5])?;
        let (first, second) = (stage.draw("a", 3)?, stage.draw("a", 3)?);
        assert_ne!(first, second);
        let recording = Recording::start();
        assert_eq!(recording.stage(0, 4, &[1, 2, 3, 4, 5])?.draw("a", 3)?, first);
        Ok(())
    }
}
