//! Training by formulas with tch, beside the training of a cell by plugins: the same batches, the same numbers.

use std::collections::BTreeMap;

use anyhow::Result;
use coin_host::data::collate::TrainingBatch;
use coin_host::model::{LinearHook, Phase, Prefix, Site};
use coin_host::train::cell::Cell;
use coin_host::train::stage::{self, Running};
use tch::{Tensor, no_grad};

use super::formula::{Buffer, Model, Rows, Training, Values};
use super::stream::{self, EPSILON, LEARNING_RATE, STEPS};

/// Of losses and terms, relative to the larger of the value and 1.
const LOSS_TOLERANCE: f64 = 1e-5;
/// Of every trained value after each step.
const VALUE_TOLERANCE: f64 = 1e-5;

/// The model as formulas make it.
struct Hook<'a> {
    rows: &'a Rows<'a>,
    models: &'a [&'a dyn Model],
}

impl LinearHook for Hook<'_> {
    fn linear(&self, site: &Site, weight: &Tensor, bias: Option<&Tensor>, input: &Tensor) -> Result<Tensor> {
        let own = |kind: &str| self.rows.values.get(&format!("host.{}.{kind}", site.path));
        let output = input.linear(own("weight").unwrap_or(weight), own("bias").or(bias));
        Ok(self.models.iter().fold(output, |output, model| model.site(self.rows, site, input, output)))
    }

    fn prefix(&self) -> Result<Option<Prefix>> {
        Ok(self.models.iter().find_map(|model| model.prefix(self.rows)))
    }
}

/// A cell's model under values of our own.
struct Native<'a> {
    cell: &'a Cell<'a>,
    models: &'a [&'a dyn Model],
}

impl Native<'_> {
    fn logits(&self, batch: &TrainingBatch, values: &Values) -> Tensor {
        let rows = Rows::new(self.cell, batch, values, Vec::new());
        let hook = Hook { rows: &rows, models: self.models };
        let (backbone, pad) = (self.cell.world.backbone, self.cell.world.pad_token());
        let hidden = match backbone.with_prefix(&batch.input, Phase::Train, &hook, pad).expect("shapes fit") {
            None => backbone.hidden_at(&batch.input, &batch.positions, &hook, None),
            Some((input, shift)) => {
                let tokens: Vec<i64> = batch.positions.iter().map(|&token| shift.token(token)).collect();
                backbone.hidden_at(&input, &tokens, &hook, None)
            }
        };
        backbone.logits(&hidden.expect("shapes fit")).expect("shapes fit")
    }

    /// Of the task loss on samples.
    fn gradients(&self, samples: &[u64], values: &Values) -> Values {
        let batch = self.cell.batch(samples).expect("samples of the stream");
        gradients(&self.logits(&batch, values).cross_entropy_for_logits(&batch.targets), values)
    }
}

/// Gradients of a scalar for the values that are trained; zero where none arrives.
fn gradients(loss: &Tensor, values: &Values) -> Values {
    let trained = || values.iter().filter(|(_, value)| value.requires_grad());
    for (_, value) in trained() {
        let gradient = value.grad();
        if gradient.defined() {
            let _zero = gradient.detach().zero_();
        }
    }
    // Nothing is trained on a batch without pictures where only the projector is.
    if loss.requires_grad() {
        loss.backward();
    }
    let gradient = |value: &Tensor| match value.grad() {
        gradient if gradient.defined() => gradient.detach().copy(),
        _ => value.detach().zeros_like(),
    };
    trained().map(|(name, value)| (name.clone(), gradient(value))).collect()
}

/// AdamW without decay (Loshchilov and Hutter 2019).
#[derive(Default)]
struct Adam {
    steps: i32,
    moments: BTreeMap<String, (Tensor, Tensor)>,
}

impl Adam {
    fn step(&mut self, values: &mut Values, gradients: &Values) {
        self.steps += 1;
        for (name, gradient) in gradients {
            let zeros = || (gradient.zeros_like(), gradient.zeros_like());
            let (first, second) = self.moments.entry(name.clone()).or_insert_with(zeros);
            *first = &*first * 0.9 + gradient * 0.1;
            *second = &*second * 0.999 + gradient.square() * 0.001;
            let mean = &*first / (1.0 - 0.9f64.powi(self.steps));
            let variance = &*second / (1.0 - 0.999f64.powi(self.steps));
            let update = mean / (variance.sqrt() + EPSILON) * LEARNING_RATE;
            let value = values.get_mut(name).expect("a trained value");
            no_grad(|| value.f_sub_(&update).map(|_| ())).expect("the same shape");
        }
    }
}

/// Takes over what was registered since, away from where it starts so that no part of a formula is zero, and what is frozen by now.
fn take_over(cell: &Cell, values: &mut Values) {
    let parameters = cell.parameters.borrow();
    for (id, parameter) in parameters.list().iter().enumerate().filter(|(_, parameter)| !parameter.buffer) {
        let value = match values.get(&parameter.name) {
            Some(known) => known.detach().copy(),
            None if parameter.entry.is_none() => parameter.tensor.detach().copy(),
            None => {
                let value =
                    crate::moelora::leaf(&parameter.tensor.size(), 1_000_003 * id as u64).detach() * 0.2;
                parameters.set_value(id as u64, &value).expect("the same shape");
                value
            }
        };
        values.insert(parameter.name.clone(), value.set_requires_grad(parameter.trainable));
    }
}

/// What a step should be.
struct Expected {
    batch: TrainingBatch,
    replayed: Vec<usize>,
    logits: Tensor,
    task_loss: f64,
    parts: BTreeMap<String, f64>,
}

fn step(
    native: &Native,
    training: &mut [Box<dyn Training>],
    running: &Running,
    values: &mut Values,
    adam: &mut Adam,
    number: usize,
) -> Result<Expected> {
    let cell = native.cell;
    let (replay, fresh) = (cell.replay.borrow(), running.plan.batch(cell, number, 0)?);
    let buffer: &Buffer = replay.slots().0;
    let (mut samples, mut replayed) = (fresh, Vec::new());
    for one in training.iter() {
        let (chosen, rows) = one.compose(samples, buffer);
        (samples, replayed) = (chosen, [replayed, rows].concat());
    }
    let batch = cell.batch(&samples)?;
    let logits = native.logits(&batch, values);
    let task_loss = logits.cross_entropy_for_logits(&batch.targets);
    let rows = Rows::new(cell, &batch, values, replayed.clone());
    let teacher = |other: &Values| no_grad(|| native.logits(&batch, other));
    let parts: Vec<_> = training.iter().flat_map(|one| one.parts(&rows, &logits, buffer, &teacher)).collect();
    let mut loss = task_loss.shallow_clone();
    if parts.iter().any(|part| part.replaces) {
        loss = loss.zeros_like();
    }
    let loss = parts.iter().fold(loss, |sum, part| sum + &part.value);
    let value_of = |tensor: &Tensor| tensor.double_value(&[]);
    let (task_loss, parts) =
        (value_of(&task_loss), parts.iter().map(|part| (part.name.into(), value_of(&part.value))).collect());
    let mut found = gradients(&loss, values);
    for one in training.iter_mut() {
        found = one.project(found, buffer, &|samples| native.gradients(samples, values));
    }
    if let Some((steps, part)) = training.iter().find_map(|one| one.first_phase()) {
        if number < steps {
            found.retain(|name, _| name.contains(part));
        } else if number == steps {
            *adam = Adam::default();
        }
    }
    adam.step(values, &found);
    Ok(Expected { batch, replayed, logits: logits.detach(), task_loss, parts })
}

fn close(found: f64, expected: f64, what: &str) {
    let distance = (found - expected).abs() / expected.abs().max(1.0);
    assert!(distance < LOSS_TOLERANCE, "{what}: {found}, by its formula {expected}");
}

/// Asserts that the step has led both to the same values, and lets the next begin from the very same.
fn same_values(cell: &Cell, values: &mut Values, at: &str) {
    for parameter in cell.parameters.borrow().list().iter().filter(|parameter| !parameter.buffer) {
        let value = values.get_mut(&parameter.name).expect("taken over");
        let distance = (&parameter.tensor - &*value).abs().max().double_value(&[]);
        assert!(distance < VALUE_TOLERANCE, "{at}: {} is {distance} from its formula", parameter.name);
        no_grad(|| value.copy_(&parameter.tensor));
    }
}

/// Trains two stages by the plugins of a stack and by formulas, and asserts that losses, terms and every trained value agree at each
/// step.
pub(super) fn compare(stack: &str, models: &[&dyn Model], mut training: Vec<Box<dyn Training>>) {
    stream::with_world(stack, &[], |world, entries, shelf| {
        let (cell, mut strategies) = stream::cell(world, entries, shelf)?;
        let native = Native { cell: &cell, models };
        let mut values = Values::new();
        for number in 0..cell.stages.len() {
            let mut running = stage::begin(&cell, &mut strategies, number)?;
            take_over(&cell, &mut values);
            training.iter_mut().for_each(|one| one.begin(number, &values));
            let mut adam = Adam::default();
            for at_step in 0..STEPS {
                let at = format!("{stack}, stage {number}, step {at_step}");
                let expected = step(&native, &mut training, &running, &mut values, &mut adam, at_step)?;
                let report = stage::step(&cell, &mut strategies, &mut running)?;
                close(report.task_loss, expected.task_loss, &format!("{at}, task loss"));
                let terms: BTreeMap<String, f64> = report.terms.into_iter().collect();
                assert!(terms.keys().eq(expected.parts.keys()), "{at}: {terms:?}, not {:?}", expected.parts);
                for (name, value) in &terms {
                    close(*value, expected.parts[name], &format!("{at}, term {name}"));
                }
                same_values(&cell, &mut values, &at);
                let (replay, rows) =
                    (cell.replay.borrow(), Rows::new(&cell, &expected.batch, &values, expected.replayed));
                training.iter_mut().for_each(|one| one.look(&rows, &expected.logits, replay.slots().0));
            }
            stage::end(&cell, &mut strategies)?;
            let samples = cell.stage_samples()?;
            for one in &mut training {
                one.end(&samples, &values, &|samples| native.gradients(samples, &values));
            }
        }
        training.iter().for_each(|one| one.finish());
        Ok(())
    });
}
