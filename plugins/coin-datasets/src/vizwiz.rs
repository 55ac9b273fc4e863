//! VizWiz (Gurari et al. 2018, arXiv 1802.08218): questions of blind people on their photos; some cannot be answered. CoIN scores the
//! validation part, the only one with public answers.

use crate::index::Layout;
use crate::side::Side;
use crate::task::Task;

pub(crate) const TASK: Task = Task {
    folder: "VizWiz",
    test: "val.json",
    task_type: "questions of blind people on their photos",
    metric: "vizwiz",
    answer_form: "a word or a phrase, or `unanswerable`",
    side: Some(Side {
        path: "VizWiz/vizwiz_val_annotations.json",
        layout: Layout::Records,
        id: "image",
        keeps_target: true,
    }),
    ..Task::PHRASE
};

#[cfg(test)]
mod tests {
    use coin_plugin_api::{Result, Split};

    use super::*;
    use crate::fixture::Folder;

    #[test]
    fn ten_answers_are_found_by_the_picture() -> Result<()> {
        let folder = Folder::new(&TASK);
        folder.write("val.json", &serde_json::json!([
            {"question_id": "VizWiz_val_1.jpg", "image": "VizWiz/val/VizWiz_val_1.jpg",
                "text": "What is this?\nAnswer the question using a single word or phrase.", "answer": "unanswerable"},
        ]));
        folder.write_image_file(
            "VizWiz/vizwiz_val_annotations.json",
            r#"[{"image": "VizWiz_val_1.jpg", "answers": [{"answer": "cup"}, {"answer": "unanswerable"}]}]"#,
        );
        let record = folder.open("")?.records(Split::Test, 0, 1)?.remove(0);
        assert_eq!(
            (record.answers, record.target.as_deref()),
            (vec!["cup".into(), "unanswerable".into()], Some("unanswerable"))
        );
        Ok(())
    }

    #[test]
    fn the_validation_file_is_the_test_part_and_never_the_validation_part() -> Result<()> {
        let folder = Folder::new(&TASK);
        folder.write("val.json", &serde_json::json!([
            {"question_id": "VizWiz_val_1.jpg", "image": "VizWiz/val/1.jpg",
                "text": "What is this?\nAnswer the question using a single word or phrase.", "answer": "unanswerable"},
        ]));
        folder.write(
            "test.json",
            &serde_json::json!([{"question_id": "t", "image": "VizWiz/test/1.jpg", "text": "What is this?"}]),
        );
        folder.write_training(40);
        let dataset = folder.open("validation = 0.5")?;
        let test = dataset.records(Split::Test, 0, 1)?.remove(0);
        assert_eq!((test.id.as_str(), test.answers[0].as_str()), ("VizWiz_val_1.jpg", "unanswerable"));
        let val = dataset.records(Split::Val, 0, dataset.len(Split::Val)?)?;
        assert!(!val.is_empty() && val.iter().all(|record| record.id.starts_with("train-")));
        Ok(())
    }
}
