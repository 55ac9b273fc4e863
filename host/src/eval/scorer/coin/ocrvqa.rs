//! `eval_ocrvqa.py`: equal in lower case; whatever contains `Unanswerable`, in this spelling, is wrong.

use super::by_line;
use crate::eval::python::Json;
use crate::eval::python::text::lower;
use crate::eval::scorer::input::{self, Document, Fault, Ids, Predictions};
use crate::eval::scorer::tally::Tally;

/// Whether a prediction is right.
pub fn right(prediction: &str, answer: &str) -> bool {
    !prediction.contains(REFUSED) && lower(prediction) == lower(answer)
}

const REFUSED: &str = "Unanswerable";

/// `annotations`: `test.json`.
///
/// # Errors
/// Where the script stops.
pub fn file(annotations: &Document, predictions: &Predictions) -> Result<Tally, Fault> {
    by_line(annotations, predictions, Ids::AsWritten, |line, (place, item)| {
        let here = predictions.place(line);
        input::member(item, "answer", place)?;
        // `in` looks into lists and objects as well; what comes next is `lower`.
        let prediction = match input::member(&line.value, "text", &here)? {
            Json::List(_) | Json::Object(_) => input::text(&line.value, "text", &here)?,
            _ => input::text_or(&line.value, "text", &here, "TypeError")?,
        };
        if prediction.contains(REFUSED) {
            return Ok(false);
        }
        Ok(right(prediction, input::text(item, "answer", place)?))
    })
}
