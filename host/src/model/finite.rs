//! Whether a model's scores are numbers: of NaN and infinity an answer would be chosen all the same.

use anyhow::{Result, ensure};
use tch::Tensor;

/// # Errors
/// A logit that is NaN or infinite.
pub fn ensure_finite(logits: &Tensor) -> Result<()> {
    ensure!(
        bool::try_from(logits.f_isfinite()?.f_all()?)?,
        "the model's logits are not finite (NaN or infinite)\nhint: a weight of the checkpoint or of the adapter is damaged, or the training ran away; with dtype float16, try bfloat16 or float32"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_infinity_are_told_from_numbers() {
        ensure_finite(&Tensor::from_slice(&[-1e30f32, 0.0, 1e30])).expect("numbers");
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = ensure_finite(&Tensor::from_slice(&[0.0, value])).expect_err("none").to_string();
            assert!(error.contains("not finite") && error.contains("hint:"), "{error}");
        }
    }
}
