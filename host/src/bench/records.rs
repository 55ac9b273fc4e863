//! A file of conversations as the records of a task.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use coin_plugin_api::{DatasetDescription, Record, Split};

use crate::data::conversation::Conversation;
use crate::data::source::Source;

/// The records of a file, in its order, in every split.
pub(super) struct FileRecords(Vec<Record>);

impl FileRecords {
    /// # Errors
    /// A conversation of several rounds, which is no record of a task.
    pub(super) fn new(conversations: &[Conversation]) -> Result<FileRecords> {
        let record = |conversation: &Conversation| {
            let [(question, answer)] = &conversation.rounds[..] else {
                bail!(
                    "record `{}` has {} rounds\nhint: a task has one question and one answer a record; take this one out of the file",
                    conversation.id,
                    conversation.rounds.len()
                );
            };
            Ok(Record {
                id: conversation.id.clone(),
                image: conversation.image.clone(),
                question: question.clone(),
                answers: vec![answer.clone()],
                ..Record::default()
            })
        };
        Ok(FileRecords(conversations.iter().map(record).collect::<Result<_>>()?))
    }
}

impl Source for FileRecords {
    fn describe(&self) -> Result<DatasetDescription> {
        bail!("a file of conversations does not describe itself")
    }

    fn len(&self, _split: Split) -> Result<usize> {
        Ok(self.0.len())
    }

    fn records(&self, _split: Split, start: usize, end: usize) -> Result<Vec<Record>> {
        ensure!(start <= end && end <= self.0.len(), "records {start}..{end} of {}", self.0.len());
        Ok(self.0[start..end].to_vec())
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn verify(&self) -> Result<Vec<String>> {
        bail!("a file of conversations is checked when it is read")
    }

    fn score(&self, _prediction: &str, _record: &Record) -> Result<Option<f64>> {
        Ok(None)
    }
}
