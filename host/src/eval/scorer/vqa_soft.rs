//! VQA v2 soft accuracy (Antol et al., 2015; the evaluation code of the VQA challenge).

use super::normalise;
use crate::eval::python::text::strip;

/// Mean over the answers of `min(1, matches among the others / 3)`.
///
/// As in the challenge's code, prediction and answers are normalised only where the annotators disagree: against ten
/// times `2`, the answer `two` is wrong. A single answer is normalised, since there is no agreement to speak of.
pub(super) fn official(prediction: &str, answers: &[String]) -> f64 {
    let prediction = clean(prediction);
    let answers: Vec<String> = answers.iter().map(|answer| clean(answer)).collect();
    let unanimous = answers.len() > 1 && answers.iter().all(|answer| *answer == answers[0]);
    if unanimous {
        return leave_one_out(&prediction, &answers);
    }
    let answers: Vec<String> = answers.iter().map(|answer| normalise::vqa(answer)).collect();
    leave_one_out(&normalise::vqa(&prediction), &answers)
}

/// Tab and newline become spaces, outer spaces go: done to both sides in every case.
fn clean(text: &str) -> String {
    strip(&text.replace(['\n', '\t'], " ")).to_owned()
}

/// The mean over all ways to leave one answer out of `min(1, matches among the rest / 3)`.
///
/// With fewer than four answers three matches cannot happen; the divisor is then the number of remaining answers (at
/// least one), so that full agreement still scores 1, and a single answer is an exact match.
pub(super) fn leave_one_out(prediction: &str, answers: &[String]) -> f64 {
    let count = answers.len();
    let matches = answers.iter().filter(|answer| *answer == prediction).count();
    match count {
        0 => 0.0,
        1 => matches as f64,
        _ => {
            let needed = (count - 1).min(3) as f64;
            let soft = |matches: usize| (matches as f64 / needed).min(1.0);
            let left_out_matched = matches as f64 * soft(matches.saturating_sub(1));
            let left_out_other = (count - matches) as f64 * soft(matches);
            (left_out_matched + left_out_other) / count as f64
        }
    }
}
