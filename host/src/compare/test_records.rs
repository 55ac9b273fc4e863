//! The test records of a task, looked through before anything is written: what is scored is found sound, or said.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use coin_plugin_api::Split;

use crate::data::task::Task;
use crate::eval::scorer::Metric;

/// Annotators whose answers a question of the soft metrics has.
const ANNOTATORS: usize = 10;

/// Reads the test records that a run asks (the first `limit`, or all), and gives what a reader of its scores should know.
///
/// # Errors
/// A record that cannot be read, and an id that stands twice.
pub(super) fn look(task: &Task, limit: Option<usize>) -> Result<Option<String>> {
    let (mut ids, mut lacking) = (HashSet::new(), 0usize);
    let count = task.each_record(Split::Test, limit, &mut |record| {
        lacking += usize::from(record.answers.len() != ANNOTATORS);
        ensure!(
            !ids.contains(&record.id),
            "task {}: two test records have the id `{}`\nhint: `coin-host data verify` lists all of them; take one of each out of the file",
            task.name,
            record.id
        );
        ids.insert(record.id);
        Ok(())
    })?;
    let is_soft = matches!(task.metric, Metric::VqaSoft | Metric::TextVqa | Metric::VizWiz);
    Ok((is_soft && lacking > 0).then(|| few_answers(&task.name, lacking, count)))
}

/// What the official score is worth of questions without ten answers.
fn few_answers(task: &str, lacking: usize, count: usize) -> String {
    format!(
        "task {task}: {lacking} of {count} test questions have not the answers of {ANNOTATORS} annotators, and `official` is no soft accuracy on \
         these: with one answer it is an exact match\nhint: docs/data.md says where the annotators' file belongs"
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use coin_plugin_api::{DatasetDescription, Record};

    use super::*;
    use crate::data::image::Transform;
    use crate::data::source::Source;
    use crate::data::task::{Instruction, Pictures, READ_TOGETHER};

    /// Ids, and the number of answers of each record.
    struct Made(Vec<(String, usize)>);

    impl Source for Made {
        fn describe(&self) -> Result<DatasetDescription> {
            Ok(DatasetDescription::default())
        }

        fn len(&self, _split: Split) -> Result<usize> {
            Ok(self.0.len())
        }

        fn records(&self, split: Split, start: usize, end: usize) -> Result<Vec<Record>> {
            ensure!(split == Split::Test, "training records are not read");
            let record = |(id, answers): &(String, usize)| Record {
                id: id.clone(),
                answers: vec!["cat".into(); *answers],
                ..Record::default()
            };
            Ok(self.0[start..end].iter().map(record).collect())
        }

        fn files(&self) -> Result<Vec<PathBuf>> {
            Ok(Vec::new())
        }

        fn verify(&self) -> Result<Vec<String>> {
            Ok(Vec::new())
        }

        fn score(&self, _prediction: &str, _record: &Record) -> Result<Option<f64>> {
            Ok(None)
        }
    }

    fn looked(metric: Metric, records: Vec<(String, usize)>, limit: Option<usize>) -> Result<Option<String>> {
        let pictures = Pictures { root: PathBuf::new(), transform: Transform::tiny(), blank: false };
        let source = Box::new(Made(records));
        look(&Task::new("one".into(), metric, 4, source, Instruction::Original, pictures), limit)
    }

    #[test]
    fn an_id_that_stands_twice_is_refused_however_far_apart() {
        let records = |last: &str| {
            let all = (0..READ_TOGETHER + 5).map(|number| number.to_string());
            all.chain([last.to_string()]).map(|id| (id, 10)).collect::<Vec<_>>()
        };
        assert_eq!(looked(Metric::VqaSoft, records("last"), None).unwrap(), None);
        let error = looked(Metric::Gqa, records("7"), None).unwrap_err().to_string();
        assert!(error.starts_with("task one: two test records have the id `7`"), "{error}");
        assert_eq!(looked(Metric::Gqa, records("7"), Some(READ_TOGETHER)).unwrap(), None, "it is not asked");
    }

    #[test]
    fn questions_without_ten_answers_are_told_of() {
        let records = vec![(String::from("a"), 1), (String::from("b"), 10)];
        let note = looked(Metric::VizWiz, records.clone(), None).unwrap().unwrap_or_default();
        assert!(note.starts_with("task one: 1 of 2 test questions have not"), "{note}");
        assert_eq!(looked(Metric::ExactMatch, records, None).unwrap(), None);
    }
}
