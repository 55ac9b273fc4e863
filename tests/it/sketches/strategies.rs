//! Methods that change training, over LoRA: the formulas of their papers.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use tch::{Kind, Tensor};

use super::formula::{Buffer, Gradients, Logits, Part, Rows, Training, Values, part};
use super::methods::{EProj, Lora};
use super::native::compare;

fn alone_and_with_ewc(stack: &str, training: impl Fn() -> Box<dyn Training>) {
    let stack = format!("{}, {stack}", Lora::STACK);
    compare(&stack, &[&Lora], vec![training()]);
    compare(&format!("{stack}, {}", Ewc::STACK), &[&Lora], vec![training(), Box::new(Ewc::default())]);
}

/// Kirkpatrick et al. 2017: `lambda / 2 * sum F (w - a)^2`, with the mean square of single samples' gradients as `F`.
#[derive(Default)]
pub(super) struct Ewc {
    /// Fisher information and anchor.
    weights: BTreeMap<String, (Tensor, Tensor)>,
}

impl Ewc {
    pub(super) const STACK: &str = "{ plugin = \"ewc\", lambda = 20.0, samples = 100 }";
}

impl Training for Ewc {
    fn parts(&self, rows: &Rows, _logits: &Tensor, _buffer: &Buffer, _teacher: &Logits) -> Vec<Part> {
        let penalty = |(name, (fisher, anchor)): (&String, &(Tensor, Tensor))| {
            ((rows.value(name) - anchor).square() * fisher).sum(Kind::Float)
        };
        let penalties: Vec<Tensor> = self.weights.iter().map(penalty).collect();
        if penalties.is_empty() {
            return Vec::new();
        }
        vec![part("ewc", Tensor::stack(&penalties, 0).sum(Kind::Float) * 10.0)]
    }

    fn end(&mut self, samples: &[u64], values: &Values, of: &Gradients) {
        for sample in samples {
            for (name, gradient) in of(&[*sample]) {
                let fresh = || (gradient.zeros_like(), values[&name].detach().copy());
                let (fisher, _) = self.weights.entry(name.clone()).or_insert_with(fresh);
                *fisher = &*fisher + gradient.square() / samples.len() as f64;
            }
        }
    }
}

/// Li and Hoiem 2016: the cross-entropy between cooled answers of teacher and student.
#[derive(Default)]
struct Lwf {
    teacher: Option<Values>,
}

impl Training for Lwf {
    fn begin(&mut self, stage: usize, values: &Values) {
        if stage > 0 {
            self.teacher =
                Some(values.iter().map(|(name, value)| (name.clone(), value.detach().copy())).collect());
        }
    }

    fn parts(&self, _rows: &Rows, logits: &Tensor, _buffer: &Buffer, teacher: &Logits) -> Vec<Part> {
        let Some(values) = &self.teacher else { return Vec::new() };
        // (p^(1/T)) / sum p^(1/T), as equation 3 has it.
        let cooled = |logits: &Tensor| {
            let powers = logits.softmax(-1, Kind::Float).sqrt();
            &powers / powers.sum_dim_intlist(-1, true, Kind::Float)
        };
        let cross = (cooled(&teacher(values)) * cooled(logits).log()).sum_dim_intlist(-1, false, Kind::Float);
        vec![part("lwf", -cross.mean(Kind::Float) * 1.5)]
    }
}

#[test]
fn lwf() {
    alone_and_with_ewc("{ plugin = \"lwf\", lambda = 1.5 }", || Box::new(Lwf::default()));
}

#[test]
fn ewc() {
    let stack = format!("{}, {}", Lora::STACK, Ewc::STACK);
    compare(&stack, &[&Lora], vec![Box::new(Ewc::default())]);
    let stack = format!("{stack}, {{ plugin = \"lwf\", lambda = 1.5 }}");
    compare(&stack, &[&Lora], vec![Box::new(Ewc::default()), Box::new(Lwf::default())]);
}

/// Chaudhry et al. 2019, equation 11.
#[derive(Default)]
struct AGem {
    projected: usize,
    kept: usize,
}

impl Training for AGem {
    fn project(&mut self, mut gradients: Values, buffer: &Buffer, of: &Gradients) -> Values {
        if buffer.is_empty() {
            return gradients;
        }
        let samples: Vec<u64> = buffer.values().map(|slot| slot.sample).collect();
        let reference = of(&samples);
        let flat = |values: &Values| {
            Tensor::cat(&values.values().map(|value| value.flatten(0, -1)).collect::<Vec<_>>(), 0)
        };
        let (g, r) = (flat(&gradients), flat(&reference));
        let product = g.dot(&r).double_value(&[]);
        if product >= 0.0 {
            self.kept += 1;
            return gradients;
        }
        self.projected += 1;
        let share = product / r.dot(&r).double_value(&[]);
        for (name, gradient) in &mut gradients {
            *gradient = &*gradient - &reference[name] * share;
        }
        // What is left does not lead away from the memory.
        assert!(flat(&gradients).dot(&r).double_value(&[]).abs() < 1e-4 * product.abs());
        gradients
    }

    fn finish(&self) {
        assert!(self.projected > 0, "no step was projected, {} were kept", self.kept);
    }
}

#[test]
fn a_gem() {
    alone_and_with_ewc("{ plugin = \"a-gem\" }", || Box::new(AGem::default()));
}

/// Buzzega et al. 2020, equation 6.
#[derive(Default)]
struct DerPlusPlus {
    /// Slots whose logits were those of the batch that they came from.
    known: BTreeSet<u64>,
    replayed: Cell<usize>,
}

impl DerPlusPlus {
    const ROWS: usize = 3;
    const STACK: &str = "{ plugin = \"der-plus-plus\", alpha = 0.25, beta = 0.75, rows_per_batch = 3 }";
}

impl Training for DerPlusPlus {
    fn compose(&self, mut samples: Vec<u64>, buffer: &Buffer) -> (Vec<u64>, Vec<usize>) {
        let mut held: Vec<u64> = buffer.values().map(|slot| slot.sample).collect();
        held.retain(|sample| !samples.contains(sample));
        // Were there more, the plugin would draw some.
        assert!(held.len() <= DerPlusPlus::ROWS);
        let first = samples.len() - held.len();
        samples.splice(first.., held);
        let replayed = (first..samples.len()).collect();
        (samples, replayed)
    }

    fn parts(&self, rows: &Rows, logits: &Tensor, buffer: &Buffer, _teacher: &Logits) -> Vec<Part> {
        let fresh: Vec<usize> =
            (0..rows.batch.samples.len()).filter(|row| !rows.replayed.contains(row)).collect();
        let loss = |rows: &Rows, of: &[usize]| {
            let tokens = rows.tokens(of);
            logits
                .index_select(0, &tokens)
                .cross_entropy_for_logits(&rows.batch.targets.index_select(0, &tokens))
        };
        let mut parts = vec![Part { name: "fresh", value: loss(rows, &fresh), replaces: true }];
        if rows.replayed.is_empty() {
            return parts;
        }
        self.replayed.set(self.replayed.get() + rows.replayed.len());
        let stored = |row: &usize| {
            let slot = buffer.values().find(|slot| slot.sample == rows.batch.samples[*row]);
            slot.expect("held").stored["logits"].shallow_clone()
        };
        let stored = Tensor::cat(&rows.replayed.iter().map(stored).collect::<Vec<_>>(), 0);
        let now = logits.index_select(0, &rows.tokens(&rows.replayed));
        parts.push(part("logits", (now - stored).square().mean(Kind::Float) * 0.25));
        parts.push(part("labels", loss(rows, &rows.replayed) * 0.75));
        parts
    }

    fn look(&mut self, rows: &Rows, logits: &Tensor, buffer: &Buffer) {
        for (number, slot) in buffer {
            if self.known.insert(*number) {
                let row = rows.batch.samples.iter().position(|sample| *sample == slot.sample);
                let given = logits.index_select(0, &rows.tokens(&[row.expect("a row of the batch")]));
                let largest = |tensor: Tensor| tensor.abs().max().double_value(&[]);
                let distance = largest(&slot.stored["logits"] - &given) / largest(given);
                assert!(distance < 2e-6, "logits of slot {number} are {distance} from those of the batch");
            }
        }
    }

    fn finish(&self) {
        assert!(self.replayed.get() > DerPlusPlus::ROWS, "rows were replayed more than once");
    }
}

#[test]
fn der_plus_plus() {
    alone_and_with_ewc(DerPlusPlus::STACK, || Box::new(DerPlusPlus::default()));
}

/// Rows of several stages in one batch.
#[test]
fn replayed_rows_have_the_projector_of_their_own_stage() {
    let stack = format!("{}, {}", EProj::STACK, DerPlusPlus::STACK);
    compare(&stack, &[&EProj], vec![Box::new(EProj), Box::new(DerPlusPlus::default())]);
}
