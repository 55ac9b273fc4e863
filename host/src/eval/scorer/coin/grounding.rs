//! `eval_grounding.py`: intersection over union above one half, after an odd way to read a box.

use super::by_line;
use crate::eval::python::Json;
use crate::eval::python::number::{float, max, min};
use crate::eval::scorer::input::{self, Document, Fault, Ids, Predictions};
use crate::eval::scorer::tally::Tally;

/// The numbers of an answer: square brackets go, then the first and the last character that are left, whatever they are.
/// `None` where the script counts the answer as wrong.
pub fn parsed(prediction: &str) -> Option<[f64; 4]> {
    let bare: Vec<char> = prediction.chars().filter(|&letter| !matches!(letter, '[' | ']')).collect();
    let cut: String = bare.get(1..bare.len().saturating_sub(1)).unwrap_or_default().iter().collect();
    numbers(&cut)?.try_into().ok()
}

/// Whether two boxes `x1, y1, x2, y2` in 0..1, scaled by the longer side of the image, overlap by more than one half.
pub fn right(box_: [f64; 4], truth: [f64; 4], side: f64) -> bool {
    iou(box_.map(|value| value * side), truth.map(|value| value * side)) > 0.5
}

/// Intersection over union as the script computes it; 0 where the union is not positive.
pub fn iou(one: [f64; 4], other: [f64; 4]) -> f64 {
    let width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]));
    let height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]));
    let intersection = width * height;
    let area = |box_: [f64; 4]| (box_[2] - box_[0]) * (box_[3] - box_[1]);
    let union = area(one) + area(other) - intersection;
    if union > 0.0 { intersection / union } else { 0.0 }
}

fn numbers(text: &str) -> Option<Vec<f64>> {
    text.split(',').map(float).collect()
}

/// `annotations`: `test.json`, with `answer_bbox` and `size`.
///
/// # Errors
/// Where the script stops.
pub fn file(annotations: &Document, predictions: &Predictions) -> Result<Tally, Fault> {
    by_line(annotations, predictions, Ids::AsWritten, |line, (place, item)| {
        let truth = input::text(item, "answer_bbox", place)?;
        let truth = numbers(&truth.replace(['[', ']'], "")).ok_or_else(|| {
            Fault::new("ValueError", place, format!("`answer_bbox` holds no numbers: `{truth}`"))
        })?;
        let size = input::member(item, "size", place)?;
        // Whatever is wrong with the answer itself is caught by the script.
        let prediction = input::member(&line.value, "text", &predictions.place(line))?.text();
        let Some(box_) = prediction.and_then(parsed) else { return Ok(false) };
        let sides = size.list().and_then(|sides| sides.iter().map(Json::number).collect::<Option<Vec<_>>>());
        let sides = sides.ok_or_else(|| Fault::new("TypeError", place, "`size` is no list of numbers"))?;
        let side = sides.iter().copied().reduce(max);
        let side = side.ok_or_else(|| Fault::new("ValueError", place, "`size` is empty"))?;
        let truth: [f64; 4] = truth.try_into().map_err(|truth: Vec<f64>| {
            Fault::new("ValueError", place, format!("`answer_bbox` has {} numbers, not 4", truth.len()))
        })?;
        Ok(right(box_, truth, side))
    })
}
