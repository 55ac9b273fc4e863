//! A language model as the judge of answers (CoIN's general knowledge): what it is asked, and how its replies are read.

use std::collections::BTreeMap;

use super::input::{self, Document, Fault, Ids, Predictions};
use super::tally::{Tally, counted};
use crate::eval::python::Json;
use crate::eval::python::json::Key;
use crate::eval::python::number::float;
use crate::eval::python::text::digit;

/// The score that a reply gives: its first number, if that lies in 0..10. Unlike [`super::coin::judge::points`] this reads `Score: 10`
/// as 10, and refuses what it cannot read instead of taking some digit.
pub fn score(reply: &str) -> Option<f64> {
    let starts = reply.char_indices().map(|(at, _)| &reply[at..]);
    let number = starts.filter_map(number).next()?;
    float(number).filter(|score| (0.0..=10.0).contains(score))
}

/// The decimal number that a text begins with, sign and exponent included.
fn number(text: &str) -> Option<&str> {
    let digits = |at: usize| -> usize {
        text[at..].chars().take_while(|&letter| digit(letter).is_some()).map(char::len_utf8).sum()
    };
    let one_of = |at: usize, letters: &[char]| usize::from(text[at..].starts_with(letters));
    let start = one_of(0, &['+', '-']);
    let whole = start + digits(start);
    let point = whole + one_of(whole, &['.']);
    let mantissa = point + digits(point);
    if whole == start && mantissa == point {
        return None;
    }
    let sign = mantissa + one_of(mantissa, &['e', 'E']);
    let power = sign + one_of(sign, &['+', '-']);
    let exponent = digits(power);
    Some(if sign > mantissa && exponent > 0 { &text[..power + exponent] } else { &text[..mantissa] })
}

/// Reads replies with [`score`]; one that gives no score counts as 0 and is told of. Samples are named by their line, from 0.
///
/// # Errors
/// No replies, or a line without a text.
pub fn file(replies: &Predictions) -> Result<Tally, Fault> {
    let (mut sum, mut per_sample, mut unread) = (0.0, Vec::new(), Vec::new());
    for (at, line) in replies.lines.iter().enumerate() {
        let score = score(input::text(&line.value, "text", &replies.place(line))?);
        if score.is_none() {
            unread.push(line.number.to_string());
        }
        sum += score.unwrap_or(0.0);
        per_sample.push((at.to_string(), Some(score.unwrap_or(0.0))));
    }
    let count = per_sample.len();
    if count == 0 {
        return Err(Fault::new("ZeroDivisionError", &replies.name, "there are no replies"));
    }
    let tally = Tally::new(100.0 * sum / (10 * count) as f64, count, per_sample);
    Ok(tally.remark((!unread.is_empty()).then(|| {
        let (count, lines) = (counted(unread.len(), "reply").replace("replys", "replies"), unread.join(", "));
        format!("{count} without a number from 0 to 10: scored 0 (lines {lines})")
    })))
}

/// What a judge is told to do: an entry of CoIN's `rule.json`, named `CoIN` or `CoIN_Grounding`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What the judged one is called.
    pub role: String,
    pub prompt: String,
    /// Whether the answers are boxes; then the whole question is shown, else all but its last line, the instruction.
    pub boxes: bool,
}

impl Rule {
    /// Reads the entry `name` of a `rule.json`.
    ///
    /// # Errors
    /// An entry that is missing or lacks `role` or `prompt`.
    pub fn read(rules: &Document, name: &str) -> Result<Rule, Fault> {
        let rule = input::member(&rules.value, name, &rules.name)?;
        let place = format!("{}, rule `{name}`", rules.name);
        let role = input::text(rule, "role", &place)?.to_owned();
        let prompt = input::text(rule, "prompt", &place)?.to_owned();
        Ok(Rule { role, prompt, boxes: name != "CoIN" })
    }
}

/// The user messages that CoIN's `create_prompt.py` builds for a predictions file, one a line. `questions` is the task's test file.
///
/// # Errors
/// A question file that is no list of records with ids. A line that no message can be built for, such as one with an unknown id, has
/// its own error.
pub fn prompts(
    questions: &Document,
    rule: &Rule,
    predictions: &Predictions,
) -> Result<Vec<Result<String, Fault>>, Fault> {
    let questions = input::items(questions)?
        .into_iter()
        .map(|(place, item)| Ok((Ids::AsText.of(item, &place)?, (place, item))))
        .collect::<Result<BTreeMap<Key, _>, Fault>>()?;
    let message = |line: &input::Line| {
        let place = predictions.place(line);
        let (asked, question) = questions
            .get(&Ids::AsText.of(&line.value, &place)?)
            .ok_or_else(|| Fault::new("KeyError", &place, "no question has its id"))?;
        let answer = shown(&line.value, "text", &place)?;
        prompt(question, asked, rule, &answer)
    };
    Ok(predictions.lines.iter().map(message).collect())
}

/// The message for one answer to a question, a record of the test file.
fn prompt(question: &Json, place: &str, rule: &Rule, answer: &str) -> Result<String, Fault> {
    let truth = shown(question, if rule.boxes { "answer_bbox" } else { "answer" }, place)?;
    let text = input::text(question, "text", place)?;
    let asked = if rule.boxes { text } else { text.rsplit_once('\n').map_or("", |(asked, _)| asked) };
    Ok(message(asked, &truth, rule, answer))
}

/// The user message for one answer: what was asked, without its instruction, and the right answer.
pub fn message(asked: &str, truth: &str, rule: &Rule, answer: &str) -> String {
    let Rule { role, prompt, .. } = rule;
    let sections = [
        ("[Context]\n[Question]".to_owned(), asked, String::new()),
        ("[Ground truth answer]".to_owned(), truth, "[End of ground truth answer]\n\n".to_owned()),
        (format!("[{role}]"), answer, format!("[End of {role}]\n\n")),
        ("[System]".to_owned(), prompt, String::new()),
    ];
    sections.map(|(head, body, tail)| format!("{head}\n{body}\n\n{tail}")).concat()
}

/// A value as Python's `str` shows it.
fn shown(value: &Json, key: &str, place: &str) -> Result<String, Fault> {
    let value = input::member(value, key, place)?;
    value.str().ok_or_else(|| Fault::new("TypeError", place, format!("`{key}` is {}", value.kind())))
}
