//! How a task words its instructions.

use serde::{Deserialize, Serialize};

/// `tasks.*.instruction`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Instruction {
    One(Wording),
    /// Each record draws one.
    Drawn(Vec<Wording>),
}

/// One way to word it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wording {
    /// A name or the text itself.
    Text(String),
    Parts(Parts),
}

/// What the task is, what an answer may be, and the cue: the three parts of a comprehensive instruction (CINS, Mi et al. 2022).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parts {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub definition: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub constraint: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prompt: String,
}

/// The keys of [`Parts`].
pub(crate) const PARTS: [&str; 3] = ["definition", "constraint", "prompt"];

/// Names of instruction sets that a release ships as files of their own, and the folders of those files.
pub const VARIANTS: [(&str, &str); 2] =
    [("diverse", "Instructions_Diverse"), ("10type", "Instructions_10Type")];

impl Instruction {
    /// The instruction line that the files have.
    pub fn original() -> Instruction {
        Instruction::One(Wording::Text(String::from("original")))
    }

    /// The folder with files of their own that it names.
    pub fn folder(&self) -> Option<&'static str> {
        let Instruction::One(Wording::Text(text)) = self else { return None };
        VARIANTS.iter().find(|(name, _)| name == text).map(|(_, folder)| *folder)
    }
}
