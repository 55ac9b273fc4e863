//! A record as it stands in CoIN's files: the training form (conversations) and the test form (text and answer).

use serde::Deserialize;

/// One JSON object; keys that no task needs are passed over.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Item {
    pub(crate) id: Option<Scalar>,
    pub(crate) question_id: Option<Scalar>,
    pub(crate) image: Option<String>,
    #[serde(default)]
    pub(crate) conversations: Vec<Turn>,
    pub(crate) text: Option<String>,
    pub(crate) answer: Option<Answer>,
    pub(crate) answer_bbox: Option<BoxValue>,
    pub(crate) size: Option<[f64; 2]>,
}

/// What one side says.
#[derive(Debug, Deserialize)]
pub(crate) struct Turn {
    pub(crate) from: String,
    pub(crate) value: String,
}

/// Text, or a number that stands for it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Scalar {
    Text(String),
    Number(serde_json::Number),
}

/// One answer or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    One(Scalar),
    Several(Vec<Scalar>),
}

/// A box, as text `[x1,y1,x2,y2]` or as a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum BoxValue {
    Text(String),
    List(Vec<f64>),
}

/// What decides which split a record is in.
#[derive(Debug, Deserialize)]
pub(crate) struct Key {
    pub(crate) image: Option<String>,
    pub(crate) id: Option<Scalar>,
    pub(crate) question_id: Option<Scalar>,
}

impl Scalar {
    pub(crate) fn into_text(self) -> String {
        match self {
            Scalar::Text(text) => text,
            Scalar::Number(number) => number.to_string(),
        }
    }
}

impl Answer {
    pub(crate) fn into_texts(self) -> Vec<String> {
        match self {
            Answer::One(answer) => vec![answer.into_text()],
            Answer::Several(answers) => answers.into_iter().map(Scalar::into_text).collect(),
        }
    }
}
