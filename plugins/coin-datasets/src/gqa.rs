//! GQA (Hudson & Manning 2019, arXiv 1902.09506): compositional questions; the test part is testdev-balanced.

use crate::index::Layout;
use crate::side::Side;
use crate::task::Task;

pub(crate) const TASK: Task = Task {
    folder: "GQA",
    task_type: "compositional questions",
    metric: "gqa",
    side: Some(Side {
        path: "GQA/testdev_balanced_questions.json",
        layout: Layout::Members,
        id: "",
        keeps_target: false,
    }),
    ..Task::PHRASE
};

#[cfg(test)]
mod tests {
    use coin_plugin_api::{Result, Split};

    use super::*;
    use crate::fixture::Folder;

    #[test]
    fn the_authors_answer_is_the_one_that_counts() -> Result<()> {
        let folder = Folder::new(&TASK);
        folder.write("test.json", &serde_json::json!([
            {"question_id": "2011", "image": "./GQA/images/n1.jpg", "text": "Is the cup red?", "answer": "no"},
        ]));
        folder.write_image_file(
            "GQA/testdev_balanced_questions.json",
            r#"{"2011": {"semantic": [{"dependencies": []}], "answer": "yes", "question": "Is the cup red?"}}"#,
        );
        let dataset = folder.open("")?;
        assert_eq!(dataset.records(Split::Test, 0, 1)?[0].answers, ["yes"]);
        Ok(())
    }

    #[test]
    fn paths_that_start_with_a_dot_are_read() -> Result<()> {
        let folder = Folder::new(&TASK);
        folder.write("test.json", &serde_json::json!([
            {"question_id": "2011", "image": "./GQA/images/n1.jpg",
                "text": "Is the cup red?\nAnswer the question using a single word or phrase.", "answer": "yes"},
        ]));
        let record = folder.open("")?.records(Split::Test, 0, 1)?.remove(0);
        assert_eq!(record.image.as_deref(), Some("cl_dataset/GQA/images/n1.jpg"));
        Ok(())
    }
}
