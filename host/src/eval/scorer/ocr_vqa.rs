//! OCR-VQA (Mishra et al., 2019) has no official evaluator; this is the rule in use: equal in lower case, and an answer that
//! contains `Unanswerable` is wrong.

pub(super) fn exact(prediction: &str, answers: &[String]) -> bool {
    if prediction.contains("Unanswerable") {
        return false;
    }
    let prediction = prediction.to_lowercase();
    answers.iter().any(|answer| answer.to_lowercase() == prediction)
}
