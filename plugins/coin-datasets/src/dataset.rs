//! What all tasks have in common: files, splits, ranges of records.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use coin_plugin_api::{Dataset, DatasetDescription, Error, Record, Result, Split, Verification};
use serde::{Deserialize, Serialize};

use crate::file::RecordFile;
use crate::item::Item;
use crate::record::{Annotations, annotations, record};
use crate::split::held_out;
use crate::task::Task;
use crate::verify::verify;

/// Keys of a task's `config`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Folder of the instruction files below the root: `Instructions_Original`, `Instructions_Diverse`, `Instructions_10Type`.
    pub(crate) instructions: String,
    /// Folder below the root that the image paths of the records start from.
    pub(crate) images: String,
    /// Part of the training pictures whose questions are set aside for validation, where the task has no validation file.
    pub(crate) validation: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            instructions: String::from("Instructions_Original"),
            images: String::from("cl_dataset"),
            validation: 0.05,
        }
    }
}

/// Opens a task.
///
/// # Errors
/// A wrong configuration; no folder of the task.
pub(crate) fn open(task: &'static Task, root: &Path, config: &str) -> Result<Box<dyn Dataset>> {
    let config: Config = coin_plugin_api::from_toml(config)?;
    if !(0.0..1.0).contains(&config.validation) {
        return Err(Error::config(format!(
            "validation = {} is not in [0, 1)\nhint: 0.05 sets a twentieth of the training pictures aside, 0.0 none",
            config.validation
        )));
    }
    let folder = root.join(&config.instructions).join(task.folder);
    if !folder.is_dir() {
        return Err(Error::new(format!(
            "there is no folder `{}`\nhint: `root` is the folder that holds `{}` and `{}`; both names can be set in the task's `config`",
            folder.display(),
            config.instructions,
            config.images
        )));
    }
    let annotations_path = task.annotations.map(|path| root.join(&config.images).join(path));
    Ok(Box::new(CoinDataset {
        task,
        root: root.to_path_buf(),
        folder,
        config,
        annotations_path,
        training: OnceLock::new(),
        test: OnceLock::new(),
        annotations: OnceLock::new(),
    }))
}

/// A split: some records of a file.
pub(crate) struct Part {
    pub(crate) file: Arc<RecordFile>,
    pub(crate) numbers: Vec<u32>,
}

impl Part {
    pub(crate) fn whole(file: RecordFile) -> Part {
        Part { numbers: (0..file.len() as u32).collect(), file: Arc::new(file) }
    }
}

/// A task whose files are looked through when they are first needed.
pub(crate) struct CoinDataset {
    pub(crate) task: &'static Task,
    pub(crate) root: PathBuf,
    folder: PathBuf,
    pub(crate) config: Config,
    annotations_path: Option<PathBuf>,
    /// Train and val.
    training: OnceLock<Result<[Part; 2]>>,
    test: OnceLock<Result<Part>>,
    annotations: OnceLock<Result<Option<Annotations>>>,
}

impl CoinDataset {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The validation file, where the task has one and it is there.
    pub(crate) fn val_path(&self) -> Option<PathBuf> {
        self.task.val.map(|name| self.path(name)).filter(|path| path.is_file())
    }

    /// Train and val of a training file.
    pub(crate) fn split(&self, file: RecordFile) -> Result<[Part; 2]> {
        let all: Vec<u32> = (0..file.len() as u32).collect();
        let (mut train, mut val) = (Vec::new(), Vec::new());
        if self.config.validation == 0.0 {
            train = all;
        } else {
            file.each(&all, |number, bytes| {
                // What cannot be read stays in train, where reading it is an error.
                let key = serde_json::from_slice(bytes).ok();
                let held = key.is_some_and(|key| held_out(key, number, self.config.validation));
                if held { &mut val } else { &mut train }.push(number as u32);
                Ok(())
            })?;
        }
        let file = Arc::new(file);
        Ok([Part { file: file.clone(), numbers: train }, Part { file, numbers: val }])
    }

    fn open_training(&self) -> Result<[Part; 2]> {
        let file = RecordFile::open(&self.path("train.json"))?;
        match self.val_path() {
            Some(path) => Ok([Part::whole(file), Part::whole(RecordFile::open(&path)?)]),
            None => self.split(file),
        }
    }

    fn part(&self, split: Split) -> Result<&Part> {
        let training = || self.training.get_or_init(|| self.open_training()).as_ref().map_err(Clone::clone);
        match split {
            Split::Train => training().map(|parts| &parts[0]),
            Split::Val => training().map(|parts| &parts[1]),
            Split::Test => {
                let open = || RecordFile::open(&self.path(self.task.test)).map(Part::whole);
                self.test.get_or_init(open).as_ref().map_err(Clone::clone)
            }
        }
    }

    /// The annotators' answers to the test questions.
    pub(crate) fn annotations(&self) -> Result<Option<&Annotations>> {
        let Some(path) = &self.annotations_path else { return Ok(None) };
        match self.annotations.get_or_init(|| annotations(path)) {
            Ok(found) => Ok(found.as_ref()),
            Err(error) => Err(error.clone()),
        }
    }
}

impl Dataset for CoinDataset {
    fn describe(&self) -> DatasetDescription {
        DatasetDescription {
            task_type: self.task.task_type.into(),
            metric: self.task.metric.into(),
            answer_form: self.task.answer_form.into(),
        }
    }

    fn len(&self, split: Split) -> Result<usize> {
        Ok(self.part(split)?.numbers.len())
    }

    fn records(&self, split: Split, start: usize, end: usize) -> Result<Vec<Record>> {
        let part = self.part(split)?;
        let Some(numbers) = part.numbers.get(start..end) else {
            return Err(Error::new(format!(
                "{} has {} records in its {} split, not {start}..{end}",
                self.task.folder,
                part.numbers.len(),
                split.name()
            )));
        };
        let annotations = if split == Split::Test { self.annotations()? } else { None };
        let mut records = Vec::with_capacity(numbers.len());
        part.file.each(numbers, |number, bytes| {
            let item: Item =
                serde_json::from_slice(bytes).map_err(|error| part.file.error(number, &error.to_string()))?;
            let read = record(item, number, self.task, &self.config.images, annotations);
            records.push(read.map_err(|why| part.file.error(number, &why))?);
            Ok(())
        })?;
        Ok(records)
    }

    fn verify(&self) -> Result<Verification> {
        verify(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::Folder;

    const TASK: Task = Task { folder: "GQA", ..Task::PHRASE };

    #[test]
    fn train_and_val_are_disjoint_complete_and_in_order() -> Result<()> {
        let folder = Folder::new(&TASK);
        folder.write_training(300);
        let dataset = folder.open("validation = 0.2")?;
        let ids = |split| -> Result<Vec<usize>> {
            let records = dataset.records(split, 0, dataset.len(split)?)?;
            Ok(records
                .iter()
                .filter_map(|record| record.id.trim_start_matches("train-").parse().ok())
                .collect())
        };
        let (train, val) = (ids(Split::Train)?, ids(Split::Val)?);
        assert!((30..90).contains(&val.len()), "{}", val.len());
        assert!(train.is_sorted() && val.is_sorted());
        let mut all = [train, val].concat();
        all.sort_unstable();
        assert_eq!(all, (0..300).collect::<Vec<_>>());
        Ok(())
    }

    #[test]
    fn ranges_read_what_the_whole_has() -> Result<()> {
        let folder = Folder::new(&TASK);
        folder.write_training(50);
        let dataset = folder.open("validation = 0.0")?;
        let all = dataset.records(Split::Train, 0, 50)?;
        let parts = [dataset.records(Split::Train, 0, 7)?, dataset.records(Split::Train, 7, 50)?].concat();
        assert_eq!(all, parts);
        assert_eq!(dataset.records(Split::Train, 50, 50)?, []);
        assert!(dataset.records(Split::Train, 49, 51).is_err());
        Ok(())
    }

    #[test]
    fn many_threads_read_at_once() -> Result<()> {
        let folder = Folder::new(&TASK);
        folder.write_training(400);
        let dataset = folder.open("validation = 0.0")?;
        std::thread::scope(|scope| {
            for start in 0..8 {
                let dataset = &dataset;
                scope.spawn(move || {
                    for at in (start * 50)..(start * 50 + 50) {
                        let records = dataset.records(Split::Train, at, at + 1).expect("a good record");
                        assert_eq!(records[0].id, format!("train-{at}"));
                    }
                });
            }
        });
        Ok(())
    }

    #[test]
    fn errors_name_file_record_and_remedy() -> Result<()> {
        let folder = Folder::new(&TASK);
        folder.write(
            "test.json",
            &json!([{"question_id": 1, "text": "q", "answer": "a"}, {"question_id": 2, "text": 5}]),
        );
        let dataset = folder.open("")?;
        let error = dataset.records(Split::Test, 0, 2).expect_err("5 is no text").to_string();
        assert!(error.contains("GQA/test.json`: record 1: ") && error.contains("hint: "), "{error}");
        let error = dataset.len(Split::Train).expect_err("there is no train.json").to_string();
        assert!(error.contains("train.json` cannot be opened") && error.contains("hint: "), "{error}");
        folder.write_text("train.json", r#"[{"id": "1"}, {"id": "#);
        let error = folder.open("")?.len(Split::Val).expect_err("cut off").to_string();
        assert!(
            error.contains("record 1 begins at byte 14 and is cut off") && error.contains("hint: "),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn a_wrong_configuration_is_refused() {
        let folder = Folder::new(&TASK);
        for (config, part) in [
            ("instruction = \"x\"", "instruction"),
            ("validation = 1.0", "hint: 0.05"),
            ("instructions = \"Instructions_Diverse\"", "Instructions_Diverse"),
        ] {
            let error = folder.open(config).err().expect("a wrong configuration");
            assert!(error.message().contains(part), "{error}");
        }
    }
}
