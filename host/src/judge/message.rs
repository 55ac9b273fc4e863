//! What the judge is sent: CoIN's messages, and the name of each by its content.

use anyhow::Result;
use coin_plugin_api::TURN;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::bad;
use crate::config::Judge;
use crate::eval::questions::KeptQuestion;
use crate::eval::scorer::Metric;
use crate::eval::scorer::input;
use crate::eval::scorer::judge::{Rule, message};
use crate::kept::Answered;

/// What CoIN's script sends as the system's message; the one that it builds beside it is never sent.
const SYSTEM: &str = "You are a helpful assistant.";

/// The host's own wording of CoIN's rule; `judge.rule` names a `rule.json` to take in its place.
const RULE: &str = "Compare the assistant's answer with the ground truth answer to the question. Rate how accurate it is on a scale \
from 0 to 10: 10 if it says the same as the ground truth answer, 0 if it is wrong or says nothing. Wording, letter case and form do \
not matter. Print one line with the number and nothing else.";

const RULE_OF_BOXES: &str = "The question is a sentence about a region of a picture; the answers are boxes (x1, y1, x2, y2), corners in \
parts of the picture between 0 and 1. Compare the assistant's box with the ground truth box. Rate how accurate it is on a scale from 0 \
to 10: 10 if both are the same region, 0 if they do not overlap or there is no box. Print one line with the number and nothing else.";

/// A question to the judge.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// sha256 over all that decides the reply, in hex.
    pub(super) key: String,
    /// The body of the HTTP request.
    pub(super) body: Value,
    bytes: usize,
}

impl Request {
    /// About how many tokens it has: one for four bytes, ten for its frame.
    pub(super) fn tokens(&self) -> u64 {
        (self.bytes as u64).div_ceil(4) + 10
    }
}

/// Makes requests from answers.
pub(super) struct Messages {
    model: String,
    temperature: f64,
    votes: usize,
    max_tokens: usize,
    limit: Option<usize>,
    rule: Rule,
    rule_of_boxes: Rule,
}

impl Messages {
    /// # Errors
    /// A `rule.json` that cannot be read.
    pub(super) fn new(config: &Judge, model: &str) -> Result<Messages> {
        let own = |prompt: &str, boxes: bool| Rule { role: "Assistant".into(), prompt: prompt.into(), boxes };
        let (rule, rule_of_boxes) = match &config.rule {
            None => (own(RULE, false), own(RULE_OF_BOXES, true)),
            Some(path) => {
                let name = path.display().to_string();
                let bytes = std::fs::read(path).map_err(|error| {
                    bad(&format!("judge.rule: {name} cannot be read: {error}\nhint: name CoIN's rule.json"))
                })?;
                let fault =
                    |fault: input::Fault| bad(&format!("judge.rule: {fault}\nhint: name CoIN's rule.json"));
                let document = input::document(&name, &bytes).map_err(fault)?;
                (
                    Rule::read(&document, "CoIN").map_err(fault)?,
                    Rule::read(&document, "CoIN_Grounding").map_err(fault)?,
                )
            }
        };
        Ok(Messages {
            model: model.to_owned(),
            temperature: config.temperature,
            votes: config.votes,
            max_tokens: config.max_tokens,
            limit: config.limit,
            rule,
            rule_of_boxes,
        })
    }

    pub(super) fn rule_sha256(&self) -> String {
        hex(&[&self.rule.role, &self.rule.prompt, &self.rule_of_boxes.role, &self.rule_of_boxes.prompt])
    }

    /// The requests on the answers to a task's questions, in order; the votes on an answer follow one another.
    pub(super) fn of<'a>(&'a self, answered: &'a Answered) -> impl Iterator<Item = Request> + 'a {
        let pairs = answered.questions.iter().zip(answered.answers).take(self.limit.unwrap_or(usize::MAX));
        pairs.flat_map(move |(question, answer)| {
            let text = self.text(question, &answer.text);
            (0..self.votes).map(move |vote| self.request(&text, vote))
        })
    }

    fn text(&self, question: &KeptQuestion, answer: &str) -> String {
        let rule = if question.metric == Metric::Grounding { &self.rule_of_boxes } else { &self.rule };
        let truth = question.reference.target().unwrap_or_default();
        let asked = match question.prompt.rsplit_once('\n') {
            // A question without an instruction would lose itself.
            Some((asked, _)) if question.instructed && !rule.boxes => asked,
            _ => &question.prompt,
        };
        // Earlier turns of a conversation as lines before the question.
        message(&asked.replace(TURN, "\n"), truth, rule, answer)
    }

    fn request(&self, text: &str, vote: usize) -> Request {
        let mut body = json!({
            "model": self.model,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}],
            "temperature": self.temperature,
        });
        if self.max_tokens > 0 {
            body["max_tokens"] = json!(self.max_tokens);
        }
        let key = hex(&[&body.to_string(), &vote.to_string()]);
        Request { key, body, bytes: SYSTEM.len() + text.len() }
    }
}

fn hex(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    format!("{:x}", hash.finalize())
}
