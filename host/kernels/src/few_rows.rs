//! Products of a few rows with a large weight: every weight is read once, in the order of memory.

/// Numbers that are added up side by side.
const LANES: usize = 16;

/// Numbers of a weight that are asked for ahead of use: the processor's own guess ends with the page.
const AHEAD: usize = 1024;

/// Whether this processor multiplies and adds vectors in one instruction, without which [`products`] would be slow.
pub fn is_supported() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return cfg!(target_arch = "aarch64");
}

/// `weight input^T`: `[outputs, width]` by `[rows, width]` to `[outputs, rows]`. A number of the result is the same to the last bit
/// whatever else is computed beside it.
///
/// # Panics
/// The lengths do not fit together, or [`is_supported`] is false.
pub fn products(input: &[f32], weight: &[f32], width: usize, result: &mut [f32]) {
    assert!(is_supported(), "asked before");
    let (rows, outputs) = (input.len() / width, weight.len() / width);
    assert!(rows * width == input.len() && outputs * width == weight.len() && rows * outputs == result.len());
    // SAFETY: the processor has what it needs.
    unsafe { output_by_output(input, weight, width, result) }
}

/// What is next in memory is read next; rows by fours, for which there are registers.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
unsafe fn output_by_output(input: &[f32], weight: &[f32], width: usize, result: &mut [f32]) {
    let rows = input.len() / width;
    for (weight, result) in weight.chunks_exact(width).zip(result.chunks_exact_mut(rows)) {
        let mut row = 0;
        while row < rows {
            let input = &input[row * width..];
            row += match rows - row {
                4.. => dots::<4>(input, weight, &mut result[row..]),
                2.. => dots::<2>(input, weight, &mut result[row..]),
                _ => dots::<1>(input, weight, &mut result[row..]),
            };
        }
    }
}

/// One output of `R` rows. Each is added up in one order: [`LANES`] sums over the width, then these in pairs, then what the width has
/// beyond.
#[inline(always)]
fn dots<const R: usize>(input: &[f32], weight: &[f32], result: &mut [f32]) -> usize {
    let width = weight.len();
    let rows: [&[f32]; R] = std::array::from_fn(|row| &input[row * width..(row + 1) * width]);
    let whole = width / LANES * LANES;
    let mut sums = [[0.0f32; LANES]; R];
    for start in (0..whole).step_by(LANES) {
        let weights = &weight[start..start + LANES];
        fetch(weights.as_ptr().wrapping_add(AHEAD));
        for row in 0..R {
            let values = &rows[row][start..start + LANES];
            for lane in 0..LANES {
                sums[row][lane] = weights[lane].mul_add(values[lane], sums[row][lane]);
            }
        }
    }
    for (row, mut sums) in sums.into_iter().enumerate() {
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                sums[lane] += sums[lane + half];
            }
            half /= 2;
        }
        let rest = weight[whole..].iter().zip(&rows[row][whole..]);
        result[row] = rest.fold(sums[0], |sum, (weight, value)| weight.mul_add(*value, sum));
    }
    R
}

/// Asks for the memory at an address, which need not be there.
#[inline(always)]
fn fetch(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that never faults, on every processor of this architecture.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address as *const i8);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _no_such_hint = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; count];
        crate::draws::uniform(seed, 0, &mut values);
        values.iter().map(|value| value - 0.5).collect()
    }

    #[test]
    fn are_the_products_for_all_numbers_of_rows_and_odd_widths() {
        if !is_supported() {
            eprintln!("skipped: this processor has no fused multiplication and addition");
            return;
        }
        for (outputs, width) in [(1, 1), (7, 16), (64, 33), (13, 48), (40, 1000)] {
            let weight = numbers(outputs * width, 1);
            for rows in 1..=17 {
                let input = numbers(rows * width, 2);
                let mut result = vec![0.0; outputs * rows];
                products(&input, &weight, width, &mut result);
                for (place, found) in result.iter().enumerate() {
                    let (weight, input) = (&weight[place / rows * width..], &input[place % rows * width..]);
                    let pairs = weight[..width].iter().zip(&input[..width]);
                    let expected: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    assert!(
                        (f64::from(*found) - expected).abs() < 1e-5,
                        "{rows} x {width}: {found} {expected}"
                    );
                }
                let mut alone = vec![0.0; outputs];
                products(&input[(rows - 1) * width..], &weight, width, &mut alone);
                assert!(alone.iter().zip(result.chunks(rows)).all(|(alone, all)| *alone == all[rows - 1]));
            }
        }
    }
}
