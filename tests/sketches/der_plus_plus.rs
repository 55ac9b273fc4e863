//! DER++, dark experience replay (Buzzega et al. 2020, arXiv 2004.07211): a reservoir of samples with the logits that the model gave when
//! it saw them. Equation 6, with means over tokens, and over tokens and vocabulary:
//!
//! ```text
//! L = cross-entropy(fresh rows) + alpha * mean of (logits - stored logits)^2 + beta * cross-entropy(replayed rows)
//! ```
//!
//! The paper draws two sets of samples beyond the batch, one for each term; here one set, in place of fresh rows, has both terms.

use coin_plugin_api::{
    Method, Phase, Registry, Result, Row, SampleRef, Stage, Step, Strategy, Tensor, Term, ensure,
    export_plugin, state,
};
use serde::{Deserialize, Serialize};

const LOGITS: &str = "logits";

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    alpha: f64,
    beta: f64,
    /// Rows of a batch that are replayed.
    rows_per_batch: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { alpha: 0.5, beta: 0.5, rows_per_batch: 8 }
    }
}

#[derive(Serialize, Deserialize)]
struct DerPlusPlus {
    /// Fresh rows so far.
    seen: usize,
    config: Config,
}

fn build(config: Config, _registry: &Registry) -> Result<Method> {
    Ok(Method::strategy(DerPlusPlus { seen: 0, config }))
}

impl Strategy for DerPlusPlus {
    fn before_stage(&mut self, stage: &Stage) -> Result<Vec<Phase>> {
        let rows = self.config.rows_per_batch;
        ensure!(rows < stage.batch_size(), "rows_per_batch = {rows} leaves no fresh row");
        ensure!(stage.replay().capacity()? > 0, "no replay\nhint: set protocol.replay_samples_per_task");
        Ok(Vec::new())
    }

    fn compose_batch(&mut self, fresh: &[SampleRef], stage: &Stage) -> Result<Vec<SampleRef>> {
        let mut slots = stage.replay().slots()?;
        slots.retain(|slot| !fresh.contains(&slot.sample));
        let rows = self.config.rows_per_batch.min(slots.len());
        let drawn = stage.sample("rows", slots.len(), rows)?.into_iter().map(|place| slots[place].sample);
        Ok(fresh[..fresh.len() - rows].iter().copied().chain(drawn).collect())
    }

    fn loss(&mut self, step: &Step) -> Result<Vec<Term>> {
        let (logits, targets, owners) = (step.logits()?, step.targets()?, step.target_rows()?.to_ints()?);
        let (mut fresh, mut replayed, mut stored) = (Vec::new(), Vec::new(), Vec::new());
        let rows = step.rows()?;
        for (number, row) in rows.iter().enumerate() {
            let tokens = (0..owners.len() as i64).filter(|token| owners[*token as usize] == number as i64);
            match row.slot.map(|slot| step.replay().stored(slot, LOGITS)).transpose()?.flatten() {
                Some(logits) => {
                    replayed.extend(tokens);
                    stored.push(logits);
                }
                None => fresh.push((row, tokens.collect::<Vec<i64>>())),
            }
        }
        let of = |tensor: &Tensor, tokens: &[i64]| {
            tensor.index_select(0, &Tensor::from_ints(tokens, &[tokens.len() as i64])?)
        };
        let loss = |tokens: &[i64]| of(&logits, tokens)?.cross_entropy(&of(&targets, tokens)?, -100);
        let all: Vec<i64> = fresh.iter().flat_map(|(_, tokens)| tokens).copied().collect();
        let mut terms = vec![Term::replacing_task_loss("fresh", loss(&all)?)];
        if !stored.is_empty() {
            let stored = Tensor::cat(&stored.iter().collect::<Vec<_>>(), 0)?;
            let distance = of(&logits, &replayed)?.mse_loss(&stored)?;
            terms.push(Term::new("logits", distance.mul_scalar(self.config.alpha)?));
            terms.push(Term::new("labels", loss(&replayed)?.mul_scalar(self.config.beta)?));
        }
        let draws = step.uniform("reservoir", &[rows.len() as i64])?.to_floats()?;
        for ((row, tokens), draw) in fresh.iter().zip(draws) {
            self.keep(step, row, draw, &of(&logits, tokens)?)?;
        }
        Ok(terms)
    }

    fn save(&self) -> Result<Vec<u8>> {
        state::to_bytes(self)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<()> {
        *self = state::from_bytes(bytes)?;
        Ok(())
    }
}

impl DerPlusPlus {
    /// Vitter's reservoir: the `n`-th row stays with probability `capacity / n`, in the place of any other.
    fn keep(&mut self, step: &Step, row: &Row, draw: f32, logits: &Tensor) -> Result<()> {
        let (memory, slots) = (step.replay(), step.replay().slots()?);
        self.seen += 1;
        if slots.iter().any(|slot| slot.sample == row.sample) {
            return Ok(());
        }
        if slots.len() >= memory.capacity()? {
            let place = (f64::from(draw) * self.seen as f64) as usize;
            let Some(slot) = slots.get(place) else { return Ok(()) };
            memory.remove(slot.slot)?;
        }
        memory.store(memory.add(row.sample)?, LOGITS, logits)
    }
}

export_plugin! { name: "der-plus-plus", method: build, needs: [Replay, ReplacesTaskLoss] }
