//! A-GEM (Chaudhry et al. 2019, arXiv 1812.00420): where a step would raise the loss on a memory of earlier tasks, to first order, it is
//! projected to where it would not. Equation 11, over all trained values together:
//!
//! ```text
//! g~ = g - (g . g_ref) / (g_ref . g_ref) g_ref   if g . g_ref < 0, else g        g_ref: gradient of the task loss on samples of the memory
//! ```
//!
//! The memory is the replay buffer. Each stage fills what the protocol leaves free of it; in a stack behind `replay`, that is nothing, and
//! the memory is what `replay` keeps.

use coin_plugin_api::{Method, NoGrad, Registry, Result, SampleRef, Stage, Strategy, ensure, export_plugin};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Samples of the memory whose gradient is the reference of a step.
    samples: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { samples: 32 }
    }
}

struct AGem(Config);

fn build(config: Config, _registry: &Registry) -> Result<Method> {
    ensure!(config.samples > 0, "samples = 0 gives no reference\nhint: about as many as a batch has");
    Ok(Method::strategy(AGem(config)))
}

impl Strategy for AGem {
    fn after_backward(&mut self, stage: &Stage) -> Result<()> {
        let slots = stage.replay().slots()?;
        if slots.is_empty() {
            return Ok(());
        }
        let drawn = stage.sample("a-gem.reference", slots.len(), self.0.samples.min(slots.len()))?;
        let samples: Vec<SampleRef> = drawn.into_iter().map(|place| slots[place].sample).collect();
        let reference = stage.batch(&samples)?.gradients()?;
        let _no_grad = NoGrad::new();
        let mut gradients = Vec::new();
        for (id, reference) in reference {
            // None where a phase does not train it.
            if let Some(gradient) = stage.grad(id)? {
                gradients.push((id, gradient, reference));
            }
        }
        let (mut product, mut square) = (0.0, 0.0);
        for (_, gradient, reference) in &gradients {
            product += gradient.mul(reference)?.sum_all()?.to_f64()?;
            square += reference.square()?.sum_all()?.to_f64()?;
        }
        stage.metric("product", product)?;
        if product < 0.0 {
            for (id, gradient, reference) in &gradients {
                stage.set_grad(*id, &gradient.add_scaled(reference, -product / square)?)?;
            }
        }
        Ok(())
    }

    fn after_stage(&mut self, stage: &Stage) -> Result<()> {
        let memory = stage.replay();
        let (capacity, held) = (memory.capacity()?, memory.slots()?);
        ensure!(capacity > 0, "the protocol grants no replay\nhint: set protocol.replay_samples_per_task");
        let mut samples = stage.samples()?;
        samples.retain(|sample| held.iter().all(|slot| slot.sample != *sample));
        let free = capacity.saturating_sub(held.len()).min(samples.len());
        for place in stage.sample("a-gem.memory", samples.len(), free)? {
            memory.add(samples[place])?;
        }
        Ok(())
    }
}

export_plugin! { name: "a-gem", method: build, needs: [StageData, Replay] }
