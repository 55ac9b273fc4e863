//! Prediction and annotation files in memory, and what can be wrong with them.

use crate::eval::python::Json;
use crate::eval::python::json::{self, Key};

/// An annotation file.
pub struct Document {
    /// As messages name it.
    pub name: String,
    pub value: Json,
}

/// A predictions file: one object a line, in CoIN's form `{"question_id", "prompt", "text", ..}`.
pub struct Predictions {
    /// As messages name it.
    pub name: String,
    pub lines: Vec<Line>,
}

pub struct Line {
    /// From 1.
    pub number: usize,
    pub value: Json,
}

impl Predictions {
    /// `file:line`.
    pub fn place(&self, line: &Line) -> String {
        format!("{}:{}", self.name, line.number)
    }
}

/// Something in a file that CoIN's scripts stop at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct Fault {
    /// The file, and the line or the item.
    pub place: String,
    pub reason: String,
    /// The class of the exception that Python raises.
    pub exception: &'static str,
}

impl Fault {
    pub fn new(exception: &'static str, place: impl Into<String>, reason: impl Into<String>) -> Self {
        Fault { place: place.into(), reason: reason.into(), exception }
    }
}

/// Reads an annotation file.
///
/// # Errors
/// Bytes that are not UTF-8, and text that is not JSON.
pub fn document(name: &str, bytes: &[u8]) -> Result<Document, Fault> {
    let text = decode(name, bytes)?;
    let value = json::loads(text).map_err(|error| Fault::new(NO_JSON, name, error.to_string()))?;
    Ok(Document { name: name.to_owned(), value })
}

/// Reads a predictions file.
///
/// # Errors
/// Bytes that are not UTF-8, and lines that are not JSON, empty ones included.
pub fn predictions(name: &str, bytes: &[u8]) -> Result<Predictions, Fault> {
    let text = decode(name, bytes)?;
    let line = |(number, line): (usize, &str)| match json::loads(line) {
        Ok(value) => Ok(Line { number, value }),
        Err(_) if line.trim().is_empty() => {
            Err(Fault::new(NO_JSON, format!("{name}:{number}"), "the line is empty"))
        }
        Err(error) => Err(Fault::new(
            NO_JSON,
            format!("{name}:{number}"),
            format!("the line is not JSON: column {}: {}", error.column, error.reason),
        )),
    };
    Ok(Predictions { name: name.to_owned(), lines: json::lines(text).map(line).collect::<Result<_, _>>()? })
}

const NO_JSON: &str = "json.decoder.JSONDecodeError";

fn decode<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        Fault::new("UnicodeDecodeError", format!("{name}:{line}"), "the line is not UTF-8")
    })
}

/// `value[key]` of an object.
pub(super) fn member<'a>(value: &'a Json, key: &str, place: &str) -> Result<&'a Json, Fault> {
    match value {
        Json::Object(members) => {
            members.get(key).ok_or_else(|| Fault::new("KeyError", place, format!("`{key}` is missing")))
        }
        other => Err(Fault::new("TypeError", place, format!("{} stands for an object", other.kind()))),
    }
}

/// `value[key]`, a text whose methods are called.
pub(super) fn text<'a>(value: &'a Json, key: &str, place: &str) -> Result<&'a str, Fault> {
    text_or(value, key, place, "AttributeError")
}

/// `value[key]`, a text; anything else raises `exception`.
pub(super) fn text_or<'a>(
    value: &'a Json,
    key: &str,
    place: &str,
    exception: &'static str,
) -> Result<&'a str, Fault> {
    let value = member(value, key, place)?;
    value
        .text()
        .ok_or_else(|| Fault::new(exception, place, format!("`{key}` is {}, not a text", value.kind())))
}

/// The items of a document, each with its place.
pub(super) fn items(document: &Document) -> Result<Vec<(String, &Json)>, Fault> {
    list(&document.value, &document.name)
}

/// The items of a list, each with its place. What is empty has none, whatever it is.
pub(super) fn list<'a>(value: &'a Json, place: &str) -> Result<Vec<(String, &'a Json)>, Fault> {
    match value {
        Json::List(items) => Ok(items
            .iter()
            .enumerate()
            .map(|(at, item)| (format!("{place}, item {}", at + 1), item))
            .collect()),
        Json::Text(_) | Json::Object(_) if !value.truthy() => Ok(Vec::new()),
        other => Err(Fault::new("TypeError", place, format!("{} stands for a list", other.kind()))),
    }
}

/// How a script looks up ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// As they are: the number 7 is not the text `7`.
    AsWritten,
    /// As text.
    AsText,
}

impl Ids {
    /// The id of a record or prediction.
    pub(super) fn of(self, value: &Json, place: &str) -> Result<Key, Fault> {
        let id = member(value, "question_id", place)?;
        let key = match self {
            Ids::AsWritten => id.key(),
            Ids::AsText => Some(Key::Text(id.str().unwrap_or_else(|| format!("{id:?}")))),
        };
        key.ok_or_else(|| Fault::new("TypeError", place, format!("`question_id` is {}", id.kind())))
    }
}

/// An id as messages and results name it.
pub(super) fn id_text(value: &Json) -> Option<String> {
    value.get("question_id").and_then(Json::str)
}
