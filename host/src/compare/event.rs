//! What a cell tells while it runs: one JSON object a line, from the worker to its parent.

use serde::{Deserialize, Deserializer, Serialize};

/// A step of a cell's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum CellEvent {
    /// The cell begins; stages that an earlier run has finished are left out of all that follows.
    Started,
    /// Training on a task begins; `stage` counts from 0.
    StageStarted { stage: usize, task: String },
    /// An optimizer step is done, the `step`-th of the stage's `of`.
    Step {
        step: usize,
        of: usize,
        #[serde(deserialize_with = "number_or_null")]
        loss: f64,
    },
    /// `done` of a task's `of` items are answered; `stage` is the last one trained, none before the first.
    Answered { stage: Option<usize>, task: String, done: usize, of: usize },
    /// A task is answered and scored by the run's first scorer, in percent.
    Evaluated { stage: Option<usize>, task: String, score: f64 },
    /// The cell is done.
    Finished { train_seconds: f64, eval_seconds: f64, picture_seconds: f64 },
    /// The cell cannot go on; others do.
    Failed { message: String },
}

/// JSON has no name for what is no number: it is written as `null`.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// An event and its cell, as [`crate::compare::plan::Cell`] is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub cell: String,
    #[serde(flatten)]
    pub event: CellEvent,
}

impl Line {
    /// The line, without its end.
    ///
    /// # Errors
    /// None that an event of this type can bring about.
    pub fn encode(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// Reads a line.
    ///
    /// # Errors
    /// The line is no event.
    pub fn decode(line: &str) -> serde_json::Result<Line> {
        serde_json::from_str(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(event: CellEvent) -> (String, CellEvent) {
        let line = Line { cell: "lora/coin/0".into(), event };
        let text = line.encode().unwrap();
        let read = Line::decode(&text).unwrap();
        assert_eq!(read.cell, line.cell);
        (text, read.event)
    }

    #[test]
    fn an_event_is_one_line_and_reads_back() {
        let events = [
            CellEvent::Started,
            CellEvent::StageStarted { stage: 0, task: "gqa".into() },
            CellEvent::Step { step: 3, of: 80, loss: 0.1 + 0.2 },
            CellEvent::Answered { stage: None, task: "gqa".into(), done: 64, of: 150 },
            CellEvent::Evaluated { stage: Some(2), task: "gqa".into(), score: 41.5 },
            CellEvent::Finished { train_seconds: 1.0, eval_seconds: 2.5, picture_seconds: 0.5 },
            CellEvent::Failed { message: "out of\nmemory".into() },
        ];
        for event in events {
            let (text, read) = round_trip(event.clone());
            assert!(!text.contains('\n'), "{text}");
            assert_eq!(read, event);
        }
        let (text, _) = round_trip(CellEvent::Step { step: 1, of: 2, loss: 0.5 });
        assert_eq!(text, r#"{"cell":"lora/coin/0","event":"step","step":1,"of":2,"loss":0.5}"#);
    }

    #[test]
    fn a_loss_that_is_no_number_stays_none() {
        let (_, read) = round_trip(CellEvent::Step { step: 1, of: 2, loss: f64::NAN });
        assert!(matches!(read, CellEvent::Step { loss, .. } if loss.is_nan()), "{read:?}");
    }
}
