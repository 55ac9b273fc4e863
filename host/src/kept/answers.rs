//! Kept questions and answers, read strictly: whatever does not fit is refused with file and line, nothing is scored in silence.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::Result;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::bad;
use crate::eval::questions::KeptQuestion;

/// An answer of a predictions file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct KeptAnswer {
    pub question_id: String,
    pub text: String,
    /// As scored when it was given, by scorer and measure.
    #[serde(default)]
    scores: BTreeMap<String, f64>,
}

impl KeptAnswer {
    /// What a dataset with a rule of its own gave, which is the same under each scorer.
    pub(super) fn own_score(&self) -> Option<f64> {
        ["official", "coin"].iter().find_map(|scorer| self.scores.get(*scorer)).copied()
    }
}

/// Reads a task's questions.
///
/// # Errors
/// As [`lines`], an empty file, and an id that stands twice.
pub(super) fn questions(path: &Path) -> Result<Vec<KeptQuestion>> {
    let questions: Vec<KeptQuestion> = lines(path)?;
    if questions.is_empty() {
        return Err(bad(format!(
            "{} holds no question\nhint: the file was cut; bring it back from a copy",
            path.display()
        )));
    }
    let mut ids = HashSet::new();
    for (place, question) in questions.iter().enumerate() {
        if !ids.insert(question.question_id.as_str()) {
            return Err(bad(format!(
                "{}:{}: question `{}` stands in an earlier line too\nhint: the file was edited; bring it back from a copy",
                path.display(),
                place + 1,
                question.question_id
            )));
        }
    }
    Ok(questions)
}

/// Reads the answers to `questions`, in their order.
///
/// # Errors
/// As [`lines`]; answers to unknown questions, second answers, and missing ones.
pub(super) fn read(path: &Path, questions: &[KeptQuestion]) -> Result<Vec<KeptAnswer>> {
    let answers: Vec<KeptAnswer> = lines(path)?;
    let matches =
        |(answer, question): (&KeptAnswer, &KeptQuestion)| answer.question_id == question.question_id;
    if answers.len() == questions.len() && answers.iter().zip(questions).all(matches) {
        return Ok(answers);
    }
    in_order(path, answers, questions)
}

fn in_order(path: &Path, answers: Vec<KeptAnswer>, questions: &[KeptQuestion]) -> Result<Vec<KeptAnswer>> {
    let known: HashMap<&str, usize> = questions
        .iter()
        .enumerate()
        .map(|(place, question)| (question.question_id.as_str(), place))
        .collect();
    let mut sorted: Vec<Option<KeptAnswer>> = vec![None; questions.len()];
    let refuse = |line: usize, what: String| {
        Err(bad(format!(
            "{}:{line}: {what}\nhint: an answer file has one line for each question of the run; bring it back from a copy",
            path.display()
        )))
    };
    for (number, answer) in answers.into_iter().enumerate() {
        let Some(&place) = known.get(answer.question_id.as_str()) else {
            return refuse(number + 1, format!("the run has no question `{}`", answer.question_id));
        };
        if sorted[place].is_some() {
            return refuse(number + 1, format!("a second answer to question `{}`", answer.question_id));
        }
        sorted[place] = Some(answer);
    }
    let missing: Vec<&str> = sorted
        .iter()
        .zip(questions)
        .filter(|(answer, _)| answer.is_none())
        .map(|(_, question)| question.question_id.as_str())
        .collect();
    match missing.first() {
        None => Ok(sorted.into_iter().flatten().collect()),
        Some(first) => refuse(
            questions.len() - missing.len() + 1,
            format!(
                "{} of {} answers are missing, the first of them to question `{first}`",
                missing.len(),
                questions.len()
            ),
        ),
    }
}

/// Reads a file of JSON objects, one a line.
///
/// # Errors
/// That it cannot be read, bytes that are not UTF-8, and lines that are no such object.
fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let bytes = std::fs::read(path).map_err(|error| {
        bad(format!("{} cannot be read: {error}\nhint: it is part of the run's folder", path.display()))
    })?;
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let line = |(number, line): (usize, &[u8])| {
        let refuse = |reason: String| {
            bad(format!(
                "{}:{}: {reason}\nhint: the file was cut or written to; bring it back from a copy",
                path.display(),
                number + 1
            ))
        };
        let text = std::str::from_utf8(line).map_err(|_| refuse("the line is not UTF-8".to_owned()))?;
        serde_json::from_str(text).map_err(|error| refuse(format!("the line is cut or no answer: {error}")))
    };
    bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|byte| *byte == b'\n').enumerate().map(line).collect()
}
