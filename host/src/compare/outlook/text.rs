//! An outlook as people read it.

use std::fmt;

use crate::compare::outlook::rate::{OPERATIONS, RateFrom};
use crate::compare::outlook::tasks::{SizesFrom, TaskOutlook};
use crate::compare::outlook::{ANSWER, Outlook, PROMPT};
use crate::report::format::{bytes, count, duration};

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "estimates, from {}:", sources(&self.tasks))?;
        let width = self.tasks.iter().map(|task| task.task.len()).max().unwrap_or(0);
        for task in &self.tasks {
            writeln!(
                f,
                "  {:width$}  {:>6} steps of {} rows ({} training items, {} test items)",
                task.task, task.steps, task.rows_per_step, task.train, task.test
            )?;
        }
        let steps: usize = self.tasks.iter().map(|task| task.steps).sum();
        write!(f, "  {:width$}  {steps:>6} steps", "all")?;
        if self.joint_steps > 0 {
            write!(f, ", {} of joint training", self.joint_steps)?;
        }
        writeln!(f, "; {} in {} trainings", self.steps, self.trainings)?;
        self.time(f)?;
        let each = if self.workers == 1 { "" } else { ", of each worker" };
        writeln!(
            f,
            "  memory: {} in training{each} = {} weights + {} for {} trained parameters + {} activations, picture features not counted",
            bytes(self.weight_bytes + self.optimizer_bytes + self.activation_bytes),
            bytes(self.weight_bytes),
            bytes(self.optimizer_bytes),
            count(self.trainable_parameters),
            bytes(self.activation_bytes)
        )?;
        writeln!(
            f,
            "          {} in answering{each} = the same weights and parameters + {} weights with adapters folded in + {} keys and values + {} picture features",
            bytes(
                self.weight_bytes
                    + self.optimizer_bytes
                    + self.folded_bytes
                    + self.cache_bytes
                    + self.held_feature_bytes
            ),
            bytes(self.folded_bytes),
            bytes(self.cache_bytes),
            bytes(self.held_feature_bytes)
        )?;
        if self.all_feature_bytes > 0.0 {
            writeln!(
                f,
                "  picture features on disk: at most {}, {} a picture",
                bytes(self.all_feature_bytes),
                bytes(self.feature_bytes)
            )?;
        }
        write!(
            f,
            "  disk: {} for the run's folder; assumed: {PROMPT} tokens a prompt beside the picture, {ANSWER} an answer",
            bytes(self.disk_bytes)
        )
    }
}

impl Outlook {
    fn time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (training, answering) = (duration(self.train_seconds), duration(self.answer_seconds));
        match self.workers {
            1 => write!(
                f,
                "  time: at least {training} training and {answering} answering, one after another"
            )?,
            workers => write!(
                f,
                "  time: at least {} with {workers} workers at a time; one after another {training} training and {answering} answering",
                duration(self.seconds)
            )?,
        }
        write!(f, ": by operations alone, at {} TFLOP/s", digits(self.operations_per_second / 1e12))?;
        match self.rate_from {
            RateFrom::Given => writeln!(f, ", as --tflops says"),
            RateFrom::Assumed => writeln!(f, ", assumed of a GPU (--tflops sets another)"),
            RateFrom::Measured => {
                let all = self.train_operations + self.answer_operations;
                writeln!(
                    f,
                    ", measured on this CPU with {} thread{} (--tflops sets another; a GPU with {} would take {})",
                    self.threads,
                    if self.threads == 1 { "" } else { "s" },
                    digits(OPERATIONS / 1e12),
                    duration(all / OPERATIONS)
                )
            }
        }
    }
}

/// Where the sizes of the tasks are from.
fn sources(tasks: &[TaskOutlook]) -> String {
    let released = tasks.iter().filter(|task| task.sizes_from == SizesFrom::Release);
    let released: Vec<&str> = released.map(|task| task.task.as_str()).collect();
    match released.len() {
        0 => String::from("the records that are here and the model's shape"),
        some if some == tasks.len() => {
            String::from("CoIN's sizes, the data not being here, and the model's shape")
        }
        _ => format!(
            "the records that are here, CoIN's sizes of {}, whose data is not, and the model's shape",
            released.join(", ")
        ),
    }
}

/// A number with three digits that count, or more before the point: `300`, `12.5`, `0.0873`, `0.08`.
fn digits(value: f64) -> String {
    let places = (2.0 - value.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_keep_the_digits_that_count() {
        assert_eq!(
            [300.0, 989.5, 12.5, 1.0, 0.1, 0.08, 0.087_34, 0.000_5].map(digits),
            ["300", "990", "12.5", "1", "0.1", "0.08", "0.0873", "0.0005"]
        );
    }
}
