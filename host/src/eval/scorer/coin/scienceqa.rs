//! `eval_science_qa.py`: the letter of an answer against the right option, over all problems of the test split.

use std::collections::BTreeMap;

use crate::eval::python::Json;
use crate::eval::python::json::Key;
use crate::eval::scorer::input::{self, Document, Fault, Ids, Line, Predictions};
use crate::eval::scorer::multiple_choice::{OPTIONS, chosen, parsed};
use crate::eval::scorer::tally::{Tally, counted};

/// `splits`: `pid_splits.json`; `problems`: `problems.json`.
///
/// # Errors
/// Where the script stops.
pub fn file(splits: &Document, problems: &Document, predictions: &Predictions) -> Result<Tally, Fault> {
    let split = input::list(input::member(&splits.value, "test", &splits.name)?, &splits.name)?;
    let mut answers: BTreeMap<Key, &Line> = BTreeMap::new();
    for line in &predictions.lines {
        answers.insert(Ids::AsWritten.of(&line.value, &predictions.place(line))?, line);
    }
    let mut asked: Vec<(&str, &Json)> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (place, id) in split {
        let problem = id.text().and_then(|id| Some((id, problems.value.get(id)?)));
        let problem = problem.ok_or_else(|| {
            let exception = if id.key().is_some() { "KeyError" } else { "TypeError" };
            let id = id.str().unwrap_or_default();
            Fault::new(exception, place, format!("{} has no problem `{id}`", problems.name))
        })?;
        if seen.insert(problem.0) {
            asked.push(problem);
        }
    }
    let (mut right, mut missing) = (0usize, 0usize);
    let mut per_sample = Vec::with_capacity(asked.len());
    for &(id, problem) in &asked {
        let line = answers.get(&Key::Text(id.to_owned()));
        missing += usize::from(line.is_none());
        let is_right = problem_is_right(id, problem, line.copied(), &problems.name, predictions)?;
        right += usize::from(is_right);
        per_sample.push((id.to_owned(), Some(f64::from(u8::from(is_right)))));
    }
    let count = asked.len();
    if count == 0 {
        return Err(Fault::new("ZeroDivisionError", &splits.name, "the test split is empty"));
    }
    let (repeated, ignored) = (predictions.lines.len() - answers.len(), answers.len() + missing - count);
    Ok(Tally::new(right as f64 / count as f64 * 100.0, count, per_sample)
        .remark((repeated > 0).then(|| {
            format!(
                "{} with an id that was there before: the last line counts",
                counted(repeated, "prediction")
            )
        }))
        .remark((ignored > 0).then(|| {
            format!(
                "{} with an id that is unknown in the test split: ignored",
                counted(ignored, "prediction")
            )
        }))
        .remark(
            (missing > 0)
                .then(|| format!("{missing} of {count} problems have no prediction: they count as wrong")),
        ))
}

fn problem_is_right(
    id: &str,
    problem: &Json,
    line: Option<&Line>,
    problems: &str,
    predictions: &Predictions,
) -> Result<bool, Fault> {
    let place = format!("{problems}, problem `{id}`");
    let text = match line {
        Some(line) => input::text_or(&line.value, "text", &predictions.place(line), "TypeError")?,
        None => "FAILED",
    };
    let choices = input::member(problem, "choices", &place)?;
    let choices = match choices {
        Json::List(choices) => choices.len(),
        Json::Object(choices) => choices.len(),
        Json::Text(text) => text.chars().count(),
        other => {
            let reason = format!("`choices` is {}, not a list", other.kind());
            return Err(Fault::new("TypeError", place, reason));
        }
    };
    let answer = match input::member(problem, "answer", &place)? {
        whole @ (Json::Int(_) | Json::Bool(_)) => whole.number().unwrap_or(f64::INFINITY),
        other => {
            let reason = format!("`answer` is {}, not a whole number", other.kind());
            return Err(Fault::new("TypeError", place, reason));
        }
    };
    let count = OPTIONS.len() as f64;
    if !(-count..count).contains(&answer) {
        let reason = format!("`answer` is {answer}, and the script knows {count} options");
        return Err(Fault::new("IndexError", place, reason));
    }
    if let Some(line) = line {
        let here = predictions.place(line);
        let prompt = input::member(&line.value, "prompt", &here)?;
        if !matches!(prompt, Json::Text(_) | Json::List(_) | Json::Object(_)) {
            let reason = format!("`prompt` is {}, not a text", prompt.kind());
            return Err(Fault::new("TypeError", here, reason));
        }
    }
    // An answer that chooses nothing has the index -1, which a problem may have as well.
    Ok(chosen(&parsed(text), choices).map_or(-1.0, |at| at as f64) == answer)
}
