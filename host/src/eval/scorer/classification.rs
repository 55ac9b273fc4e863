//! ImageNet as a naming task: the answer must be the class name.

use super::Reference;

/// Equal to the class name, character by character; an empty answer is wrong.
pub(super) fn official(prediction: &str, reference: &Reference) -> bool {
    !prediction.is_empty() && reference.answers.iter().any(|answer| answer == prediction)
}
