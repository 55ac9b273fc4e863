//! Products of a few rows with a large weight, as when answers grow by one token: every weight is read once, at about the speed of
//! memory, where the general products of libtorch pack it first (docs/benchmarks.md).
//!
//! A number of the result is the same to the last bit whatever the other rows are, how many there are, and how many threads share the work.

#![expect(unsafe_code, reason = "reads tensors where they are, and runs on libtorch's threads")]

use std::ffi::c_void;

use tch::{Device, Kind, TchError, Tensor};

unsafe extern "C" {
    fn aoti_torch_grad_mode_is_enabled() -> bool;
    /// Shares `begin..end` out to libtorch's threads in parts of at least `grain`; status 0 is success.
    fn torch_parallel_for(
        begin: i64,
        end: i64,
        grain: i64,
        body: extern "C" fn(i64, i64, *mut c_void),
        context: *mut c_void,
    ) -> i32;
}

/// Rows up to which this is the faster product.
const ROWS: usize = 16;

/// Numbers that are added up side by side.
const LANES: usize = 16;

/// Numbers of a weight that are asked for ahead of use: the processor's own guess ends with the page.
const AHEAD: usize = 1024;

/// Products and sums below which a second thread costs more than it takes over.
const WORTH: usize = 1 << 17;

/// `input W^T` of `[.., in]` and `[out, in]` without a gradient; none where libtorch is to do it.
pub(super) fn product(input: &Tensor, weight: &Tensor) -> Result<Option<Tensor>, TchError> {
    let (out, width) = weight.size2()?;
    let (out, width) = (out as usize, width as usize);
    let rows = input.numel() / width.max(1);
    let readable = |tensor: &Tensor| -> Result<bool, TchError> {
        Ok(tensor.device() == Device::Cpu && tensor.f_kind()? == Kind::Float && tensor.is_contiguous())
    };
    let few = (1..=ROWS).contains(&rows) && out > 0 && is_supported();
    if !few || !readable(input)? || !readable(weight)? || recorded(input, weight) {
        return Ok(None);
    }
    let mut shape = input.size();
    match shape.last_mut() {
        Some(last) if *last == width as i64 => *last = out as i64,
        _ => return Ok(None),
    }
    let mut result = vec![0.0; rows * out];
    // SAFETY: both are contiguous float32 tensors on the CPU with these many numbers (`readable`), borrowed longer than the slices.
    let (input, weight) = unsafe {
        (
            std::slice::from_raw_parts(input.data_ptr() as *const f32, rows * width),
            std::slice::from_raw_parts(weight.data_ptr() as *const f32, out * width),
        )
    };
    let task = Task { input, weight, result: result.as_mut_ptr(), rows, out, width };
    let grain = (WORTH / (rows * width).max(1)).max(1) as i64;
    // SAFETY: `part` takes the context for the `Task` that it is, which outlives the call.
    let status = unsafe { torch_parallel_for(0, out as i64, grain, part, (&raw const task) as *mut c_void) };
    if status != 0 {
        return Err(TchError::Torch(format!("libtorch's threads could not be used (status {status})")));
    }
    Ok(Some(Tensor::f_from_slice(&result)?.f_view(&shape[..])?))
}

/// Whether the result would have to know where it came from.
fn recorded(input: &Tensor, weight: &Tensor) -> bool {
    // SAFETY: reads a flag of this thread.
    (input.requires_grad() || weight.requires_grad()) && unsafe { aoti_torch_grad_mode_is_enabled() }
}

/// A product, as the threads that share it see it.
struct Task<'a> {
    input: &'a [f32],
    weight: &'a [f32],
    /// `[rows, out]`.
    result: *mut f32,
    rows: usize,
    out: usize,
    width: usize,
}

/// Outputs `begin..end` of a [`Task`].
extern "C" fn part(begin: i64, end: i64, context: *mut c_void) {
    // SAFETY: `product` gives a task that lives until all parts are done and is only read, and asks `is_supported` before.
    unsafe { outputs(&*(context as *const Task), begin as usize, end as usize) }
}

/// Whether this processor multiplies and adds vectors in one instruction.
fn is_supported() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return cfg!(target_arch = "aarch64");
}

/// One output after the other: what is next in memory is read next. Rows by fours, for which there are registers.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
unsafe fn outputs(task: &Task, begin: usize, end: usize) {
    for output in begin..end {
        let mut row = 0;
        while row < task.rows {
            row += match task.rows - row {
                4.. => dots::<4>(task, output, row),
                2.. => dots::<2>(task, output, row),
                _ => dots::<1>(task, output, row),
            };
        }
    }
}

/// One output of `R` rows. Each is added up in one order, whatever is computed beside it: [`LANES`] sums over the width, then these in
/// pairs, then what the width has beyond.
#[inline(always)]
fn dots<const R: usize>(task: &Task, output: usize, row: usize) -> usize {
    let width = task.width;
    let weight = &task.weight[output * width..(output + 1) * width];
    let rows: [&[f32]; R] =
        std::array::from_fn(|place| &task.input[(row + place) * width..(row + place + 1) * width]);
    let whole = width / LANES * LANES;
    let mut sums = [[0.0f32; LANES]; R];
    for start in (0..whole).step_by(LANES) {
        let weights = &weight[start..start + LANES];
        fetch(weights.as_ptr().wrapping_add(AHEAD));
        // Plain indices: with iterators the sums are kept in memory, not in registers.
        for place in 0..R {
            let values = &rows[place][start..start + LANES];
            for lane in 0..LANES {
                sums[place][lane] = weights[lane].mul_add(values[lane], sums[place][lane]);
            }
        }
    }
    for (place, mut sums) in sums.into_iter().enumerate() {
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                sums[lane] += sums[lane + half];
            }
            half /= 2;
        }
        let rest = weight[whole..].iter().zip(&rows[place][whole..]);
        let dot = rest.fold(sums[0], |sum, (weight, value)| weight.mul_add(*value, sum));
        // SAFETY: within `[rows, out]`, and no other part has this output.
        unsafe { task.result.add((row + place) * task.out + output).write(dot) };
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

    fn random(shape: &[i64], seed: i64) -> Tensor {
        tch::manual_seed(seed);
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.reshape([-1])).expect("float32")
    }

    #[test]
    fn is_the_product_for_all_numbers_of_rows_and_odd_widths() {
        for (out, width) in [(1, 1), (7, 16), (64, 33), (513, 48), (40, 1000)] {
            let weight = random(&[out, width], 1);
            for rows in 1..=ROWS as i64 {
                let input = random(&[rows, width], 2);
                let Some(found) = product(&input, &weight).expect("a product") else {
                    assert!(!is_supported(), "few rows");
                    return;
                };
                let expected =
                    input.to_kind(Kind::Double).linear::<&Tensor>(&weight.to_kind(Kind::Double), None);
                assert_eq!(found.size(), [rows, out]);
                let error = (found.to_kind(Kind::Double) - expected).abs().max().double_value(&[]);
                assert!(error < 1e-6 * width as f64 + 1e-6, "{rows} x {width} x {out}: {error}");
            }
        }
    }

    #[test]
    fn a_row_is_the_same_alone_and_among_others_on_any_number_of_threads() {
        let (weight, input) = (random(&[777, 530], 3), random(&[9, 530], 4));
        let Some(all) = product(&input, &weight).expect("a product") else { return };
        let threads = tch::get_num_threads();
        tch::set_num_threads(1);
        let alone = product(&input, &weight).expect("a product").expect("few rows");
        tch::set_num_threads(threads);
        assert_eq!(numbers(&all), numbers(&alone));
        for row in 0..9 {
            let one = product(&input.narrow(0, row, 1), &weight).expect("a product").expect("few rows");
            assert_eq!(numbers(&one), numbers(&all.get(row)), "row {row}");
        }
    }

    #[test]
    fn leaves_to_libtorch_what_it_cannot_do() {
        let (weight, input) = (random(&[8, 6], 5), random(&[2, 3, 6], 6));
        let found = |input: &Tensor, weight: &Tensor| product(input, weight).expect("no error");
        if is_supported() {
            assert_eq!(found(&input, &weight).expect("few rows").size(), [2, 3, 8]);
        }
        assert!(found(&random(&[17, 6], 7), &weight).is_none());
        assert!(found(&input.to_kind(Kind::BFloat16), &weight.to_kind(Kind::BFloat16)).is_none());
        assert!(found(&random(&[2, 8], 8), &weight.transpose(0, 1)).is_none());
        let trained = weight.detach().set_requires_grad(true);
        assert!(found(&input, &trained).is_none());
        if is_supported() {
            assert!(tch::no_grad(|| found(&input, &trained)).is_some());
        }
    }
}
