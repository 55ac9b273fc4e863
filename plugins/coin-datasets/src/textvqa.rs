//! TextVQA (Singh et al. 2019, arXiv 1904.08920): reading text in pictures. CoIN scores its validation part, whose pictures lie among
//! those for training.

use crate::index::Layout;
use crate::side::Side;
use crate::task::Task;

pub(crate) const TASK: Task = Task {
    folder: "TextVQA",
    test: "val.json",
    task_type: "reading text in pictures",
    metric: "textvqa",
    side: Some(Side {
        path: "TextVQA/TextVQA_0.5.1_val.json",
        layout: Layout::Under("data"),
        id: "question_id",
        keeps_target: true,
    }),
    ..Task::PHRASE
};

#[cfg(test)]
mod tests {
    use coin_plugin_api::{Result, Split};

    use super::*;
    use crate::fixture::Folder;

    fn folder() -> Folder {
        let folder = Folder::new(&TASK);
        folder.write("val.json", &serde_json::json!([
            {"question_id": 34602, "image": "TextVQA/train_images/ab12.jpg",
                "text": "what brand is on the mug?\nAnswer the question using a single word or phrase.", "answer": "acme"},
        ]));
        folder
    }

    #[test]
    fn the_annotators_answers_stand_in_for_the_single_one() -> Result<()> {
        let folder = folder();
        let answers: Vec<&str> = ["acme", "acme inc"].into_iter().cycle().take(10).collect();
        folder.write_image_file("TextVQA/TextVQA_0.5.1_val.json", &serde_json::json!({
            "dataset_type": "val", "data": [{"question_id": 34602, "image_id": "ab12", "answers": answers}],
        }).to_string());
        let record = folder.open("")?.records(Split::Test, 0, 1)?.remove(0);
        assert_eq!(
            (record.id.as_str(), record.answers.len(), record.answers[1].as_str()),
            ("34602", 10, "acme inc")
        );
        assert_eq!(record.target, None, "it is the first annotator's");
        let answers = vec!["acme inc"; 10];
        folder.write_image_file(
            "TextVQA/TextVQA_0.5.1_val.json",
            &serde_json::json!({
                "data": [{"question_id": 34602, "answers": answers}],
            })
            .to_string(),
        );
        let record = folder.open("")?.records(Split::Test, 0, 1)?.remove(0);
        assert_eq!(record.target.as_deref(), Some("acme"));
        assert_eq!(record.answers, answers);
        Ok(())
    }

    #[test]
    fn without_the_annotators_file_the_single_answer_is_used() -> Result<()> {
        let record = folder().open("")?.records(Split::Test, 0, 1)?.remove(0);
        assert_eq!(record.answers, ["acme"]);
        Ok(())
    }

    #[test]
    fn a_question_that_the_annotators_file_lacks_is_an_error() -> Result<()> {
        let folder = folder();
        folder.write_image_file(
            "TextVQA/TextVQA_0.5.1_val.json",
            r#"{"data": [{"question_id": 1, "answers": ["x"]}]}"#,
        );
        let error = folder.open("")?.records(Split::Test, 0, 1).expect_err("34602 is missing");
        assert!(error.message().contains("record 0") && error.message().contains("34602"), "{error}");
        Ok(())
    }
}
