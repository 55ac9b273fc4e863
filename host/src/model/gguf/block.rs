//! Element types, and how a block of them becomes numbers (ggml's `dequantize_row_*`).

use anyhow::{Context, Result, bail, ensure};

/// Elements of a quantised block.
const BLOCK: usize = 32;

/// How the values of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    F32,
    F16,
    /// 32 values of 4 bits each, `q`, with a scale `d` and a minimum `m` in float16: `d q + m`. The low halves of the bytes are the
    /// first 16 values, the high halves the others.
    Q4_1,
    /// 32 values of 8 bits with a sign, `q`, with a scale `d` in float16: `d q`.
    Q8_0,
}

impl ElementType {
    /// By ggml's number.
    pub(super) fn of(number: u32) -> Result<ElementType> {
        Ok(match number {
            0 => ElementType::F32,
            1 => ElementType::F16,
            3 => ElementType::Q4_1,
            8 => ElementType::Q8_0,
            other => bail!("element type {other} of ggml, and only F32, F16, Q4_1 and Q8_0 are supported"),
        })
    }

    /// Elements and bytes of a block.
    fn block(self) -> (usize, usize) {
        match self {
            ElementType::F32 => (1, 4),
            ElementType::F16 => (1, 2),
            ElementType::Q4_1 => (BLOCK, 4 + BLOCK / 2),
            ElementType::Q8_0 => (BLOCK, 2 + BLOCK),
        }
    }

    /// Bytes of a tensor.
    ///
    /// # Errors
    /// A row that is no whole number of blocks; more elements than can be counted.
    pub(super) fn bytes(self, shape: &[usize]) -> Result<usize> {
        let (elements, bytes) = self.block();
        let row = shape.last().copied().unwrap_or(1);
        ensure!(row.is_multiple_of(elements), "rows of {row} elements are no whole blocks of {elements}");
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        count
            .and_then(|count| (count / elements).checked_mul(bytes))
            .with_context(|| format!("a tensor of shape {shape:?} is too large"))
    }

    /// The numbers that whole blocks stand for.
    pub(super) fn values(self, bytes: &[u8]) -> Vec<f32> {
        let (elements, size) = self.block();
        let mut values = Vec::with_capacity(bytes.len() / size * elements);
        for block in bytes.chunks_exact(size) {
            match self {
                ElementType::F32 => values.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
                ElementType::F16 => values.push(half(block)),
                ElementType::Q4_1 => {
                    let (scale, minimum) = (half(block), half(&block[2..]));
                    let value = |quantum: u8| scale * f32::from(quantum) + minimum;
                    values.extend(block[4..].iter().map(|byte| value(byte & 15)));
                    values.extend(block[4..].iter().map(|byte| value(byte >> 4)));
                }
                ElementType::Q8_0 => {
                    let scale = half(block);
                    values.extend(block[2..].iter().map(|&byte| scale * f32::from(byte.cast_signed())));
                }
            }
        }
        values
    }
}

/// The float16 at the start of `bytes`.
fn half(bytes: &[u8]) -> f32 {
    let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
    let (sign, exponent, fraction) = (bits >> 15, bits >> 10 & 31, f32::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        exponent => (1024.0 + fraction) * 2f32.powi(i32::from(exponent) - 25),
    };
    if sign == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tch::{Kind, Tensor};

    use super::*;

    #[test]
    fn float16_is_that_of_libtorch_for_every_pattern() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let theirs = Tensor::f_from_data_size(&bytes, &[1 << 16], Kind::Half).unwrap();
        let theirs = Vec::<f32>::try_from(&theirs.f_to_kind(Kind::Float).unwrap()).unwrap();
        let ours = ElementType::F16.values(&bytes);
        assert!(ours.iter().zip(&theirs).all(|(a, b)| a == b || a.is_nan() && b.is_nan()));
    }

    /// Exact in float16.
    fn coarse() -> impl Strategy<Value = f32> {
        (-64i16..64).prop_map(|value| f32::from(value) / 64.0)
    }

    fn to_half(value: f32) -> [u8; 2] {
        let bits = value.to_bits();
        let exponent = (bits >> 23 & 255).cast_signed() - 112;
        let half = if exponent <= 0 { 0 } else { (exponent as u32) << 10 | bits >> 13 & 1023 };
        ((bits >> 16 & 0x8000 | half) as u16).to_le_bytes()
    }

    proptest! {
        #[test]
        fn four_bits_with_a_minimum(scale in coarse(), minimum in coarse(), quanta in prop::collection::vec(0u8..16, 32)) {
            let mut block = [to_half(scale), to_half(minimum)].concat();
            block.extend((0..16).map(|place| quanta[place] | quanta[place + 16] << 4));
            let expected: Vec<f32> = quanta.iter().map(|&q| scale * f32::from(q) + minimum).collect();
            prop_assert_eq!(ElementType::Q4_1.values(&block), expected);
        }

        #[test]
        fn eight_bits_with_a_sign(scale in coarse(), quanta in prop::collection::vec(any::<i8>(), 64)) {
            let mut blocks = Vec::new();
            for half in quanta.chunks(32) {
                blocks.extend(to_half(scale));
                blocks.extend(half.iter().map(|q| q.cast_unsigned()));
            }
            let expected: Vec<f32> = quanta.iter().map(|&q| scale * f32::from(q)).collect();
            prop_assert_eq!(ElementType::Q8_0.values(&blocks), expected);
        }

        #[test]
        fn sizes_are_counted_or_refused(shape in prop::collection::vec(any::<usize>(), 0..5)) {
            for element in [ElementType::F32, ElementType::Q4_1, ElementType::Q8_0] {
                let _ = element.bytes(&shape);
            }
        }
    }
}
