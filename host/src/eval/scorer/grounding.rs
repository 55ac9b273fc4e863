//! Referring-expression grounding: a box is right when it overlaps the reference by at least one half.

use super::Reference;
use crate::eval::python::number::float;

/// Accuracy at intersection over union >= 0.5, on normalised boxes.
pub(super) fn official(prediction: &str, reference: &Reference) -> bool {
    match (parse(prediction), reference.bbox) {
        (Some(box_), Some(truth)) => iou(&box_, &truth) >= 0.5,
        _ => false,
    }
}

/// A box `x1, y1, x2, y2` from an answer: four finite numbers between commas once square brackets are taken away.
/// Anything else in the answer (text, other brackets, a fifth number) makes it unreadable.
pub fn parse(text: &str) -> Option<[f64; 4]> {
    four_numbers(&text.replace(['[', ']'], "")).filter(|box_| box_.iter().all(|value| value.is_finite()))
}

/// The answer text of a box, as the training data writes it.
pub fn format(box_: &[f64; 4]) -> String {
    format!("[{:.3},{:.3},{:.3},{:.3}]", box_[0], box_[1], box_[2], box_[3])
}

/// Intersection over union of two boxes `x1, y1, x2, y2`; 0 where the union is empty.
pub fn iou(one: &[f64; 4], other: &[f64; 4]) -> f64 {
    let width = (one[2].min(other[2]) - one[0].max(other[0])).max(0.0);
    let height = (one[3].min(other[3]) - one[1].max(other[1])).max(0.0);
    let intersection = width * height;
    let area = |box_: &[f64; 4]| (box_[2] - box_[0]) * (box_[3] - box_[1]);
    let union = area(one) + area(other) - intersection;
    let ratio = intersection / union;
    if ratio.is_finite() { ratio } else { 0.0 }
}

fn four_numbers(text: &str) -> Option<[f64; 4]> {
    let mut numbers = text.split(',').map(float);
    let box_ = [numbers.next()??, numbers.next()??, numbers.next()??, numbers.next()??];
    if numbers.next().is_some() { None } else { Some(box_) }
}
