//! The files of the data sets' authors that CoIN's scripts score by, beside CoIN's own: all answers of the annotators, options.

use std::collections::BTreeMap;
use std::path::Path;

use coin_plugin_api::Result;

use crate::file::RecordFile;
use crate::index::Layout;
use crate::json::{self, Value};

/// Where such a file is and how it is read.
pub(crate) struct Side {
    /// Below the image folder.
    pub(crate) path: &'static str,
    pub(crate) layout: Layout,
    /// Key of the question's id, where the id is not the member's name.
    pub(crate) id: &'static str,
    /// Whether CoIN goes on to use the one answer of its own file: its scripts compare with it, or show it to the judge.
    pub(crate) keeps_target: bool,
}

/// An opened file, looked up by question.
pub(crate) struct Truths {
    file: RecordFile,
    numbers: BTreeMap<Box<str>, u32>,
    is_map: bool,
    pub(crate) keeps_target: bool,
}

/// What it says of a question.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) answers: Vec<String>,
    pub(crate) options: Vec<String>,
}

impl Truths {
    /// Opens it; none where it does not exist.
    ///
    /// # Errors
    /// It is damaged.
    pub(crate) fn open(side: &Side, path: &Path) -> Result<Option<Truths>> {
        if !path.exists() {
            return Ok(None);
        }
        let file = RecordFile::open(path, side.layout)?;
        let is_map = side.layout == Layout::Members;
        let mut numbers = BTreeMap::new();
        let all: Vec<u32> = (0..file.len() as u32).collect();
        file.each(&all, &mut |number, bytes| {
            let id = read(bytes, is_map).map_err(|why| file.error(number, why))?;
            let id = if is_map { Some(&*id.0) } else { id.1.get(side.id).and_then(Value::scalar) };
            let Some(id) = id else { return Err(file.error(number, "it has no id")) };
            match numbers.insert(id.into(), number as u32) {
                Some(_) => Err(file.error(number, &format!("question {id} stands in an earlier record too"))),
                None => Ok(()),
            }
        })?;
        Ok(Some(Truths { file, numbers, is_map, keeps_target: side.keeps_target }))
    }

    /// What it says of a question.
    ///
    /// # Errors
    /// Nothing.
    pub(crate) fn of(&self, id: &str) -> Result<Truth, String> {
        let missing = || format!("`{}` has no answers to question {id}", self.file.path.display());
        let number = *self.numbers.get(id).ok_or_else(missing)?;
        let mut truth = Truth::default();
        let read = self.file.each(&[number], &mut |number, bytes| {
            let (_, value) = read(bytes, self.is_map).map_err(|why| self.file.error(number, why))?;
            truth = found(&value)
                .ok_or_else(|| self.file.error(number, "an answer or a choice is neither text nor number"))?;
            Ok(())
        });
        read.map_err(|error| error.message().to_string())?;
        if truth.answers.is_empty() { Err(missing()) } else { Ok(truth) }
    }
}

fn read(bytes: &[u8], is_map: bool) -> Result<(std::borrow::Cow<'_, str>, Value<'_>), &'static str> {
    let member =
        if is_map { json::member(bytes) } else { json::parse(bytes).map(|value| ("".into(), value)) };
    member.map_err(|fault| fault.why)
}

/// `answers` as texts or as `{"answer"}`; else `answer`, which is the place in `choices` where there are some. None where one of them is
/// no text.
fn found(value: &Value) -> Option<Truth> {
    let texts = |key: &str| -> Option<Vec<String>> {
        let items = value.get(key).and_then(Value::list).unwrap_or_default();
        let text = |item| Value::get(item, "answer").unwrap_or(item).scalar().map(String::from);
        items.iter().map(text).collect()
    };
    let options = texts("choices")?;
    let answer = value.get("answer").and_then(Value::scalar);
    let answers = match answer {
        Some(place) if !options.is_empty() => {
            let place = place.parse::<u8>().ok().filter(|place| usize::from(*place) < options.len().min(26));
            place.map(|place| char::from(b'A' + place).to_string()).into_iter().collect()
        }
        Some(answer) => vec![answer.to_string()],
        None => texts("answers")?,
    };
    Some(Truth { answers, options })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_answer_is_read() {
        let truth = |text: &str| found(&json::parse(text.as_bytes()).expect("JSON")).expect("texts");
        assert_eq!(truth(r#"{"answers": ["a", "b"]}"#).answers, ["a", "b"]);
        assert_eq!(truth(r#"{"answers": [{"answer": "a", "answer_id": 1}]}"#).answers, ["a"]);
        assert_eq!(truth(r#"{"answer": "yes"}"#).answers, ["yes"]);
        let choice = truth(r#"{"choices": ["milk", "a brick"], "answer": 1}"#);
        assert_eq!((choice.answers, choice.options.len()), (vec![String::from("B")], 2));
        assert_eq!(truth(r#"{"choices": ["milk"], "answer": 1}"#).answers, [""; 0]);
        assert_eq!(found(&json::parse(br#"{"answers": ["a", null]}"#).expect("JSON")), None);
    }
}
