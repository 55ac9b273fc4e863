//! What the recording host of one thread holds: tensors, the trace, a model, a stage, a replay buffer.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::operand::{Entry, Operand, Operands};
use super::{evaluate, shape};
use crate::abi::{DType, RawInit, RawModel, RawParameterInfo, RawParameterSpec, RawSite, RawStage, RawStep};
use crate::error::{Error, Result};

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::default());
}

/// Works on this thread's world.
pub(crate) fn with<T>(body: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(body)
}

/// A registered tensor.
pub(crate) struct Registered {
    pub(crate) info: RawParameterInfo,
    pub(crate) tensor: usize,
    pub(crate) gradient: Option<usize>,
}

pub(crate) struct World {
    pub(crate) entries: Vec<Entry>,
    pub(crate) trace: Vec<String>,
    results: usize,
    /// Handles given out and not yet given back.
    pub(crate) handles: i64,
    pub(crate) gradients_on: bool,
    pub(crate) model: RawModel,
    pub(crate) sites: Vec<RawSite>,
    pub(crate) registered: Vec<Registered>,
    pub(crate) snapshots: BTreeMap<String, Vec<usize>>,
    pub(crate) stage: RawStage,
    pub(crate) step: RawStep,
    pub(crate) samples: Vec<u64>,
    pub(crate) batches: Vec<Vec<u64>>,
    /// Gradients of single samples, by sample and parameter.
    pub(crate) sample_gradients: BTreeMap<u64, Vec<(u64, usize)>>,
    pub(crate) capacity: u64,
    pub(crate) slots: BTreeMap<u64, u64>,
    pub(crate) next_slot: u64,
    pub(crate) stored: BTreeMap<(u64, String), usize>,
    pub(crate) sequences: BTreeMap<String, usize>,
    /// Answers of the step that the test supplies: `logits`, `targets`, ..
    pub(crate) supplied: BTreeMap<&'static str, usize>,
    pub(crate) terms: Vec<(String, usize)>,
    pub(crate) metrics: Vec<(String, f64)>,
    pub(crate) messages: Vec<String>,
    draws: BTreeMap<String, u64>,
}

impl Default for World {
    fn default() -> World {
        World {
            entries: Vec::new(),
            trace: Vec::new(),
            results: 0,
            handles: 0,
            gradients_on: true,
            model: RawModel {
                hidden_size: 8,
                layers: 1,
                vocabulary: 32,
                image_features: 8,
                text_features: 8,
            },
            sites: Vec::new(),
            registered: Vec::new(),
            snapshots: BTreeMap::new(),
            stage: RawStage { index: 0, count: 2, steps: 10, batch_size: 4, samples: 0 },
            step: RawStep { phase: 0, stage: 0, step: 0, steps: 10, micro_batch: 0, rows: 4 },
            samples: Vec::new(),
            batches: Vec::new(),
            sample_gradients: BTreeMap::new(),
            capacity: 0,
            slots: BTreeMap::new(),
            next_slot: 0,
            stored: BTreeMap::new(),
            sequences: BTreeMap::new(),
            supplied: BTreeMap::new(),
            terms: Vec::new(),
            metrics: Vec::new(),
            messages: Vec::new(),
            draws: BTreeMap::new(),
        }
    }
}

impl World {
    /// Adds a tensor; returns its number.
    pub(crate) fn add(
        &mut self,
        label: String,
        shape: &[i64],
        dtype: DType,
        values: Option<Vec<f64>>,
    ) -> usize {
        self.entries.push(Entry { label, shape: shape.to_vec(), dtype, values });
        self.entries.len() - 1
    }

    /// Runs an operation: checks shapes, computes what is simple, writes a line of the trace.
    pub(crate) fn operate(&mut self, name: &str, items: Vec<Operand>) -> Result<Vec<usize>> {
        let call = Operands { name, entries: &self.entries, items: &items };
        let shapes = shape::infer(&call)?;
        let values = evaluate::evaluate(&call, &shapes);
        let dtype = result_dtype(&call);
        let arguments = call.describe();
        let mut values = values.map(Vec::into_iter);
        let mut numbers = Vec::new();
        for shape in &shapes {
            let known = values.as_mut().and_then(Iterator::next);
            let label = format!("%{}", self.results);
            self.results += 1;
            numbers.push(self.add(label, shape, dtype, known));
        }
        let results: Vec<String> = numbers.iter().map(|number| self.entries[*number].describe()).collect();
        self.trace.push(format!("{} = {name}({arguments})", results.join(", ")));
        Ok(numbers)
    }

    /// The values of a tensor.
    pub(crate) fn values(&self, number: usize) -> Result<&[f64]> {
        let entry = &self.entries[number];
        entry.values.as_deref().ok_or_else(|| {
            Error::new(format!("the recording host does not compute the values of {}", entry.describe()))
        })
    }

    pub(crate) fn register(&mut self, spec: RawParameterSpec) -> Result<u64> {
        let path = usize::try_from(spec.site).ok().map(|site| self.sites[site].path.to_string());
        let name = match path {
            Some(path) => format!("test.{path}.{}", spec.name),
            None => format!("test.{}", spec.name),
        };
        if let Some(known) = self.registered.iter().find(|known| known.info.name == name.as_str()) {
            if known.info.shape == spec.shape {
                return Ok(known.info.id);
            }
            return Err(Error::new(format!(
                "{name} is registered with shape {:?}, not {:?}",
                known.info.shape, spec.shape
            )));
        }
        if spec.shape.iter().any(|size| *size <= 0) {
            return Err(Error::new(format!("{name} has shape {:?}", spec.shape)));
        }
        let count = spec.shape.iter().product::<i64>() as usize;
        let values = initial(&spec.init, &name, count);
        let tensor = self.add(spec.name.to_string(), &spec.shape, DType::FLOAT, Some(values));
        let id = self.registered.len() as u64;
        let info = RawParameterInfo {
            id,
            name: name.into(),
            site: spec.site,
            role: spec.role,
            owner: "test".into(),
            shape: spec.shape,
            trainable: spec.trainable,
        };
        self.registered.push(Registered { info, tensor, gradient: None });
        Ok(id)
    }

    pub(crate) fn parameter(&mut self, id: u64) -> Result<&mut Registered> {
        self.registered
            .get_mut(id as usize)
            .ok_or_else(|| Error::new(format!("no tensor is registered as {id}")))
    }

    /// The state of a generator for the next draw from a stream.
    pub(crate) fn draw(&mut self, stream: &str) -> u64 {
        let calls = self.draws.entry(stream.to_string()).or_default();
        *calls += 1;
        hash(stream) ^ mix(calls.wrapping_add(self.stage.index << 32))
    }

    /// A random order of `0..size`, cut at `count`.
    pub(crate) fn sample(&mut self, stream: &str, size: u64, count: u64) -> Result<Vec<u64>> {
        if count > size {
            return Err(Error::new(format!("sample: {count} of {size}")));
        }
        let seed = self.draw(stream);
        let mut order: Vec<u64> = (0..size).collect();
        order.sort_by_key(|place| mix(seed ^ mix(*place)));
        order.truncate(count as usize);
        Ok(order)
    }

    /// Inverted dropout in the train phase.
    pub(crate) fn dropout(&mut self, stream: &str, input: usize, probability: f64) -> usize {
        if self.step.phase != 0 {
            return input;
        }
        let seed = self.draw(stream);
        let source = self.entries[input].clone();
        let kept = |place: usize| uniform(mix(seed ^ place as u64)) >= probability;
        let values = source.values.as_ref().map(|values| {
            let scaled = values.iter().enumerate();
            scaled.map(|(place, x)| if kept(place) { x / (1.0 - probability) } else { 0.0 }).collect()
        });
        let label = format!("%{}", self.results);
        self.results += 1;
        self.trace.push(format!("{label}{:?} = dropout({}, {probability})", source.shape, source.describe()));
        self.add(label, &source.shape, source.dtype, values)
    }
}

fn result_dtype(call: &Operands<'_>) -> DType {
    match call.name {
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "eq_scalar" | "lt_scalar" | "gt_scalar" | "logical_and"
        | "logical_or" | "logical_not" | "any" | "all" | "is_finite" => DType::BOOL,
        "argmax" | "argmin" | "argsort" | "one_hot" => DType::INT64,
        _ => {
            let stated = call.items.iter().find_map(|item| match item {
                Operand::DType(dtype) => Some(*dtype),
                _ => None,
            });
            stated.or_else(|| call.all_tensors().last().map(|entry| entry.dtype)).unwrap_or(DType::FLOAT)
        }
    }
}

fn initial(init: &RawInit, name: &str, count: usize) -> Vec<f64> {
    let seed = hash(name);
    let draw = |place: usize, turn: u64| uniform(mix(seed ^ mix(2 * place as u64 + turn)));
    let value = |place: usize| match init.kind {
        0 => init.a,
        1 => {
            let radius = (-2.0 * (1.0 - draw(place, 0)).ln()).sqrt();
            init.a + init.b * radius * (std::f64::consts::TAU * draw(place, 1)).cos()
        }
        _ => init.a + (init.b - init.a) * draw(place, 0),
    };
    (0..count).map(value).collect()
}

/// Values for a tensor of a test: in `[-1, 1)`, the same for the same name.
pub(crate) fn made_up(name: &str, count: usize) -> Vec<f64> {
    initial(&RawInit { kind: 2, a: -1.0, b: 1.0 }, name, count)
}

pub(crate) fn uniform(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The mixing function of SplitMix64 (Steele et al. 2014).
pub(crate) fn mix(state: u64) -> u64 {
    let mut bits = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}
