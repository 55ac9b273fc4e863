//! VQAv2 (Goyal et al. 2017, arXiv 1612.00837): questions on everyday pictures. CoIN scores its validation part, with one answer for
//! each question.

use crate::index::Layout;
use crate::side::Side;
use crate::task::Task;

pub(crate) const TASK: Task = Task {
    folder: "VQAv2",
    test: "val.json",
    metric: "vqa-soft",
    side: Some(Side {
        path: "VQAv2/v2_mscoco_val2014_annotations.json",
        layout: Layout::Under("annotations"),
        id: "question_id",
        keeps_target: true,
    }),
    ..Task::PHRASE
};

#[cfg(test)]
mod tests {
    use coin_plugin_api::{Result, Split};
    use serde_json::json;

    use super::*;
    use crate::fixture::Folder;

    #[test]
    fn ten_answers_stand_beside_the_one_of_the_file() -> Result<()> {
        let folder = Folder::new(&TASK);
        folder.write(
            "val.json",
            &json!([{"question_id": 262, "image": "COCO2014/val2014/1.jpg",
            "text": "How many?\nAnswer the question using a single word or phrase.", "answer": "2"}]),
        );
        let answers: Vec<_> = (0..10)
            .map(|number| json!({"answer": if number < 4 { "two" } else { "2" }, "answer_id": number + 1}))
            .collect();
        folder.write_image_file(
            "VQAv2/v2_mscoco_val2014_annotations.json",
            &json!({
                "info": {"year": 2014}, "annotations": [{"answers": answers, "question_id": 262}],
            })
            .to_string(),
        );
        let record = folder.open("")?.records(Split::Test, 0, 1)?.remove(0);
        assert_eq!((record.answers.len(), record.target.as_deref()), (10, Some("2")));
        assert_eq!(record.answers.iter().filter(|answer| *answer == "two").count(), 4);
        Ok(())
    }

    #[test]
    fn answers_may_be_numbers_or_lists() -> Result<()> {
        let folder = Folder::new(&TASK);
        let item = |answer| {
            json!({"question_id": 1, "image": "COCO2014/val2014/1.jpg",
            "text": "How many?\nAnswer the question using a single word or phrase.", "answer": answer})
        };
        folder.write("val.json", &json!([item(json!(2)), item(json!("two")), item(json!(["2", "two"]))]));
        let records = folder.open("")?.records(Split::Test, 0, 3)?;
        let answers: Vec<String> = records.iter().map(|record| record.answers.join("|")).collect();
        assert_eq!(answers, ["2", "two", "2|two"]);
        Ok(())
    }
}
