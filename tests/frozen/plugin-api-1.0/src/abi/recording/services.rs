//! The services of the recording host.

use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::RVec;

use super::super::*;
use super::{absent, call, give, ints, number, text};
use crate::error::Error;
use crate::guard::guard;
use crate::testing::operand::Operand;
use crate::testing::world::{World, made_up, mix, uniform, with};

/// A tensor that the test supplied.
fn supplied(name: &'static str) -> ApiResult<RawTensor> {
    call(|world| match world.supplied.get(name) {
        Some(tensor) => Ok(give(world, *tensor)),
        None => Err(Error::new(format!("the test supplies no `{name}`\nhint: Recording::supply"))),
    })
}

fn optional(world: &mut World, tensor: Option<usize>) -> RawTensor {
    tensor.map_or(RawTensor::NONE, |tensor| give(world, tensor))
}

pub(super) fn registry() -> RegistryServicesRef {
    extern "C" fn model(_: Context) -> ApiResult<RawModel> {
        call(|world| Ok(world.model.clone()))
    }
    extern "C" fn sites(_: Context) -> ApiResult<RVec<RawSite>> {
        call(|world| Ok(world.sites.clone().into()))
    }
    extern "C" fn site_weight(_: Context, site: u64) -> ApiResult<RawTensor> {
        call(|world| {
            let Some(found) = world.sites.get(site as usize).cloned() else {
                return Err(Error::new(format!("there is no site {site}")));
            };
            let name = format!("{}.weight", found.path);
            let shape = [found.out_features as i64, found.in_features as i64];
            let values = made_up(&name, (shape[0] * shape[1]) as usize);
            let tensor = world.add(name, &shape, DType::FLOAT, Some(values));
            Ok(give(world, tensor))
        })
    }
    extern "C" fn site_bias(_: Context, _: u64) -> ApiResult<RawTensor> {
        guard(|| Ok(RawTensor::NONE))
    }
    extern "C" fn register(_: Context, spec: RawParameterSpec) -> ApiResult<u64> {
        call(|world| world.register(spec))
    }
    extern "C" fn parameters(_: Context) -> ApiResult<RVec<RawParameterInfo>> {
        call(|world| Ok(world.registered.iter().map(|known| known.info.clone()).collect()))
    }
    extern "C" fn value(_: Context, id: u64) -> ApiResult<RawTensor> {
        call(|world| {
            let tensor = world.parameter(id)?.tensor;
            Ok(give(world, tensor))
        })
    }
    extern "C" fn set_value(_: Context, id: u64, value: RawTensor) -> ApiResult<()> {
        call(|world| {
            let (source, tensor) = (world.entries[number(value)].clone(), world.parameter(id)?.tensor);
            let target = &mut world.entries[tensor];
            if source.shape != target.shape {
                return Err(Error::new(format!("{} gets {}", target.describe(), source.describe())));
            }
            target.values = source.values;
            Ok(())
        })
    }
    extern "C" fn grad(_: Context, id: u64) -> ApiResult<RawTensor> {
        call(|world| {
            let tensor = world.parameter(id)?.gradient;
            Ok(optional(world, tensor))
        })
    }
    extern "C" fn set_grad(_: Context, id: u64, gradient: RawTensor) -> ApiResult<()> {
        call(|world| {
            world.parameter(id)?.gradient = Some(number(gradient));
            Ok(())
        })
    }
    extern "C" fn set_trainable(_: Context, id: u64, trainable: bool) -> ApiResult<()> {
        call(|world| {
            world.parameter(id)?.info.trainable = trainable;
            Ok(())
        })
    }
    extern "C" fn snapshot(_: Context, name: Text) -> ApiResult<()> {
        call(|world| {
            let copies: Vec<_> =
                world.registered.iter().map(|known| world.entries[known.tensor].clone()).collect();
            let first = world.entries.len();
            world.entries.extend(copies);
            world.snapshots.insert(text(name), (first..world.entries.len()).collect());
            Ok(())
        })
    }
    extern "C" fn drop_snapshot(_: Context, name: Text) -> ApiResult<()> {
        call(|world| {
            world.snapshots.remove(&text(name));
            Ok(())
        })
    }
    extern "C" fn snapshot_value(_: Context, name: Text, id: u64) -> ApiResult<RawTensor> {
        call(|world| match world.snapshots.get(&text(name)).and_then(|kept| kept.get(id as usize)) {
            Some(tensor) => Ok(give(world, *tensor)),
            None => Err(Error::new(format!("no snapshot has a value of {id}"))),
        })
    }
    RegistryServices {
        model,
        sites,
        site_weight,
        site_bias,
        register,
        parameters,
        value,
        set_value,
        grad,
        set_grad,
        set_trainable,
        snapshot,
        drop_snapshot,
        snapshot_value,
    }
    .leak_into_prefix()
}

pub(super) fn stage() -> StageServicesRef {
    extern "C" fn stage(_: Context) -> ApiResult<RawStage> {
        call(|world| Ok(world.stage))
    }
    extern "C" fn samples(_: Context) -> ApiResult<RVec<u64>> {
        call(|world| Ok(world.samples.clone().into()))
    }
    extern "C" fn batch(_: Context, samples: RVec<u64>) -> ApiResult<u64> {
        call(|world| {
            if let Some(sample) = samples.iter().find(|sample| {
                !world.samples.contains(sample) && !world.slots.values().any(|held| held == *sample)
            }) {
                return Err(Error::new(format!(
                    "sample {sample} is neither of this stage nor in the buffer"
                )));
            }
            world.batches.push(samples.into());
            Ok(world.batches.len() as u64 - 1)
        })
    }
    extern "C" fn batch_loss(_: Context, _: u64) -> ApiResult<RawTensor> {
        supplied("batch_loss")
    }
    extern "C" fn batch_gradients(_: Context, batch: u64) -> ApiResult<RVec<RawGradient>> {
        call(|world| match world.batches[batch as usize][..] {
            [sample] => {
                let found = world.sample_gradients.get(&sample).cloned().unwrap_or_default();
                Ok(found
                    .into_iter()
                    .map(|(id, tensor)| RawGradient { id, value: give(world, tensor) })
                    .collect())
            }
            _ => Err(Error::new("the recording host has gradients of single samples only")),
        })
    }
    extern "C" fn batch_logits(_: Context, _: u64) -> ApiResult<RawTensor> {
        supplied("batch_logits")
    }
    extern "C" fn drop_batch(_: Context, _: u64) -> ApiResult<()> {
        guard(|| Ok(()))
    }
    extern "C" fn teacher_logits(_: Context, _: Text) -> ApiResult<RawTensor> {
        supplied("teacher_logits")
    }
    StageServices {
        stage,
        samples,
        batch,
        batch_loss,
        batch_gradients,
        batch_logits,
        drop_batch,
        teacher_logits,
    }
    .leak_into_prefix()
}

pub(super) fn step() -> StepServicesRef {
    extern "C" fn step(_: Context) -> ApiResult<RawStep> {
        call(|world| Ok(world.step))
    }
    extern "C" fn attention_mask(_: Context) -> ApiResult<RawTensor> {
        supplied("attention_mask")
    }
    extern "C" fn label_mask(_: Context) -> ApiResult<RawTensor> {
        supplied("label_mask")
    }
    extern "C" fn rows(_: Context) -> ApiResult<RVec<RawRow>> {
        call(|world| Ok((0..world.step.rows).map(|sample| RawRow { sample, slot: -1 }).collect()))
    }
    extern "C" fn logits(_: Context) -> ApiResult<RawTensor> {
        supplied("logits")
    }
    extern "C" fn targets(_: Context) -> ApiResult<RawTensor> {
        supplied("targets")
    }
    extern "C" fn target_rows(_: Context) -> ApiResult<RawTensor> {
        supplied("target_rows")
    }
    extern "C" fn task_loss(_: Context) -> ApiResult<RawTensor> {
        supplied("task_loss")
    }
    extern "C" fn image_features(_: Context) -> ApiResult<RawTensor> {
        supplied("image_features")
    }
    extern "C" fn text_features(_: Context) -> ApiResult<RawTensor> {
        supplied("text_features")
    }
    extern "C" fn image_rows(_: Context) -> ApiResult<RawTensor> {
        supplied("image_rows")
    }
    extern "C" fn row_stages(_: Context) -> ApiResult<RawTensor> {
        supplied("row_stages")
    }
    extern "C" fn task_index(_: Context) -> ApiResult<u64> {
        call(|world| Ok(world.step.stage))
    }
    extern "C" fn add_term(_: Context, name: Text, value: RawTensor) -> ApiResult<()> {
        call(|world| {
            world.terms.push((text(name), number(value)));
            Ok(())
        })
    }
    extern "C" fn count(_: Context, buffer: u64, delta: RawTensor) -> ApiResult<()> {
        call(|world| {
            let (delta, buffer) = (number(delta), world.parameter(buffer)?.tensor);
            let sum = world.operate("add", vec![Operand::Tensor(buffer), Operand::Tensor(delta)])?[0];
            world.entries[buffer].values = world.entries[sum].values.clone();
            Ok(())
        })
    }
    extern "C" fn sequence(_: Context, key: Text) -> ApiResult<RawTensor> {
        call(|world| {
            let tensor = world.sequences.get(&text(key)).copied();
            Ok(optional(world, tensor))
        })
    }
    extern "C" fn set_sequence(_: Context, key: Text, value: RawTensor) -> ApiResult<()> {
        call(|world| {
            world.sequences.insert(text(key), number(value));
            Ok(())
        })
    }
    StepServices {
        step,
        attention_mask,
        label_mask,
        rows,
        logits,
        targets,
        target_rows,
        task_loss,
        image_features,
        text_features,
        image_rows,
        row_stages,
        task_index,
        add_term,
        count,
        sequence,
        set_sequence,
    }
    .leak_into_prefix()
}

pub(super) fn replay() -> ReplayServicesRef {
    extern "C" fn capacity(_: Context) -> ApiResult<u64> {
        call(|world| Ok(world.capacity))
    }
    extern "C" fn slots(_: Context) -> ApiResult<RVec<RawRow>> {
        call(|world| {
            Ok(world
                .slots
                .iter()
                .map(|(slot, sample)| RawRow { sample: *sample, slot: slot.cast_signed() })
                .collect())
        })
    }
    extern "C" fn add(_: Context, sample: u64) -> ApiResult<u64> {
        call(|world| {
            if world.slots.len() as u64 >= world.capacity {
                return Err(Error::new(format!("the replay buffer is full: it holds {}", world.slots.len())));
            }
            if !world.samples.contains(&sample) {
                return Err(Error::new(format!("sample {sample} is not of this stage")));
            }
            let slot = world.next_slot;
            world.next_slot += 1;
            world.slots.insert(slot, sample);
            Ok(slot)
        })
    }
    extern "C" fn remove(_: Context, slot: u64) -> ApiResult<()> {
        call(|world| {
            world.stored.retain(|(of, _), _| *of != slot);
            world.slots.remove(&slot).map(|_| ()).ok_or_else(|| Error::new(format!("slot {slot} is empty")))
        })
    }
    extern "C" fn store(_: Context, slot: u64, name: Text, value: RawTensor) -> ApiResult<()> {
        call(|world| {
            world.stored.insert((slot, text(name)), number(value));
            Ok(())
        })
    }
    extern "C" fn stored(_: Context, slot: u64, name: Text) -> ApiResult<RawTensor> {
        call(|world| {
            let tensor = world.stored.get(&(slot, text(name))).copied();
            Ok(optional(world, tensor))
        })
    }
    ReplayServices { capacity, slots, add, remove, store, stored }.leak_into_prefix()
}

pub(super) fn random() -> RandomServicesRef {
    fn drawn(stream: Text, sizes: Ints, of: fn(u64) -> f64) -> ApiResult<RawTensor> {
        call(|world| {
            let (sizes, seed) = (ints(sizes), world.draw(&text(stream)));
            let values =
                (0..sizes.iter().product::<i64>() as u64).map(|place| of(mix(seed ^ mix(place)))).collect();
            let tensor = world.add(text(stream), &sizes, DType::FLOAT, Some(values));
            Ok(give(world, tensor))
        })
    }
    extern "C" fn uniform_draws(_: Context, stream: Text, sizes: Ints) -> ApiResult<RawTensor> {
        drawn(stream, sizes, uniform)
    }
    extern "C" fn normal(_: Context, stream: Text, sizes: Ints) -> ApiResult<RawTensor> {
        drawn(stream, sizes, |bits| {
            (-2.0 * (1.0 - uniform(bits)).ln()).sqrt() * (std::f64::consts::TAU * uniform(mix(bits))).cos()
        })
    }
    extern "C" fn dropout(
        _: Context,
        stream: Text,
        input: RawTensor,
        probability: f64,
    ) -> ApiResult<RawTensor> {
        call(|world| {
            let tensor = world.dropout(&text(stream), number(input), probability);
            Ok(give(world, tensor))
        })
    }
    extern "C" fn sample(_: Context, stream: Text, size: u64, count: u64) -> ApiResult<RVec<u64>> {
        call(|world| Ok(world.sample(&text(stream), size, count)?.into()))
    }
    #[cfg(feature = "growth")]
    extern "C" fn growth_shuffle(context: Context, stream: Text, size: u64) -> ApiResult<RVec<u64>> {
        sample(context, stream, size, size)
    }
    RandomServices {
        uniform: uniform_draws,
        normal,
        dropout,
        sample,
        #[cfg(feature = "growth")]
        growth_shuffle,
    }
    .leak_into_prefix()
}

pub(super) fn log() -> LogServicesRef {
    extern "C" fn message(_: u32, message: Text) {
        with(|world| world.messages.push(text(message)));
    }
    extern "C" fn metric(_: Context, name: Text, value: f64) -> ApiResult<()> {
        call(|world| {
            world.metrics.push((text(name), value));
            Ok(())
        })
    }
    LogServices { message, metric }.leak_into_prefix()
}

pub(super) fn draft() -> DraftServicesRef {
    extern "C" fn prompt_embeddings(_: Context) -> ApiResult<RawTensor> {
        supplied("prompt_embeddings")
    }
    extern "C" fn parameter_gradients(
        _: Context,
        _: RawTensor,
        _: RVec<u64>,
    ) -> ApiResult<RVec<RawGradient>> {
        absent("parameter_gradients")
    }
    DraftServices { prompt_embeddings, parameter_gradients }.leak_into_prefix()
}
