//! How the penalty of a finished stage joins those of earlier ones.

use coin_plugin_api::{Result, Tensor};

/// A penalty `fisher * (weight - anchor)^2`, elementwise.
pub(crate) struct Quadratic {
    pub(crate) fisher: Tensor,
    pub(crate) anchor: Tensor,
}

/// The running penalty of online EWC: `fisher <- gamma * fisher + new`, around the latest weights.
pub(crate) fn online(old: &Quadratic, fisher: &Tensor, weight: &Tensor, gamma: f64) -> Result<Quadratic> {
    Ok(Quadratic { fisher: fisher.add_scaled(&old.fisher, gamma)?, anchor: weight.detach()? })
}

/// The sum of two penalties as one and a scalar that no weight changes:
/// `F (w - a)^2 + G (w - b)^2 = (F + G) (w - c)^2 + F G / (F + G) (a - b)^2` with `c = (F a + G b) / (F + G)`. So a run keeps one anchor
/// and one Fisher value for each weight, however many stages it has.
pub(crate) fn sum(old: &Quadratic, fisher: &Tensor, weight: &Tensor) -> Result<(Quadratic, Tensor)> {
    let total = old.fisher.add(fisher)?;
    // Where both are zero there is no penalty and any anchor will do.
    let share = fisher.div(&total.clamp_min(f64::from(f32::MIN_POSITIVE))?)?;
    let distance = weight.detach()?.sub(&old.anchor)?;
    let constant = old.fisher.mul(&share)?.mul(&distance.square()?)?.sum_all()?;
    Ok((Quadratic { anchor: old.anchor.add(&share.mul(&distance)?)?, fisher: total }, constant))
}

/// `sum fisher * (weight - anchor)^2` over vectors.
pub(crate) fn distance(weight: &Tensor, fisher: &Tensor, anchor: &Tensor) -> Result<Tensor> {
    weight.sub(anchor)?.square()?.dot(fisher)
}
