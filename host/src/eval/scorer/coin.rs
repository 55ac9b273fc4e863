//! CoIN's evaluation scripts (zackschen/CoIN, `ETrain/Eval`, as of 4122465) with their defects: what they make of one answer and of a
//! whole file. Where a script stops with an exception, a [`Fault`] names the exception; figures agree to the last digit elsewhere.
//! What each script does, and what is wrong with it, is in `docs/metrics.md`.

use std::collections::{BTreeMap, BTreeSet};

use super::input::{self, Document, Fault, Ids, Line, Predictions};
use super::tally::{Keys, Tally, counted};
use crate::eval::python::Json;
use crate::eval::python::json::Key;

pub mod gqa;
pub mod grounding;
pub mod imagenet;
pub mod judge;
pub mod ocrvqa;
pub mod scienceqa;
pub mod textvqa;
pub mod vizwiz;
pub mod vqav2;

/// Annotated items by id; of a repeated id the last one.
fn by_id(items: Vec<(String, &Json)>, ids: Ids) -> Result<BTreeMap<Key, (String, &Json)>, Fault> {
    items.into_iter().map(|(place, item)| Ok((ids.of(item, &place)?, (place, item)))).collect()
}

/// The annotated item that a prediction is for.
fn annotated<'a, 'b>(
    annotations: &'b BTreeMap<Key, (String, &'a Json)>,
    ids: Ids,
    predictions: &Predictions,
    line: &Line,
) -> Result<(&'b str, &'a Json), Fault> {
    let place = predictions.place(line);
    let key = ids.of(&line.value, &place)?;
    match annotations.get(&key) {
        Some((place, item)) => Ok((place, item)),
        None => Err(unknown(&line.value, &place)),
    }
}

fn unknown(prediction: &Json, place: &str) -> Fault {
    let id = input::id_text(prediction).unwrap_or_default();
    let number = prediction.get("question_id").is_some_and(|id| id.text().is_none());
    let kind = if number { " (a number, which is not the same text)" } else { "" };
    Fault::new("KeyError", place, format!("the annotations have no id `{id}`{kind}"))
}

/// Scores the lines of a file whose total is the mean over lines, each against the annotated item with its id.
fn by_line(
    annotations: &Document,
    predictions: &Predictions,
    ids: Ids,
    right: impl Fn(&Line, (&str, &Json)) -> Result<bool, Fault>,
) -> Result<Tally, Fault> {
    let annotations = by_id(input::items(annotations)?, ids)?;
    let mut samples = Vec::with_capacity(predictions.lines.len());
    for line in &predictions.lines {
        let item = annotated(&annotations, ids, predictions, line)?;
        samples.push((input::id_text(&line.value).unwrap_or_default(), right(line, item)?));
    }
    let distinct: BTreeSet<&str> = samples.iter().map(|(id, _)| id.as_str()).collect();
    let missing = annotations.len().saturating_sub(distinct.len());
    Ok(counted_lines(&samples, predictions)?.remark(left_out(missing, annotations.len())))
}

/// The total of a file in percent: what is right, over the number of lines.
fn counted_lines(samples: &[(String, bool)], predictions: &Predictions) -> Result<Tally, Fault> {
    let right = samples.iter().filter(|(_, right)| *right).count();
    let (lines, mut keys) = (samples.len(), Keys::default());
    let per_sample =
        samples.iter().map(|(id, right)| (keys.key(id), Some(f64::from(u8::from(*right))))).collect();
    if lines == 0 {
        return Err(nothing_to_divide_by(predictions));
    }
    let tally = Tally::new(100.0 * right as f64 / lines as f64, lines, per_sample);
    Ok(tally.remark(repeated(&keys)))
}

fn nothing_to_divide_by(predictions: &Predictions) -> Fault {
    Fault::new("ZeroDivisionError", &predictions.name, "there are no predictions")
}

/// What the mean over lines says nothing of.
fn repeated(keys: &Keys) -> Option<String> {
    let count = keys.repeated();
    (count > 0).then(|| {
        format!("{} with an id that was there before: each line counts", counted(count, "prediction"))
    })
}

fn left_out(missing: usize, annotated: usize) -> Option<String> {
    (missing > 0).then(|| {
        format!("{missing} of {annotated} annotated items have no prediction: they are left out of the count")
    })
}
