//! Random draws of plugins. Each starts from a seed of its own, so no generator state survives a draw.

use anyhow::{Context as _, Result, ensure};
use coin_kernels::draws;
use tch::{Device, Kind, Tensor};

use crate::model::filled;
use crate::stream::random::Draws;

use super::create::{compute_device, from_values};

/// Uniform in `[0, 1)`, float32, on the compute device.
pub(super) fn uniform(seed: u64, sizes: &[i64]) -> Result<Tensor> {
    match compute_device() {
        Device::Cpu => {
            let fill = |first, part: &mut [f32]| draws::uniform(seed, first, part);
            filled(sizes, PAIR, WORTH, fill).with_context(|| no_memory(sizes))
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
            let below = (probability * 2f64.powi(32)) as u32;
            let fill = |first, part: &mut [f32]| draws::dropout_mask(seed, first, part, below, scale as f32);
            filled(&sizes, PAIR, WORTH, fill).with_context(|| no_memory(&sizes))?.f_to_kind(kind)?
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
    values.try_reserve_exact(count).with_context(|| no_memory(sizes))?;
    values.resize(count, 0.0);
    Ok(values)
}

/// Two numbers share a draw of 64 bits.
const PAIR: usize = 2;

/// Pairs below which a second thread costs more than it takes over.
const WORTH: usize = 1 << 15;

fn no_memory(sizes: &[i64]) -> String {
    format!("no memory for {sizes:?}")
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
        let sizes = [3, WORTH as i64 + 5];
        let input = Tensor::ones(sizes, (Kind::Float, Device::Cpu));
        let drawn = || (values(&uniform(9, &sizes).unwrap()), values(&dropout(9, &input, 0.3).unwrap()));
        let threads = tch::get_num_threads();
        let many = drawn();
        tch::set_num_threads(1);
        let one = drawn();
        tch::set_num_threads(threads);
        assert!(many == one);
        let mut draws = Draws::from_seed(9);
        for pair in one.0.chunks(2).take(1000) {
            let bits = draws.next_u64();
            assert_eq!(
                pair,
                [bits >> 32, bits & 0xffff_ffff].map(|bits| (bits >> 8) as f32 / (1 << 24) as f32)
            );
        }
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
