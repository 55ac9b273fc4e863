//! `eval_vizwiz.py`: equal in upper case to one answer, where VizWiz has ten.

use super::by_line;
use crate::eval::python::text::upper;
use crate::eval::scorer::input::{self, Document, Fault, Ids, Line, Predictions};
use crate::eval::scorer::tally::Tally;

/// Whether a prediction is right.
pub fn right(prediction: &str, answer: &str) -> bool {
    upper(prediction) == upper(answer)
}

/// `annotations`: `val.json`. An id that is a text in one file and a number in the other is unknown.
///
/// # Errors
/// Where the script stops.
pub fn file(annotations: &Document, predictions: &Predictions) -> Result<Tally, Fault> {
    single_answers(annotations, predictions, Ids::AsWritten)
}

pub(super) fn single_answers(
    annotations: &Document,
    predictions: &Predictions,
    ids: Ids,
) -> Result<Tally, Fault> {
    by_line(annotations, predictions, ids, |line: &Line, (place, item)| {
        let here = predictions.place(line);
        input::member(&line.value, "text", &here)?;
        input::member(item, "answer", place)?;
        Ok(right(input::text(&line.value, "text", &here)?, input::text(item, "answer", place)?))
    })
}
