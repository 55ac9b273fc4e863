//! How far a stage of pre-training is, in lines for people.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::short;

/// Least time between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// The mean of the losses since it was last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    sum: f64,
    count: usize,
}

impl Recent {
    pub fn add(&mut self, loss: f64) {
        self.sum += loss;
        self.count += 1;
    }

    pub fn take(&mut self) -> f64 {
        let mean = self.sum / self.count.max(1) as f64;
        *self = Recent::default();
        mean
    }
}

/// The steps of one stage, from where this process takes them up.
pub struct Pace<'a> {
    stage: &'a str,
    steps: usize,
    losses: Recent,
    /// The first step here and when it ended: it also warms up, so time is taken from there on.
    begun: Option<(usize, Duration)>,
    told: Option<Duration>,
}

impl<'a> Pace<'a> {
    pub fn new(stage: &'a str, steps: usize) -> Pace<'a> {
        Pace { stage, steps, losses: Recent::default(), begun: None, told: None }
    }

    /// Takes note of the step that makes `done` steps, `now` from any fixed moment on; the line that is due, if one is: after the second
    /// step, then every ten seconds, and at the end.
    pub fn step(&mut self, done: usize, loss: f64, now: Duration) -> Option<String> {
        self.losses.add(loss);
        let (from, since) = *self.begun.get_or_insert((done, now));
        let is_due = match self.told {
            None => done > from,
            Some(told) => now.saturating_sub(told) >= EVERY,
        };
        if !is_due && done < self.steps {
            return None;
        }
        self.told = Some(now);
        let left = if done > from && done < self.steps {
            let one = now.saturating_sub(since).as_secs_f64() / (done - from) as f64;
            let left = Duration::try_from_secs_f64(one * (self.steps - done) as f64).unwrap_or_default();
            format!(", about {} of this stage left", short(left))
        } else {
            String::new()
        };
        let (stage, steps) = (self.stage, self.steps);
        Some(format!("{stage}: step {done} of {steps}, loss {:.4}{left}", self.losses.take()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of steps that take `milliseconds` each but the first, which takes twenty seconds.
    fn lines(first: usize, steps: usize, milliseconds: u64) -> Vec<String> {
        let mut pace = Pace::new("alignment", steps);
        let now = |step: usize| Duration::from_millis(20_000 + milliseconds * (step - first) as u64);
        (first..steps).filter_map(|step| pace.step(step + 1, step as f64, now(step))).collect()
    }

    #[test]
    fn a_slow_stage_tells_of_each_step_from_the_second_on() {
        assert_eq!(
            lines(0, 4, 30_000),
            [
                "alignment: step 2 of 4, loss 0.5000, about 1 min 00 s of this stage left",
                "alignment: step 3 of 4, loss 2.0000, about 30 s of this stage left",
                "alignment: step 4 of 4, loss 3.0000",
            ]
        );
        assert_eq!(lines(3, 4, 1), ["alignment: step 4 of 4, loss 3.0000"]);
    }

    #[test]
    fn a_fast_stage_tells_every_ten_seconds() {
        let lines = lines(100, 3100, 10);
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!(lines[0], "alignment: step 102 of 3100, loss 100.5000, about 30 s of this stage left");
        assert_eq!(lines[1], "alignment: step 1102 of 3100, loss 601.5000, about 20 s of this stage left");
    }
}
