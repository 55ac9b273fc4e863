//! What a run measures beside truth alignment (TA): general knowledge (GK) and loss of form. Each has a matrix and metrics under a name
//! of its own, beside those of the scorers.

use super::scorer::{Metric, Reference, form, offline};

/// GK by the offline judge: higher is better.
pub const KNOWLEDGE_OFFLINE: &str = "gk-offline";
/// GK by a language model, replies read strictly.
pub const KNOWLEDGE_JUDGE: &str = "gk-judge";
/// The same replies read as CoIN's script reads them.
pub const KNOWLEDGE_JUDGE_COIN: &str = "gk-judge-coin";
/// Answers that are not in the asked form: lower is better.
pub const FORMAT_FAILURE: &str = "format-failure";

/// All of them, in the order of reports.
pub const ALL: [&str; 4] = [KNOWLEDGE_OFFLINE, KNOWLEDGE_JUDGE, KNOWLEDGE_JUDGE_COIN, FORMAT_FAILURE];

/// Those that need nothing but the answer and its reference.
pub const COMPUTED: [&str; 2] = [KNOWLEDGE_OFFLINE, FORMAT_FAILURE];

/// Whether a name of results is one of these and no scorer.
pub fn is_measure(name: &str) -> bool {
    ALL.contains(&name)
}

/// Whether more is better.
pub fn higher_is_better(name: &str) -> bool {
    name != FORMAT_FAILURE
}

/// In words, for headings.
pub fn title(name: &str) -> &str {
    match name {
        KNOWLEDGE_OFFLINE => "general knowledge, offline judge (deterministic match, no language model)",
        KNOWLEDGE_JUDGE => "general knowledge, judged by a language model",
        KNOWLEDGE_JUDGE_COIN => "general knowledge, the same verdicts read as CoIN's script reads them",
        FORMAT_FAILURE => "format failure: answers not in the asked form (less is better)",
        other => other,
    }
}

/// [`COMPUTED`] of one answer, in 0..1.
pub fn of(metric: Metric, prediction: &str, reference: &Reference) -> [(&'static str, f64); 2] {
    let failed = f64::from(u8::from(form::fails(metric, prediction, reference)));
    [(KNOWLEDGE_OFFLINE, offline::credit(metric, prediction, reference)), (FORMAT_FAILURE, failed)]
}
