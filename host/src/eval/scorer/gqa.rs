//! GQA (Hudson & Manning, 2019): exact match. The prediction alone is prepared, as LLaVA's conversion script for the official
//! evaluator does it: final periods off, then lower case. Spaces are not trimmed.

use super::coin::gqa::converted;

pub(super) fn exact(prediction: &str, answers: &[String]) -> bool {
    answers.contains(&converted(prediction))
}
