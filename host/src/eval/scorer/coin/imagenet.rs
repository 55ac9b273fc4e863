//! `eval_ImagetNet.py`: the prediction contains the class name, or the class name the prediction. Predictions and test items are paired
//! by position; the ids are never read.

use super::{counted_lines, left_out};
use crate::eval::python::Json;
use crate::eval::scorer::input::{self, Document, Fault, Predictions};
use crate::eval::scorer::tally::Tally;

/// Whether a prediction is right.
pub fn right(prediction: &str, answer: &str) -> bool {
    prediction.contains(answer) || answer.contains(prediction)
}

/// `annotations`: `test.json`, in the order in which the questions were asked.
///
/// # Errors
/// Where the script stops.
pub fn file(annotations: &Document, predictions: &Predictions) -> Result<Tally, Fault> {
    let items = input::items(annotations)?;
    let answers: Vec<&Json> =
        items.iter().map(|(place, item)| input::member(item, "answer", place)).collect::<Result<_, _>>()?;
    let (mut samples, mut misplaced) = (Vec::with_capacity(predictions.lines.len()), 0);
    for (at, line) in predictions.lines.iter().enumerate() {
        let here = predictions.place(line);
        let Some(answer) = answers.get(at) else {
            let reason =
                format!("there are only {} test items, and this is prediction {}", items.len(), at + 1);
            return Err(Fault::new("IndexError", here, reason));
        };
        let prediction = input::member(&line.value, "text", &here)?;
        let is_right = match (prediction, answer) {
            (Json::Text(prediction), Json::Text(answer)) => right(prediction, answer),
            // `in` looks among the items of a list.
            (Json::List(texts), answer) if texts.contains(answer) => true,
            (Json::Text(_), other) => {
                let reason = format!("`answer` is {}, not a text", other.kind());
                return Err(Fault::new("TypeError", items[at].0.as_str(), reason));
            }
            (other, _) => {
                let reason = format!("`text` is {}, not a text", other.kind());
                return Err(Fault::new("TypeError", here, reason));
            }
        };
        let id = input::id_text(&line.value);
        misplaced += usize::from(id != input::id_text(items[at].1));
        samples.push((id.unwrap_or_else(|| format!("line {}", line.number)), is_right));
    }
    let tally = counted_lines(&samples, predictions)?;
    let tally = tally.remark(left_out(items.len() - samples.len(), items.len()));
    Ok(tally.remark((misplaced > 0).then(|| {
        let lines = predictions.lines.len();
        format!("{misplaced} of {lines} predictions are scored against a test item with another id: the original pairs by position")
    })))
}
