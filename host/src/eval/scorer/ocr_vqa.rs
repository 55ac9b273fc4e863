//! OCR-VQA (Mishra et al., 2019) has no official evaluator; CoIN's rule is in use: equal in lower case, and an answer that contains
//! `Unanswerable` is wrong.

use super::coin::ocrvqa::right;

pub(super) fn exact(prediction: &str, answers: &[String]) -> bool {
    answers.iter().any(|answer| right(prediction, answer))
}
