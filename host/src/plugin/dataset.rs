//! A dataset as the host calls it, from any thread.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use coin_plugin_api::abi::{DatasetBox, RawRecord};
use coin_plugin_api::{DatasetDescription, Record, Split, TURN};

use super::PluginError;
use super::caller::Caller;
use super::held::Held;
use super::hook::Hook;

/// An opened dataset.
pub struct Dataset {
    caller: Caller,
    object: Held<DatasetBox>,
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dataset of {}", self.caller)
    }
}

impl Dataset {
    pub(super) fn new(caller: &Caller, object: DatasetBox) -> Dataset {
        Dataset { caller: caller.clone(), object: Held::new(caller, object) }
    }

    /// What it is.
    ///
    /// # Errors
    /// [`PluginError::Failed`], as every call.
    pub fn describe(&self) -> Result<DatasetDescription, PluginError> {
        let raw = self.caller.watch(Hook::Describe, None, || self.object.describe())?;
        Ok(DatasetDescription {
            task_type: raw.task_type.into_string(),
            metric: raw.metric.into_string(),
            answer_form: raw.answer_form.into_string(),
        })
    }

    /// Number of records in a split.
    ///
    /// # Errors
    /// [`PluginError::Failed`].
    pub fn len(&self, split: Split) -> Result<usize, PluginError> {
        Ok(self.caller.watch(Hook::Len, None, || self.object.len(split as u32))? as usize)
    }

    /// Whether a split has no records.
    ///
    /// # Errors
    /// [`PluginError::Failed`].
    pub fn is_empty(&self, split: Split) -> Result<bool, PluginError> {
        Ok(self.len(split)? == 0)
    }

    /// Records of a split, as many as the range is long.
    ///
    /// # Errors
    /// [`PluginError::Failed`], also where there are fewer or more.
    pub fn records(&self, split: Split, range: Range<usize>) -> Result<Vec<Record>, PluginError> {
        let (start, end) = (range.start as u64, range.end as u64);
        let raw = self.caller.watch(Hook::Records, None, || self.object.records(split as u32, start, end))?;
        if raw.len() != range.len() {
            let reason = format!("it gives {} records for {start}..{end}", raw.len());
            return Err(self.caller.failed(Hook::Records, None, reason));
        }
        let records: Vec<Record> = raw.into_iter().map(Record::from).collect();
        for record in &records {
            if let Some(reason) = broken_turns(record) {
                let reason = format!("record `{}` {reason}", record.id);
                return Err(self.caller.failed(Hook::Records, None, reason));
            }
        }
        Ok(records)
    }

    /// The files that records are read from, below the task's root folder or absolute.
    ///
    /// # Errors
    /// [`PluginError::Failed`].
    pub fn files(&self) -> Result<Vec<PathBuf>, PluginError> {
        let raw = self.caller.watch(Hook::Files, None, || self.object.files())?;
        Ok(raw.into_iter().map(|path| PathBuf::from(path.as_str())).collect())
    }

    /// Problems that the records do not show, one line each.
    ///
    /// # Errors
    /// [`PluginError::Failed`].
    pub fn verify(&self) -> Result<Vec<String>, PluginError> {
        let raw = self.caller.watch(Hook::Verify, None, || self.object.verify())?;
        Ok(raw.into_iter().map(Into::into).collect())
    }

    /// A score in `0..=1` by the dataset's own rule, where it has one.
    ///
    /// # Errors
    /// [`PluginError::Failed`].
    pub fn score(&self, prediction: &str, record: &Record) -> Result<Option<f64>, PluginError> {
        let record = RawRecord::from(record.clone());
        let score = self.caller.watch(Hook::Score, None, || self.object.score(prediction.into(), record))?;
        match score.into_option() {
            Some(value) if !(0.0..=1.0).contains(&value) => Err(self.caller.failed(
                Hook::Score,
                None,
                format!("it gives {value}, and a score is in 0..=1"),
            )),
            score => Ok(score),
        }
    }
}

/// Why the turns of a record's conversation are none: each earlier question has an answer behind it, and the last has its own.
fn broken_turns(record: &Record) -> Option<&'static str> {
    let Record { question, instruction, answers, .. } = record;
    let has_mark = |text: &String| text.contains(TURN);
    if question.matches(TURN).count() % 2 != 0 {
        return Some("has an earlier turn without its answer: the number of U+001E in its question is odd");
    }
    (answers.iter().any(has_mark) || instruction.as_ref().is_some_and(has_mark))
        .then_some("has U+001E, which parts the turns of a question, in an answer or its instruction")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_turns_come_in_pairs() {
        let record = |question: &str, answer: &str| Record {
            question: question.into(),
            answers: vec![answer.into()],
            ..Record::default()
        };
        assert_eq!(broken_turns(&record("who?", "me")), None);
        assert_eq!(broken_turns(&record("who?\u{1e}me\u{1e}why?", "so")), None);
        assert!(broken_turns(&record("who?\u{1e}why?", "so")).is_some());
        assert!(broken_turns(&record("who?", "so\u{1e}")).is_some());
    }
}
