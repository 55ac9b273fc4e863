//! Random draws of plugins. Each starts from a seed of its own, so no generator state survives a draw.

use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::stream::random::Draws;

use super::create::{compute_device, from_values};

/// Uniform in `[0, 1)`, float32, on the compute device.
pub(super) fn uniform(seed: u64, sizes: &[i64]) -> Result<Tensor> {
    match compute_device() {
        Device::Cpu => {
            let mut values = reserve(sizes)?;
            fill(seed, &mut values, |bits| (bits >> 8) as f32 / (1 << 24) as f32);
            Ok(from_values(&values, sizes)?)
        }
        device => uniform_on(device, seed, sizes),
    }
}

/// Standard normal, float32, on the compute device.
pub(super) fn normal(seed: u64, sizes: &[i64]) -> Result<Tensor> {
    match compute_device() {
        Device::Cpu => {
            let mut values = reserve(sizes)?;
            let mut draws = Draws::from_seed(seed);
            values.fill_with(|| draws.normal() as f32);
            Ok(from_values(&values, sizes)?)
        }
        device => {
            tch::manual_seed(seed.cast_signed());
            Ok(Tensor::f_randn(sizes, (Kind::Float, device))?)
        }
    }
}

/// Inverted dropout (Srivastava et al. 2014): zero with this probability, else scaled by `1 / (1 - probability)`.
///
/// # Errors
/// The probability is not in `[0, 1)`.
pub(super) fn dropout(seed: u64, input: &Tensor, probability: f64) -> Result<Tensor> {
    ensure!((0.0..1.0).contains(&probability), "probability {probability} is not in [0, 1)");
    let (sizes, kind) = (input.size(), input.f_kind()?);
    let scale = 1.0 / (1.0 - probability);
    let mask = match input.device() {
        Device::Cpu => {
            let mut values = reserve(&sizes)?;
            let below = (probability * 2f64.powi(32)) as u32;
            fill(seed, &mut values, |bits| if bits < below { 0.0 } else { scale as f32 });
            Tensor::f_from_slice(&values)?.f_reshape(&sizes)?.f_to_kind(kind)?
        }
        device => {
            uniform_on(device, seed, &sizes)?.f_ge(probability)?.f_to_kind(kind)?.f_mul_scalar(scale)?
        }
    };
    Ok(input.f_mul(&mask)?)
}

/// The first `count` numbers of a random order of `0..size`.
///
/// # Errors
/// `count` is larger than `size`.
pub(super) fn sample(seed: u64, size: u64, count: u64) -> Result<Vec<u64>> {
    ensure!(count <= size, "{count} different numbers out of {size}");
    let (size, count) = (usize::try_from(size)?, usize::try_from(count)?);
    let mut draws = Draws::from_seed(seed);
    let mut numbers: Vec<u64> = (0..size as u64).collect();
    for place in 0..count {
        numbers.swap(place, place + draws.below(size - place));
    }
    numbers.truncate(count);
    Ok(numbers)
}

/// Draws on an accelerator, whose generator costs nothing to seed; on the CPU libtorch's would be the slower one.
fn uniform_on(device: Device, seed: u64, sizes: &[i64]) -> Result<Tensor> {
    tch::manual_seed(seed.cast_signed());
    Ok(Tensor::f_rand(sizes, (Kind::Float, device))?)
}

/// Room for the elements of a shape.
fn reserve(sizes: &[i64]) -> Result<Vec<f32>> {
    let count = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(usize::try_from(*size).ok()?));
    let count = count.with_context(|| format!("{sizes:?} is not a shape"))?;
    let mut values = Vec::new();
    values.try_reserve_exact(count).with_context(|| format!("no memory for {sizes:?}"))?;
    values.resize(count, 0.0);
    Ok(values)
}

/// Elements that one thread fills at a time; even.
const PART: usize = 1 << 16;

/// Fills with what `value` makes of 32 random bits; each draw of 64 serves two elements. The same on any number of threads.
fn fill(seed: u64, values: &mut [f32], value: impl Fn(u32) -> f32 + Sync) {
    let fill = |(part, values): (usize, &mut [f32])| {
        let mut draws = Draws::from_seed(seed);
        draws.skip((part * PART / 2) as u64);
        for pair in values.chunks_mut(2) {
            let bits = draws.next_u64();
            pair[0] = value((bits >> 32) as u32);
            if let Some(second) = pair.get_mut(1) {
                *second = value(bits as u32);
            }
        }
    };
    match values.len() {
        // Another thread would cost more than it takes over.
        0..=PART => fill((0, values)),
        _ => values.par_chunks_mut(PART).enumerate().for_each(fill),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.view(-1)).unwrap()
    }

    #[test]
    fn draws_have_the_moments_of_their_distribution() {
        let moments = |values: &[f32]| {
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / values.len() as f32)
        };
        let uniform = values(&uniform(1, &[101, 99]).unwrap());
        assert!(uniform.iter().all(|value| (0.0..1.0).contains(value)));
        let (mean, variance) = moments(&uniform);
        assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 12.0).abs() < 0.003, "{mean} {variance}");
        let (mean, variance) = moments(&values(&normal(1, &[100, 100]).unwrap()));
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        assert_ne!(uniform[..4], values(&super::uniform(2, &[4]).unwrap())[..]);
    }

    #[test]
    fn threads_fill_what_one_draws() {
        let mut draws = Draws::from_seed(9);
        let count = 3 * PART + 5;
        let bits: Vec<f32> = (0..count.div_ceil(2))
            .flat_map(|_| {
                let bits = draws.next_u64();
                [(bits >> 32) as f32, bits as u32 as f32]
            })
            .take(count)
            .collect();
        let mut filled = vec![0.0; count];
        fill(9, &mut filled, |bits| bits as f32);
        assert_eq!(filled, bits);
    }

    #[test]
    fn dropout_drops_its_share_and_scales_the_rest() {
        let input = Tensor::ones([100, 101], (Kind::Float, Device::Cpu));
        let output = values(&dropout(3, &input, 0.2).unwrap());
        let dropped = output.iter().filter(|value| **value == 0.0).count() as f32 / output.len() as f32;
        assert!((dropped - 0.2).abs() < 0.015, "{dropped}");
        assert!(output.iter().all(|value| *value == 0.0 || *value == 1.25));
        assert_eq!(dropout(3, &input.to_kind(Kind::BFloat16), 0.2).unwrap().kind(), Kind::BFloat16);
        for probability in [-0.1, 1.0, f64::NAN] {
            assert!(dropout(3, &input, probability).is_err());
        }
    }

    #[test]
    fn a_sample_holds_different_numbers_below_its_size() {
        let mut all = sample(5, 20, 20).unwrap();
        assert_eq!(sample(5, 20, 3).unwrap(), all[..3]);
        assert_ne!(all, sample(6, 20, 20).unwrap());
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        assert_eq!(sample(5, 2, 3).unwrap_err().to_string(), "3 different numbers out of 2");
    }

    #[test]
    fn a_shape_that_cannot_be_is_refused() {
        for sizes in [&[2, -1][..], &[i64::MAX, 8], &[1 << 60]] {
            assert!(uniform(0, sizes).is_err(), "{sizes:?}");
        }
    }
}
