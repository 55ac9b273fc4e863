//! Who judged the answers of a run.

use serde::{Deserialize, Serialize};

/// The language model behind `gk-judge`. It holds no key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JudgeRecord {
    /// The server.
    pub url: String,
    /// The model.
    pub model: String,
    /// Its sampling temperature.
    pub temperature: f64,
    /// Replies for each answer.
    pub votes: usize,
    /// Of the wording of both rules.
    pub rule_sha256: String,
    /// Answers that were judged.
    pub items: u64,
    /// Replies read.
    pub replies: u64,
    /// Replies without a number from 0 to 10.
    pub unread: u64,
    /// Mean share of the votes on an answer that are the most frequent one, in percent; none for one vote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// Tokens of all messages whose verdicts are kept.
    pub prompt_tokens: u64,
    /// Tokens of all replies that are kept.
    pub completion_tokens: u64,
    /// What they cost at the configured prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
}
