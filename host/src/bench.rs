//! Speed of the two things that a comparison spends its time on: a training step and answering. Both run the code that `compare` runs,
//! on records in file order, with every picture seen anew.

mod generate;
mod records;
mod setup;
mod train;
mod work;

pub use generate::generate;
pub use setup::{Request, Setup};
pub use train::{Training, train};

use anyhow::Result;
use serde::Serialize;

use crate::compare::{memory, product};
use crate::train::cell::World;

/// Steps that are not counted: memory is taken and caches are filled there.
const WARM_UP: usize = 2;

/// What was measured. Times are medians over what came after the warm-up.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub what: &'static str,
    /// Name of the plugin; none where the frozen model answers.
    pub method: Option<String>,
    /// Optimizer steps, or batches answered.
    pub steps: usize,
    pub batch_size: usize,
    pub threads: usize,
    pub device: String,
    pub dtype: String,
    pub trainable_parameters: u64,
    pub seconds_per_step: f64,
    pub samples_per_second: f64,
    /// Tokens of the sequences trained on, or of the answers.
    pub tokens_per_second: f64,
    pub answers_per_second: Option<f64>,
    /// Largest resident size of the process so far.
    pub peak_memory_bytes: u64,
    /// Task loss of every step.
    pub losses: Vec<f64>,
    /// Of matrix products, as counted in `bench/work.rs`, in the time of the median step.
    pub flops_per_second: f64,
    /// What this machine reaches on one large product with the same threads and element type.
    pub gemm_flops_per_second: f64,
    /// The one divided by the other.
    pub gemm_share: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answered>,
}

/// One answer.
#[derive(Clone, Debug, Serialize)]
pub struct Answered {
    pub id: String,
    pub text: String,
    /// Without the end token.
    pub tokens: Vec<i64>,
}

/// What was timed, step by step.
struct Timed {
    seconds: Vec<f64>,
    samples: Vec<usize>,
    tokens: Vec<usize>,
    /// Floating point operations.
    work: Vec<f64>,
}

/// The figures of what came after the warm-up, or of everything where that is all there was.
struct Figures {
    seconds: f64,
    samples_per_second: f64,
    tokens_per_second: f64,
    flops_per_second: f64,
}

impl Report {
    /// The figures of what was timed; losses and answers are its own to add.
    fn new(
        what: &'static str,
        setup: &Setup,
        world: &World,
        timed: &Timed,
        trainable: u64,
    ) -> Result<Report> {
        let figures = timed.figures();
        let gemm = product::machine(world.backbone.kind(), world.backbone.device())?;
        Ok(Report {
            what,
            method: setup.method.as_ref().map(|entry| entry.plugin.clone()),
            steps: timed.seconds.len(),
            batch_size: world.config.training.batch_size,
            threads: setup.threads(),
            device: format!("{:?}", world.backbone.device()).to_lowercase(),
            dtype: setup.dtype(),
            trainable_parameters: trainable,
            seconds_per_step: figures.seconds,
            samples_per_second: figures.samples_per_second,
            tokens_per_second: figures.tokens_per_second,
            answers_per_second: None,
            peak_memory_bytes: memory::peak(),
            losses: Vec::new(),
            flops_per_second: figures.flops_per_second,
            gemm_flops_per_second: gemm,
            gemm_share: figures.flops_per_second / gemm,
            answers: Vec::new(),
        })
    }
}

impl Timed {
    fn figures(&self) -> Figures {
        let skip = if self.seconds.len() > WARM_UP { WARM_UP } else { 0 };
        let seconds = median(&self.seconds[skip..]);
        let counted = self.seconds.len().saturating_sub(skip).max(1) as f64;
        let per_second = |total: f64| total / counted / seconds;
        Figures {
            seconds,
            samples_per_second: per_second(self.samples[skip..].iter().sum::<usize>() as f64),
            tokens_per_second: per_second(self.tokens[skip..].iter().sum::<usize>() as f64),
            flops_per_second: per_second(self.work[skip..].iter().sum()),
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_are_for_warming_up() {
        let timed = Timed {
            seconds: vec![90.0, 80.0, 2.0, 4.0, 3.0],
            samples: vec![8; 5],
            tokens: vec![100, 100, 30, 30, 60],
            work: vec![6.0; 5],
        };
        let figures = timed.figures();
        assert_eq!((figures.seconds, figures.samples_per_second), (3.0, 8.0 / 3.0));
        assert_eq!((figures.tokens_per_second, figures.flops_per_second), (40.0 / 3.0, 2.0));
        let short =
            Timed { seconds: vec![1.0, 3.0], samples: vec![4; 2], tokens: vec![2; 2], work: vec![0.0; 2] };
        assert_eq!(short.figures().seconds, 2.0);
    }
}
