//! The strategy: fills the buffer after each stage and mixes it into the batches of later ones.

use std::collections::BTreeMap;

use coin_plugin_api::{Method, Registry, Result, SampleRef, Stage, Strategy, ensure, state};
use serde::{Deserialize, Serialize};

use crate::buffer;
use crate::config::{Config, Policy};

struct Replay {
    config: Config,
    state: State,
}

/// What the host's buffer does not tell.
#[derive(Default, Serialize, Deserialize)]
struct State {
    /// Training samples of all stages so far.
    seen: usize,
    /// The stage that each filled slot is from.
    slots: Vec<(u64, usize)>,
}

pub(crate) fn build(config: Config, _registry: &Registry) -> Result<Method> {
    config.check()?;
    Ok(Method::strategy(Replay { config, state: State::default() }))
}

impl Strategy for Replay {
    fn before_stage(&mut self, stage: &Stage) -> Result<Vec<coin_plugin_api::Phase>> {
        let (rows, batch) = (self.config.rows_per_batch, stage.batch_size());
        ensure!(
            rows < batch,
            "rows_per_batch = {rows} leaves no row for new samples in batches of {batch}\nhint: a quarter of batch_size is common"
        );
        Ok(Vec::new())
    }

    fn compose_batch(&mut self, fresh: &[SampleRef], stage: &Stage) -> Result<Vec<SampleRef>> {
        let mut batch = fresh.to_vec();
        if stage.index() == 0 {
            return Ok(batch);
        }
        let slots = stage.replay().slots()?;
        let rows = self.config.rows_per_batch.min(slots.len()).min(batch.len());
        let first = batch.len() - rows;
        let drawn = stage.sample("replay.rows", slots.len(), rows)?;
        for (row, place) in batch[first..].iter_mut().zip(drawn) {
            *row = slots[place].sample;
        }
        Ok(batch)
    }

    fn after_stage(&mut self, stage: &Stage) -> Result<()> {
        let held = stage.replay();
        let (capacity, slots, samples) = (held.capacity()?, held.slots()?, stage.samples()?);
        ensure!(capacity > 0, "the protocol grants no replay\nhint: set protocol.replay_samples_per_task");
        let seen = self.state.seen;
        let mut stages: BTreeMap<u64, usize> = self.state.slots.iter().copied().collect();
        let slots: Vec<u64> = stage
            .sample("replay.evict", slots.len(), slots.len())?
            .into_iter()
            .map(|i| slots[i].slot)
            .collect();
        let change = match self.config.policy {
            Policy::Reservoir => {
                let total = seen + samples.len();
                buffer::reservoir(&slots, seen, capacity, &stage.sample("replay.keep", total, total)?)
            }
            Policy::Random => {
                let order = stage.sample("replay.keep", samples.len(), samples.len().min(capacity))?;
                buffer::even(&slots, &stages, stage.index(), capacity, &order)
            }
        };
        for slot in change.remove {
            held.remove(slot)?;
            stages.remove(&slot);
        }
        for place in change.add {
            stages.insert(held.add(samples[place])?, stage.index());
        }
        self.state = State { seen: seen + samples.len(), slots: stages.into_iter().collect() };
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>> {
        state::to_bytes(&self.state)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<()> {
        self.state = state::from_bytes(bytes)?;
        Ok(())
    }
}
