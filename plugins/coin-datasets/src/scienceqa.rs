//! ScienceQA (Lu et al. 2022, arXiv 2209.09513): multiple choice; part of the questions have no picture.

use crate::index::Layout;
use crate::side::Side;
use crate::task::Task;

pub(crate) const TASK: Task = Task {
    folder: "ScienceQA",
    task_type: "multiple choice on science, with or without a picture",
    metric: "multiple-choice",
    answer_form: "an option's letter",
    options: true,
    side: Some(Side {
        path: "ScienceQA/problems.json",
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
    fn problems_give_options_and_the_right_letter() -> Result<()> {
        let folder = Folder::new(&TASK);
        folder.write(
            "test.json",
            &serde_json::json!([{"question_id": "9", "text": "Which?\nA. milk\nB. a brick"}]),
        );
        folder.write_image_file(
            "ScienceQA/problems.json",
            r#"{"8": {"choices": ["x"], "answer": 0}, "9": {"choices": ["milk", "a brick"], "answer": 1, "image": null}}"#,
        );
        let record = folder.open("")?.records(Split::Test, 0, 1)?.remove(0);
        assert_eq!(
            (record.answers, record.options),
            (vec!["B".into()], vec!["milk".into(), "a brick".into()])
        );
        Ok(())
    }

    #[test]
    fn options_and_questions_without_a_picture_are_read() -> Result<()> {
        let folder = Folder::new(&TASK);
        let question = "Which one is a solid?\nA. milk\nB. a brick";
        let letter = "Answer with the option's letter from the given choices directly.";
        folder.write("train.json", &serde_json::json!([
            {"id": "7", "image": "ScienceQA/images/train/7/image.png", "conversations": [
                {"from": "human", "value": format!("<image>\n{question}\n{letter}")}, {"from": "gpt", "value": "B"}]},
            {"id": "8", "conversations": [
                {"from": "human", "value": format!("{question}\n{letter}")}, {"from": "gpt", "value": "A"}]},
        ]));
        folder.write(
            "test.json",
            &serde_json::json!([
                {"question_id": "9", "text": format!("{question}\n{letter}"), "answer": "B"},
            ]),
        );
        let dataset = folder.open("validation = 0.0")?;
        let train = dataset.records(Split::Train, 0, 2)?;
        assert_eq!(train[0].image.as_deref(), Some("cl_dataset/ScienceQA/images/train/7/image.png"));
        assert_eq!((train[0].question.as_str(), train[0].instruction.as_deref()), (question, Some(letter)));
        assert_eq!(
            (&train[0].options, &train[0].answers),
            (&vec!["milk".into(), "a brick".into()], &vec!["B".into()])
        );
        assert_eq!((train[1].id.as_str(), &train[1].image), ("8", &None));
        let test = dataset.records(Split::Test, 0, 1)?;
        assert_eq!((test[0].id.as_str(), test[0].options.len(), test[0].answers[0].as_str()), ("9", 2, "B"));
        Ok(())
    }
}
