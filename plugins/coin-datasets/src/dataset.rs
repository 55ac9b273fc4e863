//! What all tasks have in common: files, splits, ranges of records.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use coin_plugin_api::{Dataset, DatasetDescription, Error, Record, Result, Split};

use crate::file::RecordFile;
use crate::index::Layout;
use crate::record::record;
use crate::side::{Side, Truths};
use crate::split::held_out;
use crate::task::Form;

/// The files of a task.
pub(crate) struct Files {
    pub(crate) train: PathBuf,
    /// The validation file, where the task has one and it is there.
    pub(crate) val: Option<PathBuf>,
    pub(crate) test: PathBuf,
    /// What the authors of the data set say of the test questions, and where.
    pub(crate) side: Option<(&'static Side, PathBuf)>,
}

/// A split: some records of a file.
pub(crate) struct Part {
    file: Arc<RecordFile>,
    numbers: Vec<u32>,
}

impl Part {
    fn whole(file: RecordFile) -> Part {
        Part { numbers: (0..file.len() as u32).collect(), file: Arc::new(file) }
    }
}

/// A task whose files are looked through when they are first needed.
pub(crate) struct FileDataset {
    pub(crate) about: DatasetDescription,
    pub(crate) root: PathBuf,
    pub(crate) files: Files,
    pub(crate) form: Form,
    /// Part of the training pictures whose questions are set aside where there is no validation file.
    pub(crate) validation: f64,
    training: OnceLock<Result<[Part; 2]>>,
    test: OnceLock<Result<Part>>,
    truths: OnceLock<Result<Option<Truths>>>,
}

/// Opens the files of a task.
///
/// # Errors
/// A part for validation that is none.
pub(crate) fn open(
    about: DatasetDescription,
    root: &Path,
    files: Files,
    form: Form,
    validation: f64,
) -> Result<Box<dyn Dataset>> {
    if !(0.0..1.0).contains(&validation) {
        return Err(Error::config(format!(
            "validation = {validation} is not in [0, 1)\nhint: 0.05 sets a twentieth of the training pictures aside, 0.0 none"
        )));
    }
    Ok(Box::new(FileDataset {
        about,
        root: root.to_path_buf(),
        files,
        form,
        validation,
        training: OnceLock::new(),
        test: OnceLock::new(),
        truths: OnceLock::new(),
    }))
}

impl FileDataset {
    /// Train and val.
    fn open_training(&self) -> Result<[Part; 2]> {
        let file = RecordFile::open(&self.files.train, Layout::Records)?;
        if let Some(path) = &self.files.val {
            return Ok([Part::whole(file), Part::whole(RecordFile::open(path, Layout::Records)?)]);
        }
        let (mut train, mut val) = (Vec::new(), Vec::new());
        let all: Vec<u32> = (0..file.len() as u32).collect();
        if self.validation == 0.0 {
            train = all;
        } else {
            file.each(&all, &mut |number, bytes| {
                let held = held_out(bytes, number, self.validation);
                if held { &mut val } else { &mut train }.push(number as u32);
                Ok(())
            })?;
        }
        let file = Arc::new(file);
        Ok([Part { file: file.clone(), numbers: train }, Part { file, numbers: val }])
    }

    fn part(&self, split: Split) -> Result<&Part> {
        let training = || self.training.get_or_init(|| self.open_training()).as_ref().map_err(Clone::clone);
        match split {
            Split::Train => training().map(|parts| &parts[0]),
            Split::Val => training().map(|parts| &parts[1]),
            Split::Test => {
                let open = || RecordFile::open(&self.files.test, Layout::Records).map(Part::whole);
                self.test.get_or_init(open).as_ref().map_err(Clone::clone)
            }
        }
    }

    /// What the authors of the data set say of the test questions.
    pub(crate) fn truths(&self) -> Result<Option<&Truths>> {
        let Some((side, path)) = &self.files.side else { return Ok(None) };
        match self.truths.get_or_init(|| Truths::open(side, path)) {
            Ok(found) => Ok(found.as_ref()),
            Err(error) => Err(error.clone()),
        }
    }
}

impl Dataset for FileDataset {
    fn describe(&self) -> DatasetDescription {
        self.about.clone()
    }

    fn len(&self, split: Split) -> Result<usize> {
        Ok(self.part(split)?.numbers.len())
    }

    fn records(&self, split: Split, start: usize, end: usize) -> Result<Vec<Record>> {
        let part = self.part(split)?;
        let Some(numbers) = part.numbers.get(start..end) else {
            return Err(Error::new(format!(
                "`{}` has {} records in its {} split, not {start}..{end}",
                part.file.path.display(),
                part.numbers.len(),
                split.name()
            )));
        };
        let truths = if split == Split::Test { self.truths()? } else { None };
        let mut records = Vec::with_capacity(numbers.len());
        part.file.each_value(numbers, &mut |number, value| {
            let read = value.and_then(|value| record(&value, number, &self.form, truths));
            records.push(read.map_err(|why| part.file.error(number, &why))?);
            Ok(())
        })?;
        Ok(records)
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let Files { train, val, test, side } = &self.files;
        // Who asks wants to know what is read: a file beside the others is where it exists.
        let side = side.as_ref().map(|(_, path)| path).filter(|path| path.exists());
        let all = [Some(train), val.as_ref(), Some(test), side];
        let below_root = |path: &PathBuf| path.strip_prefix(&self.root).unwrap_or(path).to_path_buf();
        Ok(all.into_iter().flatten().map(below_root).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::Folder;
    use crate::task::Task;

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
            error.contains("record 1 begins at byte 14 and is cut off at byte 21")
                && error.contains("hint: "),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn invalid_utf8_is_refused_with_its_byte() -> Result<()> {
        let folder = Folder::new(&TASK);
        folder.write_bytes("test.json", b"[{\"question_id\": 1, \"text\": \"caf\xe9\", \"answer\": \"a\"}]");
        let error = folder.open("")?.records(Split::Test, 0, 1).expect_err("no UTF-8").to_string();
        assert!(error.contains("test.json`: record 0: byte 32 of the file: invalid UTF-8"), "{error}");
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
