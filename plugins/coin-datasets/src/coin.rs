//! A task of CoIN in the layout of its release.

use std::path::Path;

use coin_plugin_api::{Dataset, DatasetDescription, Error, Result};
use serde::Deserialize;

use crate::dataset::{self, Files};
use crate::task::Task;

/// Keys of a task's `config`.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Folder of the instruction files below the root: `Instructions_Original`, `Instructions_Diverse`, `Instructions_10Type`.
    instructions: String,
    /// Folder below the root that the image paths of the records start from.
    images: String,
    /// Part of the training pictures whose questions are set aside for validation, where the task has no validation file.
    validation: f64,
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
    let folder = root.join(&config.instructions).join(task.folder);
    if !folder.is_dir() {
        return Err(Error::new(format!(
            "there is no folder `{}`\nhint: `root` is the folder that holds `{}` and `{}`; both names can be set in the task's `config`",
            folder.display(),
            config.instructions,
            config.images
        )));
    }
    let files = Files {
        train: folder.join("train.json"),
        val: task.val.map(|name| folder.join(name)).filter(|path| path.is_file()),
        test: folder.join(task.test),
        side: task.side.as_ref().map(|side| (side, root.join(&config.images).join(side.path))),
    };
    let about = DatasetDescription {
        task_type: task.task_type.into(),
        metric: task.metric.into(),
        answer_form: task.answer_form.into(),
    };
    dataset::open(about, root, files, task.form(&config.images), config.validation)
}
