//! Learning-rate schedules, as factors of the learning rate.

use std::f64::consts::PI;

pub use crate::config::Scheduler;

impl Scheduler {
    /// The factor at `step` (from 0) of `total`. As in Hugging Face's trainer, which CoIN uses: `ceil(ratio * total)`
    /// steps of warm-up, the first of them at 0.
    pub fn factor(self, step: usize, total: usize, warmup_ratio: f64) -> f64 {
        let warmup = (warmup_ratio * total as f64).ceil() as usize;
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let progress = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
        match self {
            Scheduler::Constant => 1.0,
            Scheduler::Linear => 1.0 - progress,
            // Half a cosine, from 1 down to 0 (Loshchilov and Hutter 2017, without restarts).
            Scheduler::Cosine => (0.5 * (1.0 + (PI * progress).cos())).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_follows_the_formula() {
        let factor = |step| Scheduler::Cosine.factor(step, 80, 0.03);
        for (step, expected) in [(0, 0.0), (1, 1.0 / 3.0), (2, 2.0 / 3.0), (3, 1.0), (80, 0.0)] {
            assert!((factor(step) - expected).abs() < 1e-12, "{step}");
        }
        assert!((factor(42) - 0.5 * (1.0 + (PI * 39.0 / 77.0).cos())).abs() < 1e-12);
        assert!((3..80).all(|step| factor(step + 1) < factor(step)));
    }

    #[test]
    fn constant_stays_after_its_warm_up() {
        assert_eq!(Scheduler::Constant.factor(0, 10, 0.0), 1.0);
        assert_eq!(Scheduler::Constant.factor(1, 10, 0.2), 0.5);
        assert_eq!(Scheduler::Constant.factor(9, 10, 0.2), 1.0);
    }
}
