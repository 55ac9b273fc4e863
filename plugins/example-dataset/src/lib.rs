//! A dataset plugin to start from: questions from `train.tsv` and `test.tsv`, a line each with id, picture (or nothing), question and
//! answer between tabs. Pictures are paths below the task's root.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use coin_plugin_api::{Dataset, DatasetDescription, Error, Record, Result, Split, export_plugin, from_toml};
use serde::Deserialize;

/// Keys of the task's `config`.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Of ten training records, how many are set aside for validation: nothing is chosen on test.
    validation_tenths: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { validation_tenths: 1 }
    }
}

struct Table {
    /// Of train, val and test.
    splits: [Vec<Record>; 3],
}

fn open(root: &Path, config: &str) -> Result<Box<dyn Dataset>> {
    let config: Config = from_toml(config)?;
    let (val, train) = read(&root.join("train.tsv"))?
        .into_iter()
        .enumerate()
        .partition::<Vec<_>, _>(|(number, _)| number % 10 < config.validation_tenths);
    let records = |numbered: Vec<(usize, Record)>| numbered.into_iter().map(|(_, record)| record).collect();
    let test = read(&root.join("test.tsv"))?;
    Ok(Box::new(Table { splits: [records(train), records(val), test] }))
}

fn read(path: &Path) -> Result<Vec<Record>> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::new(format!(
            "{name} cannot be read: {error}\nhint: `root` is the folder with train.tsv and test.tsv"
        ))
    })?;
    let record = |(number, line): (usize, &str)| {
        let [id, image, question, answer] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(Error::new(format!(
                "{name}, line {}: four columns are needed\nhint: id, picture, question, answer",
                number + 1
            )));
        };
        Ok(Record {
            id: id.into(),
            image: (!image.is_empty()).then(|| image.into()),
            question: question.into(),
            answers: vec![answer.into()],
            ..Record::default()
        })
    };
    text.lines().enumerate().map(record).collect()
}

impl Dataset for Table {
    fn describe(&self) -> DatasetDescription {
        DatasetDescription {
            task_type: "questions on pictures".into(),
            metric: "exact-match".into(),
            answer_form: "a single word or phrase".into(),
        }
    }

    fn len(&self, split: Split) -> Result<usize> {
        Ok(self.splits[split as usize].len())
    }

    fn records(&self, split: Split, start: usize, end: usize) -> Result<Vec<Record>> {
        let records = self.splits[split as usize].get(start..end);
        Ok(records
            .ok_or_else(|| Error::new(format!("no records {start}..{end} in {}", split.name())))?
            .to_vec())
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        Ok(vec!["train.tsv".into(), "test.tsv".into()])
    }
}

export_plugin! {
    name: "example-dataset",
    datasets: { "table" => open },
}
