//! What is particular about a task.

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
    /// A file with all answers of the annotators to the test questions, below the image folder.
    pub(crate) annotations: Option<&'static str>,
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
        annotations: None,
    };
}
