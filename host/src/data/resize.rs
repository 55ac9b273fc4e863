//! Pillow's bicubic resampling (`Image.resize` with `BICUBIC`, Pillow 13), bit for bit: a = -0.5, a support that grows with the
//! reduction, weights in fixed point, one pass along each side and bytes between the two. Vision towers were trained on pictures made so.

use image::RgbImage;

/// Bits behind the point of a weight: what 32 leave beside a byte and two bits for what goes over.
const PRECISION: u32 = 32 - 8 - 2;
/// Reach of the bicubic kernel, in pixels of the smaller of both pictures.
const SUPPORT: f64 = 2.0;

/// The picture at another size.
pub fn bicubic(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (from_width, from_height) = (i64::from(picture.width()), i64::from(picture.height()));
    let (less_wide, less_high) = (from_width - i64::from(width), from_height - i64::from(height));
    let across = |picture: &RgbImage| rows(picture, &Weights::new(picture.width(), width));
    let down = |picture: &RgbImage| columns(picture, &Weights::new(picture.height(), height));
    // Which pass comes first shows in the result; Pillow takes the columns where many of them go.
    match (less_wide != 0, less_high != 0) {
        (false, false) => picture.clone(),
        (true, false) => across(picture),
        (false, true) => down(picture),
        (true, true) if less_high > 0 && 2 * less_wide < less_high => across(&down(picture)),
        (true, true) => down(&across(picture)),
    }
}

/// The picture in the middle of a square of its longer side, whose rest has one colour, at another size: the bytes of pasting and
/// [`bicubic`], without the square, which for a picture of 16,384 x 83 pixels takes 800 MB.
pub fn bicubic_bordered(picture: &RgbImage, border: [u8; 3], size: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let side = width.max(height);
    let (left, top) = (((side - width) / 2) as usize, (side - height) / 2);
    let mut row: Vec<u8> = border.repeat(side as usize);
    let weights = (side != size).then(|| Weights::new(side, size));
    let shortened = |row: &[u8]| match &weights {
        Some(weights) => {
            let mut bytes = Vec::with_capacity(size as usize * 3);
            across(row, weights, &mut bytes);
            bytes
        }
        None => row.to_vec(),
    };
    let empty = shortened(&row);
    let mut bytes = Vec::with_capacity(empty.len() * side as usize);
    for y in 0..side {
        if (top..top + height).contains(&y) {
            let stride = width as usize * 3;
            let from = (y - top) as usize * stride;
            row[left * 3..left * 3 + stride].copy_from_slice(&picture.as_raw()[from..from + stride]);
            bytes.extend(shortened(&row));
        } else {
            bytes.extend_from_slice(&empty);
        }
    }
    let across = RgbImage::from_raw(size, side, bytes).unwrap_or_default();
    match weights {
        Some(weights) => columns(&across, &weights),
        None => across,
    }
}

/// For each pixel of the result the first source pixel, and one weight for each of the pixels from there on.
struct Weights(Vec<(usize, Vec<i32>)>);

impl Weights {
    fn new(from: u32, to: u32) -> Weights {
        let scale = f64::from(from) / f64::from(to);
        let stretch = scale.max(1.0);
        let support = SUPPORT * stretch;
        let of = |pixel: u32| {
            let center = (f64::from(pixel) + 0.5) * scale;
            // Truncated towards zero, as C does.
            let first = ((center - support + 0.5) as i64).max(0);
            let end = ((center + support + 0.5) as i64).min(i64::from(from));
            let raw: Vec<f64> =
                (first..end).map(|source| kernel((source as f64 - center + 0.5) * (1.0 / stretch))).collect();
            let sum: f64 = raw.iter().sum();
            let fixed = raw.iter().map(|weight| {
                let weight = if sum == 0.0 { *weight } else { weight / sum };
                (weight * f64::from(1 << PRECISION) + if weight < 0.0 { -0.5 } else { 0.5 }) as i32
            });
            (first as usize, fixed.collect())
        };
        Weights((0..to).map(of).collect())
    }
}

fn kernel(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

fn rows(picture: &RgbImage, weights: &Weights) -> RgbImage {
    let (from, height, to) = (picture.width() as usize, picture.height(), weights.0.len());
    let mut bytes = Vec::with_capacity(to * height as usize * 3);
    for row in picture.as_raw().chunks_exact(from * 3) {
        across(row, weights, &mut bytes);
    }
    RgbImage::from_raw(to as u32, height, bytes).unwrap_or_default()
}

fn across(row: &[u8], weights: &Weights, bytes: &mut Vec<u8>) {
    for (first, weights) in &weights.0 {
        let mut sums = [HALF; 3];
        for (pixel, weight) in row[first * 3..].chunks_exact(3).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(*value) * weight;
            }
        }
        bytes.extend(sums.map(byte));
    }
}

fn columns(picture: &RgbImage, weights: &Weights) -> RgbImage {
    let (stride, to) = (picture.width() as usize * 3, weights.0.len());
    let mut bytes = Vec::with_capacity(stride * to);
    let mut sums = vec![HALF; stride];
    for (first, weights) in &weights.0 {
        sums.fill(HALF);
        for (row, weight) in picture.as_raw()[first * stride..].chunks_exact(stride).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * weight;
            }
        }
        bytes.extend(sums.iter().map(|sum| byte(*sum)));
    }
    RgbImage::from_raw(picture.width(), to as u32, bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use serde::Deserialize;

    use super::*;

    /// A picture that every language makes alike: products and a remainder.
    fn made(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([0, 1, 2].map(|c| ((x * x * (7 + c) + y * y * (3 + 5 * c) + x * y + 31 * c) % 256) as u8))
        })
    }

    #[derive(Deserialize)]
    struct Case {
        from: [u32; 2],
        to: [u32; 2],
        rgb: Vec<u8>,
    }

    /// Written by `tests/peer/fixtures.py` with Pillow.
    #[test]
    fn bytes_are_those_of_pillow() {
        let text = include_str!("../../../tests/fixtures/llava/pillow_bicubic.json");
        let cases: Vec<Case> = serde_json::from_str(text).unwrap();
        assert!(cases.len() > 5);
        for case in cases {
            let resized = bicubic(&made(case.from[0], case.from[1]), case.to[0], case.to[1]);
            assert_eq!(resized.dimensions(), (case.to[0], case.to[1]));
            assert_eq!(resized.as_raw(), &case.rgb, "{:?} to {:?}", case.from, case.to);
        }
    }

    #[test]
    fn a_border_is_as_if_it_had_been_pasted_into_a_square() {
        for (width, height) in
            [(40, 7), (7, 40), (41, 8), (16, 3), (3, 16), (5, 9), (1, 90), (90, 1), (12, 12)]
        {
            let (picture, border) = (made(width, height), [122, 116, 104]);
            let side = width.max(height);
            let mut square = RgbImage::from_pixel(side, side, Rgb(border));
            let at = (i64::from((side - width) / 2), i64::from((side - height) / 2));
            image::imageops::replace(&mut square, &picture, at.0, at.1);
            for size in [1, 14, 16, 33] {
                let pasted = bicubic(&square, size, size);
                assert_eq!(bicubic_bordered(&picture, border, size), pasted, "{width}x{height} to {size}");
            }
        }
    }

    #[test]
    fn one_size_is_no_resampling() {
        assert_eq!(bicubic(&made(9, 5), 9, 5), made(9, 5));
    }
}
