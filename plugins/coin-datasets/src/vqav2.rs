//! VQAv2 (Goyal et al. 2017, arXiv 1612.00837): questions on everyday pictures. CoIN scores its validation part, with one answer for
//! each question.

use crate::task::Task;

pub(crate) const TASK: Task = Task { folder: "VQAv2", test: "val.json", metric: "vqa-soft", ..Task::PHRASE };

#[cfg(test)]
mod tests {
    use coin_plugin_api::{Result, Split};
    use serde_json::json;

    use super::*;
    use crate::fixture::Folder;

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
