//! `eval_textvqa.py`: soft accuracy over ten answers, the mean over prediction lines.

use super::{annotated, by_id, left_out, nothing_to_divide_by, repeated};
use crate::eval::python::Json;
use crate::eval::scorer::input::{self, Document, Fault, Ids, Predictions};
use crate::eval::scorer::tally::{Keys, Tally};
use crate::eval::scorer::textvqa;

/// `annotations`: `TextVQA_0.5.1_val.json`.
///
/// # Errors
/// Where the script stops.
pub fn file(annotations: &Document, predictions: &Predictions) -> Result<Tally, Fault> {
    let data = input::member(&annotations.value, "data", &annotations.name)?;
    let annotations = by_id(input::list(data, &annotations.name)?, Ids::AsText)?;
    let mut entries = Vec::with_capacity(predictions.lines.len());
    for line in &predictions.lines {
        let (place, item) = annotated(&annotations, Ids::AsText, predictions, line)?;
        let here = predictions.place(line);
        input::member(&line.value, "text", &here)?;
        entries.push((line, here, place, input::member(item, "answers", place)?));
    }
    let (mut per_sample, mut keys, mut sum) = (Vec::with_capacity(entries.len()), Keys::default(), 0.0);
    for (line, here, place, answers) in entries {
        let prediction = input::text(&line.value, "text", &here)?;
        let answers = texts(answers, place)?;
        if answers.len() != 10 {
            let reason = format!("there are {} answers, not 10", answers.len());
            return Err(Fault::new("AssertionError", place, reason));
        }
        let score = textvqa::soft_in_order(prediction, &answers);
        sum += score;
        per_sample.push((keys.key(&input::id_text(&line.value).unwrap_or_default()), Some(score)));
    }
    let lines = per_sample.len();
    if lines == 0 {
        return Err(nothing_to_divide_by(predictions));
    }
    let missing = annotations.len().saturating_sub(lines - keys.repeated());
    let tally = Tally::new(100.0 * (sum / lines as f64), lines, per_sample);
    Ok(tally.remark(repeated(&keys)).remark(left_out(missing, annotations.len())))
}

/// What a loop over the answers meets: the items of a list, or else the characters of a text or the keys of an object.
fn texts(answers: &Json, place: &str) -> Result<Vec<String>, Fault> {
    match answers {
        Json::Text(text) => return Ok(text.chars().map(String::from).collect()),
        Json::Object(members) => return Ok(members.keys().cloned().collect()),
        _ => {}
    }
    let text = |(place, answer): (String, &Json)| {
        let text = answer.text().map(str::to_owned);
        text.ok_or_else(|| {
            Fault::new("AttributeError", place, format!("an answer is {}, not a text", answer.kind()))
        })
    };
    input::list(answers, place)?.into_iter().map(text).collect()
}
