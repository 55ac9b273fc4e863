//! Products of a few rows, as when answers grow by one token: every weight is read once, at about the speed of memory, where the general
//! products of libtorch pack it first (docs/benchmarks.md).

use coin_kernels::few_rows;
use tch::{TchError, Tensor};

use super::floats::{filled, floats, is_recording};

/// Rows up to which this is the faster product.
const ROWS: usize = 16;

/// Products and sums below which a second thread costs more than it takes over.
const WORTH: usize = 1 << 17;

/// `input W^T` of `[.., in]` and `[out, in]` without a gradient; none where libtorch is to do it.
///
/// A number of the result is the same to the last bit whatever the other rows are, how many there are, and how many threads share the
/// work.
pub(super) fn product(input: &Tensor, weight: &Tensor) -> Result<Option<Tensor>, TchError> {
    // Another shape is libtorch's to judge.
    let [out, width] = weight.size()[..] else { return Ok(None) };
    let (rows, mut shape) = (input.numel() / width.max(1) as usize, input.size());
    let fits = shape.last() == Some(&width) && (1..=ROWS).contains(&rows) && out > 0;
    let recorded = (input.requires_grad() || weight.requires_grad()) && is_recording();
    if !fits || recorded || !few_rows::is_supported() {
        return Ok(None);
    }
    let (Some(inputs), Some(weights)) = (floats(input)?, floats(weight)?) else { return Ok(None) };
    let width = width as usize;
    let product = filled(&[out, rows as i64], rows, WORTH / inputs.len(), |first, part| {
        let outputs = first / rows..(first + part.len()) / rows;
        few_rows::products(inputs, &weights[outputs.start * width..outputs.end * width], width, part);
    })?;
    shape.pop();
    shape.push(out);
    Ok(Some(product.f_transpose(0, 1)?.f_contiguous()?.f_view(&shape[..])?))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn random(shape: &[i64], seed: i64) -> Tensor {
        tch::manual_seed(seed);
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.reshape([-1])).expect("float32")
    }

    #[test]
    fn a_row_is_the_same_alone_and_among_others_on_any_number_of_threads() {
        let (weight, input) = (random(&[777, 530], 3), random(&[9, 530], 4));
        let Some(all) = product(&input, &weight).expect("a product") else {
            eprintln!("skipped: this processor has no fused multiplication and addition");
            return;
        };
        let distance = (&all - input.linear::<&Tensor>(&weight, None)).abs().max().double_value(&[]);
        assert!(distance < 1e-4, "{distance}");
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
        if few_rows::is_supported() {
            let found = found(&input, &weight).expect("few rows");
            assert_eq!((found.size(), found.is_contiguous()), (vec![2, 3, 8], true));
        }
        for (input, weight) in [
            (random(&[17, 6], 7), random(&[8, 6], 5)),
            (random(&[2, 8], 8), random(&[6, 8], 5).transpose(0, 1)),
            (random(&[3, 4], 8), random(&[8, 6], 5)),
            (random(&[0, 6], 8), random(&[8, 6], 5)),
            (random(&[2, 0], 8), random(&[8, 0], 5)),
            (random(&[2, 6], 8).to_kind(Kind::BFloat16), random(&[8, 6], 5).to_kind(Kind::BFloat16)),
        ] {
            assert!(found(&input, &weight).is_none(), "{input:?} {weight:?}");
        }
        let trained = weight.detach().set_requires_grad(true);
        assert!(found(&input, &trained).is_none());
        assert_eq!(tch::no_grad(|| found(&input, &trained)).is_some(), few_rows::is_supported());
    }
}
