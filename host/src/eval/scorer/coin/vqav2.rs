//! `eval_vqav2.py`: as for VizWiz, but ids are compared as text.

use super::vizwiz::single_answers;
use crate::eval::scorer::input::{Document, Fault, Ids, Predictions};
use crate::eval::scorer::tally::Tally;

/// `annotations`: `val.json`.
///
/// # Errors
/// Where the script stops.
pub fn file(annotations: &Document, predictions: &Predictions) -> Result<Tally, Fault> {
    single_answers(annotations, predictions, Ids::AsText)
}
