//! TextVQA (Singh et al., 2019) and VizWiz (Gurari et al., 2018): soft accuracy, prediction and answers always normalised.

use super::normalise::textvqa as normalise;
use super::vqa_soft::leave_one_out;

/// Mean over the answers of `min(1, matches among the others / 3)` after the normaliser of the TextVQA evaluator.
pub(super) fn soft(prediction: &str, answers: &[String]) -> f64 {
    let (prediction, answers) = normalised(prediction, answers);
    leave_one_out(&prediction, &answers)
}

/// The same, added up in the order of the answers as the TextVQA evaluator does it, which shows in the last digit. With fewer than four
/// answers as [`soft`].
pub(super) fn soft_in_order(prediction: &str, answers: &[String]) -> f64 {
    let (prediction, answers) = normalised(prediction, answers);
    let matches = answers.iter().filter(|answer| **answer == prediction).count();
    if answers.len() < 4 {
        return leave_one_out(&prediction, &answers);
    }
    let others = |answer: &String| matches - usize::from(*answer == prediction);
    let sum = answers.iter().fold(0.0, |sum, answer| sum + (others(answer) as f64 / 3.0).min(1.0));
    sum / answers.len() as f64
}

fn normalised(prediction: &str, answers: &[String]) -> (String, Vec<String>) {
    (normalise(prediction), answers.iter().map(|answer| normalise(answer)).collect())
}
