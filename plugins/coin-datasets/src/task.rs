//! What is particular about a task.

use crate::side::Side;

/// Where the records of a task are and how they are read.
pub(crate) struct Task {
    /// Folder of the instruction files.
    pub(crate) folder: &'static str,
    /// File that CoIN's evaluation script of the task reads.
    pub(crate) test: &'static str,
    /// File of a validation part that is not the test file.
    pub(crate) val: Option<&'static str>,
    /// Kind of task, for a person.
    pub(crate) task_type: &'static str,
    /// The host's metric.
    pub(crate) metric: &'static str,
    /// Form of answers, for a person.
    pub(crate) answer_form: &'static str,
    /// Whether questions end with options.
    pub(crate) options: bool,
    /// Whether answers are boxes. Such questions have no instruction line of their own.
    pub(crate) boxes: bool,
    /// What the authors of the data set say of the test questions.
    pub(crate) side: Option<Side>,
}

impl Task {
    /// A task whose answers are a word or a phrase.
    pub(crate) const PHRASE: Task = Task {
        folder: "",
        test: "test.json",
        val: None,
        task_type: "visual question answering",
        metric: "exact-match",
        answer_form: "a word or a phrase",
        options: false,
        boxes: false,
        side: None,
    };

    /// How its records are read, with the pictures in a folder below the root.
    pub(crate) fn form(&self, images: &str) -> Form {
        Form {
            images: images.to_string(),
            options: self.options,
            boxes: self.boxes,
            line: if self.boxes { Line::Known } else { Line::Last },
            asked: &["text"],
        }
    }
}

/// How records are read.
pub(crate) struct Form {
    /// Folder below the root that image paths start from.
    pub(crate) images: String,
    pub(crate) options: bool,
    pub(crate) boxes: bool,
    pub(crate) line: Line,
    /// Keys that a question without a conversation stands under.
    pub(crate) asked: &'static [&'static str],
}

/// Which line of a question is its instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// None.
    None,
    /// The last of several, where it is one that CoIN uses.
    Known,
    /// The last of several.
    Last,
}
