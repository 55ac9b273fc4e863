//! The blind baseline: what a model scores that never looks at the image. It stands beside every score, because much of what
//! looks like seeing is knowing the usual answer (Goyal et al. 2017, section 1).

use std::collections::BTreeMap;

use super::scorer::{Metric, grounding};

/// The usual answers of a task, learned from its training split.
#[derive(Clone, Debug, PartialEq)]
pub struct Blind {
    answers: BTreeMap<String, String>,
    fallback: String,
}

/// What is counted of a training split, record by record.
#[derive(Default)]
pub struct Seen {
    /// How often each target (first answer) stands behind each question string.
    targets: BTreeMap<String, BTreeMap<String, u64>>,
    boxes: Vec<[f64; 4]>,
}

impl Seen {
    /// Takes in one training record.
    pub fn add(&mut self, metric: Metric, question: String, answers: Vec<String>, bbox: Option<[f64; 4]>) {
        if metric == Metric::Grounding {
            self.boxes.extend(bbox);
        } else if let Some(target) = answers.into_iter().next() {
            *self.targets.entry(question).or_default().entry(target).or_default() += 1;
        }
    }
}

impl Blind {
    /// Learns from a training split.
    ///
    /// For most metrics: the majority of the training targets of each question string, and of the whole task for questions never seen;
    /// ties go to the answer that sorts first, so that the order of the data does not matter.
    /// For grounding: one constant box for all questions, the training box that most training boxes overlap by one half.
    pub fn fit(seen: Seen) -> Self {
        if !seen.boxes.is_empty() {
            let fallback = constant_box(&seen.boxes).map(|box_| grounding::format(&box_));
            return Blind { answers: BTreeMap::new(), fallback: fallback.unwrap_or_default() };
        }
        let mut overall: BTreeMap<&str, u64> = BTreeMap::new();
        for (target, count) in seen.targets.values().flatten() {
            *overall.entry(target).or_default() += count;
        }
        let fallback = majority(&overall);
        let usual = |counts: &BTreeMap<String, u64>| {
            majority(&counts.iter().map(|(target, &count)| (target.as_str(), count)).collect())
        };
        let answers =
            seen.targets.iter().map(|(question, counts)| (question.clone(), usual(counts))).collect();
        Blind { answers, fallback }
    }

    /// The answer to a question; empty when there was nothing to learn from.
    pub fn answer(&self, question: &str) -> &str {
        self.answers.get(question).unwrap_or(&self.fallback)
    }

    /// Mean of what `score` gives the answers, in percent, over `(question, item)` pairs of the test split; `None` for an empty one.
    ///
    /// # Errors
    /// Whatever `score` returns.
    pub fn percent<'a, T, E>(
        &self,
        test: impl IntoIterator<Item = (&'a str, T)>,
        mut score: impl FnMut(&str, T) -> Result<f64, E>,
    ) -> Result<Option<f64>, E> {
        let (mut sum, mut items) = (0.0, 0u64);
        for (question, item) in test {
            sum += score(self.answer(question), item)?;
            items += 1;
        }
        Ok(if items == 0 { None } else { Some(100.0 * sum / items as f64) })
    }
}

fn majority(counts: &BTreeMap<&str, u64>) -> String {
    let mut best = ("", 0);
    for (answer, &count) in counts {
        if count > best.1 {
            best = (answer, count);
        }
    }
    best.0.to_owned()
}

/// How many training boxes are tried as the constant box, and how many each is tried on: evenly spaced ones, in sorted order.
const CANDIDATES: usize = 512;
const TRIALS: usize = 4096;

/// The box with most trials of intersection over union >= 0.5, then the greatest mean overlap, then the first in sorted order.
fn constant_box(boxes: &[[f64; 4]]) -> Option<[f64; 4]> {
    let mut sorted = boxes.to_vec();
    sorted.sort_by(|one, other| {
        let by_value = one.iter().zip(other).map(|(one, other)| one.total_cmp(other));
        by_value.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    });
    let trials = spaced(&sorted, TRIALS);
    let mut best: Option<(usize, f64, [f64; 4])> = None;
    for candidate in spaced(&sorted, CANDIDATES) {
        let overlaps: Vec<f64> = trials.iter().map(|truth| grounding::iou(&candidate, truth)).collect();
        let right = overlaps.iter().filter(|&&overlap| overlap >= 0.5).count();
        let overlap = overlaps.iter().sum::<f64>();
        if best.is_none_or(|(most, sum, _)| (right, overlap) > (most, sum)) {
            best = Some((right, overlap, candidate));
        }
    }
    best.map(|(_, _, box_)| box_)
}

fn spaced(boxes: &[[f64; 4]], most: usize) -> Vec<[f64; 4]> {
    let count = boxes.len().min(most);
    (0..count).map(|at| boxes[at * boxes.len() / count]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::scorer::{Reference, Scorer, score};

    fn reference(answer: &str) -> Reference {
        Reference::answer(answer)
    }

    fn fit<'a>(metric: Metric, train: impl IntoIterator<Item = (&'a str, &'a Reference)>) -> Blind {
        let mut seen = Seen::default();
        for (question, reference) in train {
            seen.add(metric, question.into(), reference.answers.clone(), reference.bbox);
        }
        Blind::fit(seen)
    }

    fn percent<'a>(
        blind: &Blind,
        metric: Metric,
        test: impl IntoIterator<Item = (&'a str, &'a Reference)>,
    ) -> Option<f64> {
        let scored: Result<_, std::convert::Infallible> =
            blind.percent(test, |text, reference| Ok(score(Scorer::Official, metric, text, reference)));
        scored.expect("nothing can fail")
    }

    #[test]
    fn the_majority_of_the_question_comes_before_that_of_the_task() {
        let pairs = [
            ("what color?", "red"),
            ("what color?", "blue"),
            ("what color?", "blue"),
            ("how many?", "2"),
            ("is it?", "red"),
            ("is it?", "red"),
        ];
        let train: Vec<(&str, Reference)> = pairs.iter().map(|(q, a)| (*q, reference(a))).collect();
        let blind = fit(Metric::ExactMatch, train.iter().map(|(q, r)| (*q, r)));
        assert_eq!(blind.answer("what color?"), "blue");
        assert_eq!(blind.answer("how many?"), "2");
        assert_eq!(blind.answer("never asked"), "red");
        let test = [("what color?", reference("Blue.")), ("how many?", reference("3"))];
        let pairs = || test.iter().map(|(q, r)| (*q, r));
        assert_eq!(percent(&blind, Metric::ExactMatch, pairs()), Some(50.0));
        assert_eq!(percent(&blind, Metric::Gqa, pairs()), Some(0.0));
        assert_eq!(percent(&blind, Metric::Gqa, []), None);
    }

    #[test]
    fn ties_do_not_depend_on_the_order_of_the_data() {
        let (yes, no) = (reference("yes"), reference("no"));
        let forward = fit(Metric::Gqa, [("q", &yes), ("q", &no)]);
        let backward = fit(Metric::Gqa, [("q", &no), ("q", &yes)]);
        assert_eq!(forward, backward);
        assert_eq!(forward.answer("q"), "no");
        assert_eq!(fit(Metric::Gqa, []).answer("q"), "");
    }

    #[test]
    fn grounding_guesses_the_box_that_most_boxes_overlap() {
        let at = |bbox: [f64; 4]| Reference { bbox: Some(bbox), ..Reference::default() };
        let boxes = [
            at([0.0, 0.0, 0.1, 0.1]),
            at([0.2, 0.2, 0.8, 0.8]),
            at([0.2, 0.2, 0.8, 0.9]),
            at([0.1, 0.2, 0.8, 0.8]),
            at([0.9, 0.9, 1.0, 1.0]),
        ];
        let pairs = || boxes.iter().map(|reference| ("the thing", reference));
        let blind = fit(Metric::Grounding, pairs());
        assert_eq!(blind.answer("anything"), "[0.200,0.200,0.800,0.800]");
        assert_eq!(percent(&blind, Metric::Grounding, pairs()), Some(60.0));
    }

    #[test]
    fn many_boxes_are_sampled_evenly() {
        let boxes: Vec<[f64; 4]> =
            (0..10_000).map(|at| [0.0, 0.0, 0.5, 0.5 + f64::from(at) * 1e-5]).collect();
        assert_eq!(spaced(&boxes, 4).len(), 4);
        assert_eq!(spaced(&boxes, 4)[1], boxes[2_500]);
        assert_eq!(spaced(&boxes[..3], 4), boxes[..3].to_vec());
        assert!(spaced(&[], 4).is_empty());
    }
}
