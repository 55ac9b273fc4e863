//! ImageNet (Deng et al. 2009), as CoIN uses it: names of 101 classes.

use crate::task::Task;

pub(crate) const TASK: Task = Task {
    folder: "ImageNet",
    task_type: "classification",
    metric: "classification",
    answer_form: "a class name",
    ..Task::PHRASE
};

#[cfg(test)]
mod tests {
    use coin_plugin_api::{Result, Split};

    use super::*;
    use crate::fixture::Folder;

    #[test]
    fn the_question_line_is_not_taken_for_the_instruction() -> Result<()> {
        let folder = Folder::new(&TASK);
        folder.write("test.json", &serde_json::json!([
            {"question_id": "ILSVRC2012_val_00000001", "image": "ImageNet_withlabel/val/1.JPEG",
                "text": "What is the object in the image?\nAnswer the question using a single word or phrase.", "answer": "goldfish"},
        ]));
        let record = folder.open("images = \"pictures\"")?.records(Split::Test, 0, 1)?.remove(0);
        assert_eq!(record.question, "What is the object in the image?");
        assert_eq!(record.image.as_deref(), Some("pictures/ImageNet_withlabel/val/1.JPEG"));
        assert_eq!(record.answers, ["goldfish"]);
        Ok(())
    }
}
