//! An outlook as people read it.

use std::fmt;
use std::time::Duration;

use crate::compare::outlook::rate::{OPERATIONS, RateFrom};
use crate::compare::outlook::tasks::{SizesFrom, TaskOutlook};
use crate::compare::outlook::{ANSWER, Outlook, PROMPT};
use crate::report::format::{bytes, count};
use crate::time::short;

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
        let (training, answering) = (time(self.train_seconds), time(self.answer_seconds));
        // Other programs may slow the measurement down, and be gone when the run begins.
        let about = if self.rate_from == RateFrom::Measured { "about" } else { "at least" };
        match self.workers {
            1 => {
                write!(f, "  time: {about} {training} training and {answering} answering, one after another")?
            }
            workers => write!(
                f,
                "  time: {about} {} with {workers} workers at a time; one after another {training} training and {answering} answering",
                time(self.seconds)
            )?,
        }
        let rate = digits(self.operations_per_second / 1e12);
        f.write_str(": by operations alone, at ")?;
        match self.rate_from {
            RateFrom::Given => writeln!(f, "{rate} TFLOP/s, as --tflops says"),
            RateFrom::Assumed => writeln!(f, "{rate} TFLOP/s, assumed of a GPU (--tflops sets another)"),
            RateFrom::Measured => {
                let all = self.train_operations + self.answer_operations;
                writeln!(
                    f,
                    "the rate that this processor reaches now, {rate} TFLOP/s with {} thread{} (--tflops sets another; a GPU with {} would take {})",
                    self.threads,
                    if self.threads == 1 { "" } else { "s" },
                    digits(OPERATIONS / 1e12),
                    time(all / OPERATIONS)
                )
            }
        }
    }
}

fn time(seconds: f64) -> String {
    short(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// Where the sizes of the tasks are from.
fn sources(tasks: &[TaskOutlook]) -> String {
    let released = |is_here: bool| -> Vec<&str> {
        let released = tasks.iter().filter(|task| task.sizes_from == SizesFrom::Release);
        released.filter(|task| task.is_here == is_here).map(|task| task.task.as_str()).collect()
    };
    let (absent, broken) = (released(false), released(true));
    let mut sources = Vec::new();
    if absent.len() + broken.len() < tasks.len() {
        sources.push(String::from("the records that are here"));
    }
    for (names, state) in [(&absent, "is not here"), (&broken, "cannot be opened")] {
        if !names.is_empty() {
            sources.push(format!("CoIN's sizes of {}, whose data {state}", names.join(", ")));
        }
    }
    if absent.len() == tasks.len() {
        sources = vec![String::from("CoIN's sizes, the data not being here")];
    }
    let comma = if absent.is_empty() && broken.is_empty() { "" } else { "," };
    format!("{}{comma} and the model's shape", sources.join(", "))
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
    #[test]
    fn broken_data_is_not_called_absent() {
        let task = |task: &str, sizes_from, is_here| TaskOutlook {
            task: task.to_owned(),
            train: 1,
            test: 1,
            sizes_from,
            is_here,
            rows_per_step: 1,
            steps: 1,
        };
        let (data, release) = (SizesFrom::Data, SizesFrom::Release);
        let tasks = [
            task("gqa", data, true),
            task("vizwiz", release, false),
            task("ocrvqa", release, true),
            task("imagenet", release, true),
        ];
        let (here, absent) = ("the records that are here", "CoIN's sizes of vizwiz, whose data is not here");
        let broken = "CoIN's sizes of ocrvqa, imagenet, whose data cannot be opened";
        let shape = "and the model's shape";
        assert_eq!(sources(&tasks), format!("{here}, {absent}, {broken}, {shape}"));
        assert_eq!(sources(&tasks[..1]), format!("{here} {shape}"));
        assert_eq!(sources(&tasks[..2]), format!("{here}, {absent}, {shape}"));
        assert_eq!(sources(&tasks[1..2]), format!("CoIN's sizes, the data not being here, {shape}"));
        assert_eq!(sources(&tasks[2..]), format!("{broken}, {shape}"));
    }
}
