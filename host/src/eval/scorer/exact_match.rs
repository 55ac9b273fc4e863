//! Exact match for tasks without a metric of their own.

/// Equal to one of the answers after trimming, lower-casing and removing final periods; an empty answer is wrong.
pub(super) fn normalised(prediction: &str, answers: &[String]) -> bool {
    let prediction = fold(prediction);
    !prediction.is_empty() && answers.iter().any(|answer| fold(answer) == prediction)
}

fn fold(text: &str) -> String {
    text.trim().trim_end_matches('.').trim_end().to_lowercase()
}
