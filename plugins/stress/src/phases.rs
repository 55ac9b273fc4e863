//! A stage in two phases, checked from inside: the first trains one tensor on the first batch's worth of samples, the second everything
//! on everything.

use coin_plugin_api::{Phase, Result, SampleRef, Stage, Strategy, ensure, state};
use serde::{Deserialize, Serialize};

/// Steps of the first phase.
const FIRST: usize = 2;
/// The weights as the stage began.
const BEGIN: &str = "stress.begin";

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Phased {
    /// Steps of the stage that were composed.
    steps: usize,
}

impl Phased {
    fn first_samples(stage: &Stage) -> Result<Vec<SampleRef>> {
        let mut samples = stage.samples()?;
        samples.truncate(stage.batch_size());
        Ok(samples)
    }
}

impl Strategy for Phased {
    fn before_stage(&mut self, stage: &Stage) -> Result<Vec<Phase>> {
        self.steps = 0;
        stage.snapshot(BEGIN)?;
        let one = stage.trainable()?.into_iter().take(1).map(|info| info.id).collect();
        Ok(vec![
            Phase { steps: FIRST, trainable: one, data: Phased::first_samples(stage)? },
            Phase { steps: stage.steps() - FIRST, ..Phase::default() },
        ])
    }

    fn compose_batch(&mut self, fresh: &[SampleRef], stage: &Stage) -> Result<Vec<SampleRef>> {
        let first = Phased::first_samples(stage)?;
        let others = fresh.iter().filter(|sample| !first.contains(sample)).count();
        self.steps += 1;
        ensure!(
            (others == 0) == (self.steps <= FIRST),
            "step {} of the stage has {others} samples beyond the first phase's",
            self.steps
        );
        Ok(fresh.to_vec())
    }

    fn after_update(&mut self, stage: &Stage) -> Result<()> {
        let mut moved = Vec::new();
        for info in stage.trainable()? {
            let (now, begin) = (stage.value(info.id)?, stage.snapshot_value(BEGIN, info.id)?);
            if now.to_floats()? != begin.to_floats()? {
                moved.push(info.name);
            }
        }
        // The first step of a phase may have a learning rate of zero.
        let is_right = match self.steps {
            1..=FIRST => moved.len() <= 1,
            step => moved.len() > 1 || step == FIRST + 1,
        };
        ensure!(is_right, "step {} of the stage has moved {moved:?}", self.steps);
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>> {
        state::to_bytes(self)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<()> {
        *self = state::from_bytes(bytes)?;
        Ok(())
    }
}
