//! `evaluate_score.py`: a language model's reply, read as a score from 0 to 10.

use crate::eval::python::number::float;
use crate::eval::python::text::is_numeric;
use crate::eval::scorer::input::{self, Fault, Predictions};
use crate::eval::scorer::tally::Tally;

/// What a reply adds to the sum: the number that it is, if at most 10; else what stands before the first slash, if that is numeric and
/// at most 10; else, without a slash, its first digit from 1 to 9. So `Score: 10` is 1 and `8 / 10` is 0.
///
/// # Errors
/// A numeric text before the slash that is no number, such as `²`: it ends the script with `ValueError`.
pub fn points(reply: &str) -> Result<f64, NotANumber> {
    let at_most_ten = |score: f64| if score <= 10.0 { score } else { 0.0 };
    if let Some(score) = float(reply) {
        return Ok(at_most_ten(score));
    }
    if let Some((before, _)) = reply.split_once('/') {
        return match is_numeric(before) {
            true => float(before).map(at_most_ten).ok_or_else(|| NotANumber(before.to_owned())),
            false => Ok(0.0),
        };
    }
    let digit =
        reply.chars().find(|letter| ('1'..='9').contains(letter)).and_then(|digit| digit.to_digit(10));
    Ok(digit.map_or(0.0, f64::from))
}

/// Characters with a numeric value that make no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` before the slash is numeric, but no number")]
pub struct NotANumber(String);

/// `replies`: `prompt_eval_merge.jsonl`. Samples are named by their line, from 0.
///
/// # Errors
/// Where the script stops.
pub fn file(replies: &Predictions) -> Result<Tally, Fault> {
    let (mut sum, mut per_sample) = (0.0, Vec::with_capacity(replies.lines.len()));
    for (at, line) in replies.lines.iter().enumerate() {
        let place = replies.place(line);
        let reply = input::text(&line.value, "text", &place)?;
        let points = points(reply).map_err(|error| Fault::new("ValueError", place, error.to_string()))?;
        sum += points;
        per_sample.push((at.to_string(), Some(points)));
    }
    let count = per_sample.len();
    if count == 0 {
        return Err(super::nothing_to_divide_by(replies));
    }
    let exact = sum / (10 * count) as f64 * 100.0;
    if !exact.is_finite() {
        return Err(Fault::new("OverflowError", &replies.name, "the sum of the scores is infinite"));
    }
    Ok(Tally { total: exact.round_ties_even(), ..Tally::new(exact, count, per_sample) })
}
