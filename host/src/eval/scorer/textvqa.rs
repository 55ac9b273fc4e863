//! TextVQA (Singh et al., 2019) and VizWiz (Gurari et al., 2018): soft accuracy, prediction and answers always normalised.

use super::normalise::textvqa as normalise;
use super::vqa_soft::leave_one_out;

/// Mean over the answers of `min(1, matches among the others / 3)` after the normaliser of the TextVQA evaluator.
pub(super) fn soft(prediction: &str, answers: &[String]) -> f64 {
    let prediction = normalise(prediction);
    let answers: Vec<String> = answers.iter().map(|answer| normalise(answer)).collect();
    leave_one_out(&prediction, &answers)
}
