//! OCR-VQA (Mishra et al. 2019): questions on book covers. The only task of CoIN with a validation file beside the test file.

use crate::task::Task;

pub(crate) const TASK: Task = Task {
    folder: "OCRVQA",
    val: Some("val.json"),
    task_type: "questions on book covers",
    metric: "ocr-vqa",
    ..Task::PHRASE
};

#[cfg(test)]
mod tests {
    use coin_plugin_api::{Result, Split};
    use serde_json::json;

    use super::*;
    use crate::fixture::Folder;

    #[test]
    fn the_validation_file_is_used_where_there_is_one() -> Result<()> {
        let folder = Folder::new(&TASK);
        let item = |id| {
            json!([{"question_id": id, "image": "OCR-VQA/images/123.jpg",
            "text": "Who wrote this book?\nAnswer the question using a single word or phrase.", "answer": "Jane Doe"}])
        };
        folder.write("test.json", &item("test"));
        folder.write_training(40);
        let dataset = folder.open("validation = 0.5")?;
        let kept = dataset.len(Split::Train)?;
        assert!(kept < 40 && kept + dataset.len(Split::Val)? == 40);
        folder.write("val.json", &item("val"));
        let dataset = folder.open("validation = 0.5")?;
        assert_eq!((dataset.len(Split::Train)?, dataset.len(Split::Val)?), (40, 1));
        assert_eq!(dataset.records(Split::Val, 0, 1)?[0].id, "val");
        Ok(())
    }
}
