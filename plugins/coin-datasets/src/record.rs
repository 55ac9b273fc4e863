//! From a record of CoIN's files to the host's.

use std::collections::BTreeMap;
use std::path::Path;

use coin_plugin_api::{Error, Record, Result};
use serde::Deserialize;

use crate::item::{BoxValue, Item, Scalar};
use crate::task::Task;
use crate::text;

/// All answers of the annotators, by question.
pub(crate) type Annotations = BTreeMap<String, Vec<String>>;

/// Reads TextVQA's own file of annotations; none where it does not exist.
pub(crate) fn annotations(path: &Path) -> Result<Option<Annotations>> {
    #[derive(Deserialize)]
    struct File {
        data: Vec<Question>,
    }
    #[derive(Deserialize)]
    struct Question {
        question_id: Scalar,
        #[serde(default)]
        answers: Vec<String>,
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::new(format!("`{}` cannot be read: {error}", path.display()))),
    };
    let file: File = serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(format!("`{}`: {error}\nhint: the file may be cut off; fetch it again", path.display()))
    })?;
    Ok(Some(
        file.data.into_iter().map(|question| (question.question_id.into_text(), question.answers)).collect(),
    ))
}

/// Reads one record.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn record(
    item: Item,
    number: usize,
    task: &Task,
    images: &str,
    annotations: Option<&Annotations>,
) -> Result<Record, String> {
    let id = item.question_id.or(item.id).map_or_else(|| number.to_string(), Scalar::into_text);
    let image = item.image.as_deref().map(|path| place(path, images)).transpose()?;
    let mut turns = item.conversations.into_iter();
    let (text, mut answers) = match (turns.next(), turns.next(), item.text) {
        (Some(question), Some(answer), _) => {
            if !matches!(question.from.as_str(), "human" | "user") {
                return Err(format!("the conversation begins with `{}`, not with `human`", question.from));
            }
            (question.value, vec![answer.value])
        }
        (Some(_), None, _) => return Err(String::from("the conversation has a question and no answer")),
        (None, _, Some(text)) => (text, item.answer.map(|answer| answer.into_texts()).unwrap_or_default()),
        (None, _, None) => return Err(String::from("there is neither `conversations` nor `text`")),
    };
    match item.answer_bbox {
        Some(BoxValue::Text(text)) => answers = vec![text],
        Some(BoxValue::List(list)) => {
            let bbox: [f64; 4] =
                list.try_into().map_err(|list| format!("{list:?} is not a box of four numbers"))?;
            answers = vec![text::write_box(&bbox)];
        }
        None => {}
    }
    if let Some(annotations) = annotations {
        answers = annotations
            .get(&id)
            .cloned()
            .ok_or_else(|| format!("the annotators' file has no answers to question {id}"))?;
    }
    let Some(first) = answers.first() else { return Err(String::from("there is no answer")) };
    let bbox = match task.boxes {
        true => {
            Some(text::parse_box(first).ok_or_else(|| format!("`{first}` is not a box of four numbers"))?)
        }
        false => None,
    };
    let (question, instruction) = text::split_instruction(&text::without_image_mark(&text), task.boxes);
    let options = if task.options { text::options(&question) } else { Vec::new() };
    let size = item.size.map(|size| size.map(|pixels| pixels as u32));
    Ok(Record { id, image, question, instruction, options, answers, bbox, size })
}

/// Where a picture lies below the task's root.
fn place(path: &str, images: &str) -> Result<String, String> {
    let path = text::inside(path).map_err(|why| format!("the image path `{path}` {why}"))?;
    let images = images.trim_end_matches('/');
    Ok(if images.is_empty() || images == "." { path } else { format!("{images}/{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Record, String> {
        let item = serde_json::from_str(text).expect("the sample is JSON");
        record(item, 3, &Task::PHRASE, "cl_dataset", None)
    }

    #[test]
    fn faulty_records_say_what_is_wrong() {
        for (text, why) in [
            (r#"{"text": "a"}"#, "there is no answer"),
            (r#"{"answer": "a"}"#, "there is neither `conversations` nor `text`"),
            (
                r#"{"conversations": [{"from": "human", "value": "a"}]}"#,
                "the conversation has a question and no answer",
            ),
            (
                r#"{"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "b"}]}"#,
                "the conversation begins with `gpt`, not with `human`",
            ),
            (
                r#"{"image": "../secret.png", "text": "a", "answer": "b"}"#,
                "the image path `../secret.png` climbs out of the image folder",
            ),
            (
                r#"{"image": "/etc/passwd", "text": "a", "answer": "b"}"#,
                "the image path `/etc/passwd` is absolute",
            ),
        ] {
            assert_eq!(read(text), Err(String::from(why)));
        }
    }

    #[test]
    fn a_record_without_an_id_is_called_by_its_number() {
        assert_eq!(read(r#"{"text": "a", "answer": "b"}"#).map(|record| record.id), Ok(String::from("3")));
    }

    #[test]
    fn keys_that_no_task_needs_are_passed_over() {
        let record = read(
            r#"{"question_id": 5, "id": "x", "image": "a.png", "text": "q", "answer": "b", "category": {"c": 1}}"#,
        );
        let record = record.expect("a good record");
        assert_eq!((record.id.as_str(), record.image.as_deref()), ("5", Some("cl_dataset/a.png")));
    }
}
