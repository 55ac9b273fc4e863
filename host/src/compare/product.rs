//! Floating point operations that a machine does in a second: those of one large product.

use std::time::{Duration, Instant};

use anyhow::Result;
use tch::{Device, Kind, Tensor, no_grad};

/// What one product may take, and what is spent on products of one size: a processor without kernels for an element type is a thousand
/// times as slow as another, and where others compute too, most products wait for a core.
const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_millis(300);

/// Operations a second of a product of two large square matrices: the best of a few.
///
/// # Errors
/// The device has no product of that element type.
pub fn machine(kind: Kind, device: Device) -> Result<f64> {
    let side = if device.is_cuda() { 8_192 } else { 1_024 };
    best(kind, device, side, 8, Duration::MAX)
}

/// The same of this processor with so many threads, which the process keeps, in less than a second.
///
/// # Errors
/// The processor has no product of that element type.
pub fn processor(kind: Kind, threads: usize) -> Result<f64> {
    // One thread waits for no other, so where others compute too, small products still tell which size is short enough.
    tch::set_num_threads(1);
    let small = best(kind, Device::Cpu, 256, 64, LONG)?;
    tch::set_num_threads(threads as i32);
    let large = [1_024, 512].into_iter().find(|&side| operations(side) / small < SHORT.as_secs_f64());
    Ok(match large {
        Some(side) => small.max(best(kind, Device::Cpu, side, 16, LONG)?),
        None => small,
    })
}

fn operations(side: i64) -> f64 {
    2.0 * (side as f64).powi(3)
}

/// The best of so many products, or of as many as begin within a time.
fn best(kind: Kind, device: Device, side: i64, times: usize, time: Duration) -> Result<f64> {
    let options = (Kind::Float, device);
    let (a, b) = (Tensor::f_rand([side, side], options)?, Tensor::f_rand([side, side], options)?);
    let (a, b) = (a.f_to_kind(kind)?, b.f_to_kind(kind)?);
    let (mut best, begun) = (f64::INFINITY, Instant::now());
    for number in 0..times {
        if number > 0 && begun.elapsed() > time {
            break;
        }
        let clock = Instant::now();
        let product = no_grad(|| a.f_matmul(&b))?;
        // Reading one number waits for the device.
        product.f_get(0)?.f_get(0)?.f_double_value(&[])?;
        best = best.min(clock.elapsed().as_secs_f64());
    }
    Ok(operations(side) / best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_multiplies() {
        // Not `processor`: it changes the threads of a process, in which other tests compute.
        let rate = machine(Kind::Float, Device::Cpu).expect("measured");
        assert!(rate > 1e6 && rate.is_finite(), "{rate}");
    }
}
