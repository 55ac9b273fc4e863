//! Grounding: RefCOCO, RefCOCO+ (Yu et al. 2016, arXiv 1608.00272) and RefCOCOg (Mao et al. 2016, arXiv 1511.02283) in one; answers are
//! boxes in 0..1 of the picture padded to a square.

use crate::task::Task;

pub(crate) const TASK: Task = Task {
    folder: "Grounding",
    task_type: "finding what an expression refers to",
    metric: "grounding",
    answer_form: "a box [x1,y1,x2,y2] in 0..1",
    boxes: true,
    ..Task::PHRASE
};

#[cfg(test)]
mod tests {
    use coin_plugin_api::{Result, Split};
    use serde_json::json;

    use super::*;
    use crate::fixture::Folder;

    const ASKED: &str =
        "Please provide the bounding box coordinate of the region this sentence describes: man in red";

    #[test]
    fn boxes_are_read_as_text_and_as_lists() -> Result<()> {
        let folder = Folder::new(&TASK);
        let item = |bbox| json!({"question_id": "g", "image": "COCO2014/train2014/1.jpg", "text": ASKED, "answer_bbox": bbox, "size": [640, 480]});
        folder.write(
            "test.json",
            &json!([item(json!("[0.12,0.30,0.40,0.66]")), item(json!([0.12, 0.3, 0.4, 0.66]))]),
        );
        folder.write("train.json", &json!([{"id": "t", "image": "COCO2014/train2014/1.jpg", "conversations": [
            {"from": "human", "value": format!("<image>\n{ASKED}")}, {"from": "gpt", "value": "[0.12,0.30,0.40,0.66]"}]}]));
        let dataset = folder.open("validation = 0.0")?;
        let mut records = dataset.records(Split::Test, 0, 2)?;
        records.extend(dataset.records(Split::Train, 0, 1)?);
        for record in &records {
            assert_eq!((record.question.as_str(), &record.instruction), (ASKED, &None));
            assert_eq!(record.bbox, Some([0.12, 0.3, 0.4, 0.66]));
        }
        assert_eq!(records[0].size, Some([640, 480]));
        assert_eq!(
            [0, 1, 2].map(|i| records[i].answers[0].as_str()),
            ["[0.12,0.30,0.40,0.66]", "[0.12,0.3,0.4,0.66]", "[0.12,0.30,0.40,0.66]"]
        );
        Ok(())
    }

    #[test]
    fn an_answer_that_is_no_box_is_an_error() -> Result<()> {
        let folder = Folder::new(&TASK);
        folder.write(
            "test.json",
            &json!([{"question_id": "g", "image": "1.jpg", "text": ASKED, "answer_bbox": "[0.1,0.2]"}]),
        );
        let error = folder.open("")?.records(Split::Test, 0, 1).expect_err("two numbers are no box");
        assert!(error.message().contains("test.json`: record 0: `[0.1,0.2]` is not a box"), "{error}");
        Ok(())
    }
}
