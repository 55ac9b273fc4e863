//! Numbers of tensors where they are, and libtorch's threads to fill them.

#![expect(unsafe_code, reason = "slices of what libtorch allocated, and its C interface")]

use std::ffi::c_void;
use std::ops::Range;

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

/// The numbers of a contiguous float32 tensor on the CPU; none of another one.
pub(super) fn floats(tensor: &Tensor) -> Result<Option<&[f32]>, TchError> {
    let readable =
        tensor.device() == Device::Cpu && tensor.f_kind()? == Kind::Float && tensor.is_contiguous();
    // SAFETY: the tensor has so many numbers of this type side by side, and outlives the slice.
    Ok(readable.then(|| unsafe { slice(tensor.data_ptr() as *const f32, tensor.numel()) }))
}

/// A tensor without elements has no address.
unsafe fn slice<'a>(start: *const f32, count: usize) -> &'a [f32] {
    // SAFETY: as the caller says.
    if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(start, count) } }
}

/// Whether operations on tensors that require a gradient are recorded.
pub(super) fn is_recording() -> bool {
    // SAFETY: reads a flag of this thread.
    unsafe { aoti_torch_grad_mode_is_enabled() }
}

/// A new float32 tensor on the CPU, filled by libtorch's threads: `fill` gets a part that begins at a multiple of `unit`, and where it
/// begins. A thread has at least `grain` units.
///
/// # Errors
/// There is no memory for that shape.
pub fn filled(
    sizes: &[i64],
    unit: usize,
    grain: usize,
    fill: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<Tensor, TchError> {
    let tensor = Tensor::f_empty(sizes, (Kind::Float, Device::Cpu))?;
    let (count, unit) = (tensor.numel(), unit.max(1));
    let start = Shared(tensor.data_ptr() as *mut f32);
    let part = |units: Range<usize>| {
        let (begin, end) = (units.start * unit, count.min(units.end * unit));
        if begin < end {
            // SAFETY: `empty` made so many numbers, which any bits are; no other part has these, and nobody else knows the tensor.
            fill(begin, unsafe { std::slice::from_raw_parts_mut({ start }.0.add(begin), end - begin) });
        }
    };
    in_parallel(count.div_ceil(unit), grain, &part)?;
    Ok(tensor)
}

/// A pointer that threads may share: each writes to places of its own.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: see above.
unsafe impl Sync for Shared {}

fn in_parallel<F: Fn(Range<usize>) + Sync>(count: usize, grain: usize, body: &F) -> Result<(), TchError> {
    extern "C" fn part<F: Fn(Range<usize>) + Sync>(begin: i64, end: i64, context: *mut c_void) {
        // SAFETY: the body that `in_parallel` borrows until all parts are done.
        let body = unsafe { &*(context as *const F) };
        body(begin as usize..end as usize);
    }
    // SAFETY: `part` takes the context for what it is.
    let status = unsafe {
        torch_parallel_for(0, count as i64, grain.max(1) as i64, part::<F>, (body as *const F) as *mut c_void)
    };
    match status {
        0 => Ok(()),
        _ => Err(TchError::Torch(format!("libtorch's threads could not be used (status {status})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_filled_once_at_its_place() {
        for (count, unit, grain) in [(0, 1, 1), (1, 4, 1), (100_003, 2, 7), (64, 64, 64), (65, 64, 1)] {
            let tensor = filled(&[count], unit, grain, |first, part| {
                assert!(first % unit == 0);
                part.iter_mut().enumerate().for_each(|(place, value)| *value = (first + place) as f32);
            });
            let tensor = tensor.expect("filled");
            let expected: Vec<f32> = (0..count).map(|number| number as f32).collect();
            assert_eq!(floats(&tensor).expect("a tensor").expect("float32"), expected);
        }
        assert!(filled(&[2, -1], 1, 1, |_, _| ()).is_err() && filled(&[1 << 60], 1, 1, |_, _| ()).is_err());
    }

    #[test]
    fn other_tensors_have_no_floats() {
        let tensor = Tensor::zeros([3, 4], (Kind::Float, Device::Cpu));
        assert_eq!(floats(&tensor).expect("a tensor"), Some(&[0.0; 12][..]));
        assert_eq!(floats(&tensor.transpose(0, 1)).expect("a tensor"), None);
        assert_eq!(floats(&tensor.to_kind(Kind::BFloat16)).expect("a tensor"), None);
        assert_eq!(floats(&tensor.narrow(0, 1, 2)).expect("a tensor").map(<[f32]>::len), Some(8));
        assert!(is_recording() && !tch::no_grad(is_recording));
    }
}
