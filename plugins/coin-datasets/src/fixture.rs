//! Small files in CoIN's layout, for tests.

use std::fs;
use std::path::Path;

use coin_plugin_api::{Dataset, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::coin;
use crate::task::Task;

/// A root folder with the instruction folder of one task.
pub(crate) struct Folder {
    root: TempDir,
    task: &'static Task,
}

impl Folder {
    pub(crate) fn new(task: &'static Task) -> Folder {
        let root = TempDir::new().expect("a temporary folder");
        fs::create_dir_all(root.path().join("Instructions_Original").join(task.folder)).expect("a folder");
        Folder { root, task }
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn open(&self, config: &str) -> Result<Box<dyn Dataset>> {
        coin::open(self.task, self.root(), config)
    }

    pub(crate) fn write(&self, name: &str, records: &Value) {
        self.write_text(name, &records.to_string());
    }

    pub(crate) fn write_text(&self, name: &str, text: &str) {
        self.write_bytes(name, text.as_bytes());
    }

    pub(crate) fn write_bytes(&self, name: &str, text: &[u8]) {
        let folder = self.root().join("Instructions_Original").join(self.task.folder);
        fs::write(folder.join(name), text).expect("a file can be written");
    }

    /// A file below the image folder.
    pub(crate) fn write_image_file(&self, path: &str, text: &str) {
        let path = self.root().join("cl_dataset").join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file can be written");
    }

    /// `train.json` with records `train-0`, `train-1`, .., each with a picture of its own.
    pub(crate) fn write_training(&self, count: usize) {
        let item = |number: usize| {
            json!({"id": format!("train-{number}"), "image": format!("p/{number}.gif"), "conversations": [
                {"from": "human", "value": "<image>\nWhat is this?\nAnswer the question using a single word or phrase."},
                {"from": "gpt", "value": "a cup"}]})
        };
        self.write("train.json", &json!((0..count).map(item).collect::<Vec<_>>()));
    }
}
