//! The strategy: fills the buffer after each stage and mixes it into the batches of later ones.

use std::collections::BTreeMap;

use coin_plugin_api::{Method, Phase, Registry, Result, SampleRef, Stage, Strategy, ensure, state};
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
    fn before_stage(&mut self, stage: &Stage) -> Result<Vec<Phase>> {
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

#[cfg(test)]
mod tests {
    use coin_plugin_api::testing::{Recording, strategy};

    use super::*;

    fn started(policy: Policy) -> (Recording, Method) {
        let recording = Recording::start();
        let method =
            build(Config { policy, rows_per_batch: 3 }, &recording.registry()).expect("a good configuration");
        (recording, method)
    }

    /// Samples `100 * index ..` of a stage.
    fn samples(index: usize, count: u64) -> Vec<u64> {
        (0..count).map(|sample| 100 * index as u64 + sample).collect()
    }

    fn run_stage(recording: &Recording, method: &mut Method, index: usize, count: u64) -> Result<()> {
        let stage = recording.stage(index, 8, &samples(index, count))?;
        strategy(method).before_stage(&stage)?;
        strategy(method).after_stage(&stage)
    }

    fn held_of(recording: &Recording, index: u64) -> Result<usize> {
        Ok(recording.replay_slots()?.iter().filter(|slot| slot.sample.0 / 100 == index).count())
    }

    #[test]
    fn each_batch_of_a_later_stage_has_rows_of_earlier_ones() -> Result<()> {
        let (recording, mut method) = started(Policy::Random);
        recording.set_replay_capacity(5);
        let fresh: Vec<SampleRef> = (0..8).map(SampleRef).collect();
        let stage = recording.stage(0, 8, &samples(0, 20))?;
        assert_eq!(strategy(&mut method).compose_batch(&fresh, &stage)?, fresh);
        run_stage(&recording, &mut method, 0, 20)?;
        let fresh: Vec<SampleRef> = (100..108).map(SampleRef).collect();
        let stage = recording.stage(1, 8, &samples(1, 20))?;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let batch = strategy(&mut method).compose_batch(&fresh, &stage)?;
            assert_eq!((batch.len(), &batch[..5]), (8, &fresh[..5]));
            let held: Vec<SampleRef> = recording.replay_slots()?.iter().map(|slot| slot.sample).collect();
            assert!(batch[5..].iter().all(|sample| held.contains(sample)));
            let rows: std::collections::BTreeSet<_> = batch[5..].iter().copied().collect();
            assert_eq!(rows.len(), 3, "a row is drawn once for a batch");
            seen.extend(rows);
        }
        assert_eq!(seen.len(), 5, "every sample of the buffer has its turn");
        Ok(())
    }

    #[test]
    fn random_keeps_the_same_number_of_each_stage() -> Result<()> {
        let (recording, mut method) = started(Policy::Random);
        recording.set_replay_capacity(9);
        for (index, count) in [(0, 20), (1, 50), (2, 30)] {
            run_stage(&recording, &mut method, index, count)?;
        }
        let held: Vec<usize> = (0..3).map(|index| held_of(&recording, index)).collect::<Result<_>>()?;
        assert_eq!(held, [3, 3, 3]);
        Ok(())
    }

    #[test]
    fn a_buffer_that_grows_with_the_tasks_keeps_what_it_has() -> Result<()> {
        for policy in [Policy::Random, Policy::Reservoir] {
            let (recording, mut method) = started(policy);
            for index in 0..3 {
                recording.set_replay_capacity(4 * (index + 1));
                run_stage(&recording, &mut method, index, 20)?;
                assert_eq!(recording.replay_slots()?.len(), 4 * (index + 1));
            }
            if policy == Policy::Random {
                assert_eq!(held_of(&recording, 0)?, 4);
            }
        }
        Ok(())
    }

    #[test]
    fn a_restored_strategy_goes_on_alike() -> Result<()> {
        let (recording, mut method) = started(Policy::Random);
        recording.set_replay_capacity(8);
        run_stage(&recording, &mut method, 0, 20)?;
        let saved = strategy(&mut method).save()?;
        let config = Config { rows_per_batch: 3, ..Config::default() };
        let mut restored = build(config, &recording.registry())?;
        strategy(&mut restored).load(&saved)?;
        run_stage(&recording, &mut restored, 1, 20)?;
        assert_eq!((held_of(&recording, 0)?, held_of(&recording, 1)?), (4, 4));
        assert_eq!(strategy(&mut method).save()?, saved);
        Ok(())
    }

    #[test]
    fn what_cannot_work_is_refused() -> Result<()> {
        let (recording, mut method) = started(Policy::Reservoir);
        let stage = recording.stage(0, 3, &[1, 2, 3])?;
        let error = strategy(&mut method).before_stage(&stage).expect_err("no row is left for new samples");
        assert!(error.message().contains("rows_per_batch = 3"), "{error}");
        let error = strategy(&mut method).after_stage(&stage).expect_err("the protocol grants nothing");
        assert!(error.message().contains("hint: set protocol"), "{error}");
        assert!(build(Config { rows_per_batch: 0, ..Config::default() }, &recording.registry()).is_err());
        Ok(())
    }
}
