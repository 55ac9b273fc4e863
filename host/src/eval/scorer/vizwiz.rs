//! CoIN's rule for VizWiz and VQAv2 (`eval_vizwiz.py`, `eval_vqav2.py`): one answer, equal in upper case.
//! The official metric of both is a soft accuracy over ten answers, see `textvqa` and `vqa_soft`.

use super::Reference;

pub(super) fn coin(prediction: &str, reference: &Reference) -> bool {
    reference.target().is_some_and(|answer| prediction.to_uppercase() == answer.to_uppercase())
}
