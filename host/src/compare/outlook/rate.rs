//! How fast a run is taken to compute, and by how many workers at a time.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::compare::{product, world};
use crate::config::RunConfig;

/// Operations a second that a GPU is taken to reach where nobody says: about a third of what an H100 does in bfloat16.
pub const OPERATIONS: f64 = 3e14;

/// Where a rate is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateFrom {
    /// The user.
    Given,
    /// One product on this processor, with the threads of a worker.
    Measured,
    /// [`OPERATIONS`].
    Assumed,
}

/// Operations a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub per_second: f64,
    pub from: RateFrom,
}

impl Rate {
    /// The user's, else measured where the run computes on this processor.
    ///
    /// # Errors
    /// The processor cannot compute in the run's element type.
    pub fn of(config: &RunConfig, given: Option<f64>) -> Result<Rate> {
        if let Some(per_second) = given {
            return Ok(Rate { per_second, from: RateFrom::Given });
        }
        if world::device(config.backbone.device).is_cuda() {
            return Ok(Rate { per_second: OPERATIONS, from: RateFrom::Assumed });
        }
        let measured = product::processor(world::kind(config.backbone.dtype), config.training.threads);
        let per_second = measured
            .context("the speed of this processor cannot be measured\nhint: --tflops names the rate")?;
        Ok(Rate { per_second, from: RateFrom::Measured })
    }

    /// How many times this rate so many workers reach together at the most: a rate that was measured is that of one worker's threads, any
    /// other one that of the machine.
    pub fn at_once(self, workers: usize, threads: usize) -> f64 {
        if self.from != RateFrom::Measured {
            return 1.0;
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (workers as f64).min(cores as f64 / threads.max(1) as f64).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Request};

    fn config(device: &str) -> RunConfig {
        let set = [format!("backbone.device=\"{device}\"")];
        config::load(&Request { set: &set, ..Request::default() }).expect("a configuration").config
    }

    /// A processor is measured in a process of its own (`tests/it/outlook.rs`): that changes its threads.
    #[test]
    fn a_gpu_is_assumed_and_what_a_person_names_holds() {
        let rate = |device, given| Rate::of(&config(device), given).expect("a rate");
        assert_eq!(rate("cuda:0", None), Rate { per_second: 3e14, from: RateFrom::Assumed });
        assert_eq!(rate("cpu", Some(8e10)), Rate { per_second: 8e10, from: RateFrom::Given });
    }

    #[test]
    fn workers_share_the_cores_and_a_gpu() {
        let cores = std::thread::available_parallelism().expect("cores").get();
        let rate = |from| Rate { per_second: 1.0, from };
        assert_eq!(rate(RateFrom::Assumed).at_once(4, 1), 1.0);
        assert_eq!(rate(RateFrom::Given).at_once(4, 1), 1.0);
        assert_eq!(rate(RateFrom::Measured).at_once(10 * cores, 1), cores as f64);
        assert_eq!(rate(RateFrom::Measured).at_once(4, 2 * cores), 1.0);
    }
}
