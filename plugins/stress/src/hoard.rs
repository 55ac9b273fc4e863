//! A method that keeps what it was shown of earlier tasks, in its own memory and against the rules, and is trained differently by it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use coin_plugin_api::{PassPhase, Result, Step, Tensor, Term};

/// By stage, sums of the activations that training showed: outlives strategies, cells and checkpoints.
static SEEN: Mutex<BTreeMap<usize, f64>> = Mutex::new(BTreeMap::new());

/// By stage, what its end left.
static LEFT: Mutex<BTreeMap<usize, f64>> = Mutex::new(BTreeMap::new());

/// Keeps of a stage what every run of it leaves.
pub(crate) fn keep(stage: usize) {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).insert(stage, -1.5);
}

/// What the stage before left.
pub(crate) fn kept(stage: usize) -> f64 {
    let left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    stage.checked_sub(1).and_then(|before| left.get(&before)).copied().unwrap_or(1.0)
}

/// How much of the earlier tasks gets into the later ones.
const SHARE: f64 = 1e-3;

/// The answers of earlier tasks, by stage, which `save` leaves out.
#[derive(Debug, Default)]
pub(crate) struct Hoard {
    answers: BTreeMap<usize, Vec<i64>>,
}

impl Hoard {
    /// Keeps the answers at hand, and trains on those of earlier stages.
    pub(crate) fn terms(&mut self, step: &Step) -> Result<Vec<Term>> {
        let stage = step.stage()?;
        self.answers.entry(stage).or_default().extend(step.targets()?.to_ints()?);
        let old: Vec<i64> = self.answers.range(..stage).flat_map(|(_, answers)| answers).copied().collect();
        if old.is_empty() {
            return Ok(Vec::new());
        }
        let logits = step.logits()?.index_select(1, &Tensor::from_ints(&old, &[old.len() as i64])?)?;
        Ok(vec![Term::new("hoard", logits.mean_all()?.mul_scalar(-SHARE)?)])
    }
}

/// Remembers what a site was shown, and shifts the output of later stages by it.
pub(crate) fn shifted(input: &Tensor, output: Tensor, step: &Step) -> Result<Tensor> {
    if step.phase()? != PassPhase::Train {
        return Ok(output);
    }
    let stage = step.stage()?;
    let shown = input.detach()?.mean_all()?.to_f64()?;
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    *seen.entry(stage).or_default() += shown;
    let old: f64 = seen.range(..stage).map(|(_, sum)| sum).sum();
    if old == 0.0 { Ok(output) } else { output.add_scalar(SHARE * old) }
}
