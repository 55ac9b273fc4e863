//! GQA (Hudson & Manning, 2019): exact match. The prediction alone is prepared, as LLaVA's conversion script for the official
//! evaluator does it: final periods off, then lower case. Spaces are not trimmed.

pub(super) fn exact(prediction: &str, answers: &[String]) -> bool {
    let prediction = prediction.trim_end_matches('.').to_lowercase();
    !prediction.is_empty() && answers.contains(&prediction)
}
