//! Any task in LLaVA's conversation layout, or in the test layout of CoIN and its followers: a lab's own, UCIT, MLLM-CL, TRACE.

use std::path::Path;

use coin_plugin_api::{Dataset, DatasetDescription, Error, Result};
use serde::Deserialize;

use crate::dataset::{self, Files};
use crate::task::{Form, Line};

/// Keys of a task's `config`. Paths are below the task's root.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Files of records, JSON lists or JSON lines.
    train: String,
    /// None: a part of the training file.
    val: String,
    test: String,
    /// Folder that image paths start from.
    images: String,
    /// As for CoIN's tasks.
    validation: f64,
    /// Which line of a question is its instruction: `none`, `known` (the last, where it is one that CoIN uses), `last`.
    instruction_line: String,
    /// Whether questions end with lines `A. ..`, `B. ..`.
    options: bool,
    /// Whether answers are boxes `[x1,y1,x2,y2]`.
    boxes: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            train: String::from("train.json"),
            val: String::new(),
            test: String::from("test.json"),
            images: String::from("."),
            validation: 0.05,
            instruction_line: String::from("known"),
            options: false,
            boxes: false,
        }
    }
}

/// Opens a task. Its metric is the configuration's to name.
///
/// # Errors
/// A wrong configuration; a file that is not there.
pub(crate) fn open(root: &Path, config: &str) -> Result<Box<dyn Dataset>> {
    let config: Config = coin_plugin_api::from_toml(config)?;
    let line = match config.instruction_line.as_str() {
        "none" => Line::None,
        "known" => Line::Known,
        "last" => Line::Last,
        other => {
            return Err(Error::config(format!(
                "instruction_line = \"{other}\"\nhint: `none`, `known` or `last`"
            )));
        }
    };
    for (key, name) in [("train", &config.train), ("val", &config.val), ("test", &config.test)] {
        let is_named = key != "val" || !name.is_empty();
        if is_named && !root.join(name).is_file() {
            return Err(Error::new(format!(
                "{key}: there is no file `{}`\nhint: name the files in the task's `config`, for example `{{ train = \"train.jsonl\", test = \"test.json\" }}`",
                root.join(name).display()
            )));
        }
    }
    let files = Files {
        train: root.join(&config.train),
        val: Some(root.join(&config.val)).filter(|_| !config.val.is_empty()),
        test: root.join(&config.test),
        side: None,
    };
    let about = DatasetDescription {
        task_type: String::from("instructions"),
        metric: String::new(),
        answer_form: String::from("as the instructions say"),
    };
    let form = Form {
        images: config.images,
        options: config.options,
        boxes: config.boxes,
        line,
        asked: &["text", "prompt", "question"],
    };
    dataset::open(about, root, files, form, config.validation)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use coin_plugin_api::Split;
    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = TempDir::new().expect("a temporary folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        folder
    }

    const TRAIN: &str = "{\"id\": \"a\", \"image\": \"x.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nWhat?\"}, {\"from\": \"gpt\", \"value\": \"a cup\"}]}\n\
        {\"id\": \"b\", \"conversations\": [{\"from\": \"human\", \"value\": \"Why?\"}, {\"from\": \"gpt\", \"value\": \"so\"}]}\n";

    #[test]
    fn lines_and_lists_conversations_and_prompts_are_read() -> Result<()> {
        let folder = folder(&[
            ("own.jsonl", TRAIN),
            ("eval.json", r#"[{"prompt": "Sort:\n1, 3, 2\nAnswer:", "answer": "1, 2, 3"}]"#),
        ]);
        let config = "train = \"own.jsonl\"\ntest = \"eval.json\"\nimages = \"pictures\"\nvalidation = 0.0";
        let dataset = open(folder.path(), config)?;
        let train = dataset.records(Split::Train, 0, dataset.len(Split::Train)?)?;
        assert_eq!(train[0].image.as_deref(), Some("pictures/x.png"));
        assert_eq!((train[1].image.as_ref(), train[1].question.as_str()), (None, "Why?"));
        let test = dataset.records(Split::Test, 0, 1)?.remove(0);
        assert_eq!((test.id.as_str(), test.answers[0].as_str()), ("0", "1, 2, 3"));
        assert_eq!((test.question.as_str(), test.instruction), ("Sort:\n1, 3, 2\nAnswer:", None));
        let last = open(folder.path(), &format!("{config}\ninstruction_line = \"last\""))?;
        assert_eq!(last.records(Split::Test, 0, 1)?[0].instruction.as_deref(), Some("Answer:"));
        Ok(())
    }

    #[test]
    fn wrong_configurations_say_what_to_do() {
        let folder = folder(&[("train.json", "[]")]);
        for (config, part) in [
            ("", "test: there is no file"),
            ("test = \"train.json\"\nval = \"no.json\"", "val: there is no file"),
            ("test = \"train.json\"\ninstruction_line = \"first\"", "hint: `none`, `known` or `last`"),
            ("tests = \"train.json\"", "tests"),
        ] {
            let error = open(folder.path(), config).err().expect("a wrong configuration");
            assert!(error.message().contains(part), "{error}");
        }
    }
}
