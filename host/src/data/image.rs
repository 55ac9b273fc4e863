//! Pictures: decoded within limits, fitted to the square a vision tower takes, normalised.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use image::{DynamicImage, ImageFormat, ImageReader, RgbImage};
use serde::{Deserialize, Serialize};

use crate::data::header::is_whole_jpeg;
use crate::data::jpeg;
use crate::data::resize::{bicubic, bicubic_bordered};

/// What a picture may cost before it is decoded.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest side taken, in pixels.
    pub max_side: u32,
    /// Width times height: an encoder can promise many in few bytes.
    pub max_pixels: u64,
    /// How many times longer than the other one a side may be: resized by its short side, a thread of pixels fills the memory.
    pub max_ratio: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_side: 16_384, max_pixels: 1 << 26, max_ratio: 200 }
    }
}

/// How a picture that is not square becomes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// Bordered to a square with the mean colour, then resized (LLaVA's `image_aspect_ratio pad`).
    Pad,
    /// Short side resized to the size, then the centre cut out (CLIP's processor).
    Crop,
    /// Resized to the square whatever its shape.
    Stretch,
}

/// From a decoded picture to a tower's input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    /// Side of the square, in pixels.
    pub size: u32,
    pub aspect: Aspect,
    /// Per channel, of values in 0..1.
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl Transform {
    /// CLIP's numbers (OpenAI's `preprocessor_config.json`).
    pub fn clip(size: u32, aspect: Aspect) -> Self {
        Transform {
            size,
            aspect,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }

    /// What the built-in tiny backbone was trained with (`assets/tiny/preprocessor_config.json`).
    pub fn tiny() -> Self {
        Transform { size: 64, aspect: Aspect::Stretch, mean: [0.5; 3], std: [0.5; 3] }
    }

    /// The tower's input, channels first: `[3, size, size]`, normalised.
    ///
    /// # Errors
    /// A size or a standard deviation of zero.
    pub fn apply(&self, picture: &RgbImage) -> anyhow::Result<Vec<f32>> {
        ensure!(self.size > 0, "image size 0\nhint: set the size that the vision tower was trained with");
        ensure!(self.std.iter().all(|&s| s > 0.0), "image std {:?}: every value must be positive", self.std);
        let square = self.fit(picture);
        let area = (self.size * self.size) as usize;
        let mut values = vec![0.0; 3 * area];
        for (at, pixel) in square.pixels().enumerate() {
            for c in 0..3 {
                values[c * area + at] = (f32::from(pixel.0[c]) / 255.0 - self.mean[c]) / self.std[c];
            }
        }
        Ok(values)
    }

    /// The square picture before normalisation.
    fn fit(&self, picture: &RgbImage) -> RgbImage {
        let (width, height) = picture.dimensions();
        let size = self.size;
        match self.aspect {
            Aspect::Pad if width != height => {
                // LLaVA truncates, so the border is the mean colour rounded down.
                bicubic_bordered(picture, self.mean.map(|m| (m * 255.0) as u8), size)
            }
            Aspect::Pad | Aspect::Stretch => bicubic(picture, size, size),
            Aspect::Crop => {
                // The long side is truncated, as in torchvision and transformers.
                let long =
                    |side: u32, short: u32| (u64::from(size) * u64::from(side) / u64::from(short)) as u32;
                let (to_width, to_height) =
                    if width <= height { (size, long(height, width)) } else { (long(width, height), size) };
                let resized = bicubic(picture, to_width, to_height);
                let (left, top) = ((to_width - size) / 2, (to_height - size) / 2);
                image::imageops::crop_imm(&resized, left, top, size, size).to_image()
            }
        }
    }
}

/// Decodes a picture held in memory; `name` stands in errors.
///
/// # Errors
/// An unknown format, a side beyond the limit, damaged data.
pub fn decode(bytes: &[u8], name: &str, limits: Limits) -> anyhow::Result<DynamicImage> {
    let hint = "hint: replace the file, or take its records out of the annotation file";
    let open = || {
        ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .with_context(|| format!("image `{name}`: unreadable"))
    };
    let (width, height) = open()?
        .into_dimensions()
        .map_err(|error| anyhow::anyhow!("image `{name}` cannot be decoded: {error}\n{hint}"))?;
    if width == 0 || height == 0 || width > limits.max_side || height > limits.max_side {
        bail!(
            "image `{name}` is {width}x{height} pixels: sides of 1 to {} are taken\nhint: scale it down once, before the run",
            limits.max_side
        );
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        bail!(
            "image `{name}` is {width}x{height} pixels: at most {} are taken\nhint: scale it down once, before the run",
            limits.max_pixels
        );
    }
    if width.max(height) / width.min(height) > limits.max_ratio {
        bail!(
            "image `{name}` is {width}x{height} pixels: one side is more than {} times the other\nhint: cut it, or take its records out of the annotation file",
            limits.max_ratio
        );
    }
    if bytes.starts_with(b"\xFF\xD8") && !is_whole_jpeg(bytes) {
        bail!("image `{name}` cannot be decoded: the JPEG is cut off, it has no end mark\n{hint}");
    }
    let mut reader = open()?;
    if reader.format() == Some(ImageFormat::Jpeg) {
        let decoded = jpeg::decode(bytes, (width, height))
            .map_err(|error| anyhow::anyhow!("image `{name}` cannot be decoded: {error}\n{hint}"))?;
        if let Some(picture) = decoded {
            return Ok(picture.into());
        }
    }
    let mut bounds = image::Limits::default();
    bounds.max_image_width = Some(limits.max_side);
    bounds.max_image_height = Some(limits.max_side);
    // Three times what 16-bit RGBA of that size takes; a compressed bomb stops here.
    bounds.max_alloc = Some(u64::from(width) * u64::from(height) * 24 + (1 << 20));
    reader.limits(bounds);
    reader.decode().map_err(|error| anyhow::anyhow!("image `{name}` cannot be decoded: {error}\n{hint}"))
}

/// Decodes a file to RGB; transparency is dropped, as Pillow's `convert("RGB")` does.
///
/// # Errors
/// As [`decode`], and a file that cannot be read; all name the path.
pub fn read(path: &Path, limits: Limits) -> anyhow::Result<RgbImage> {
    let bytes = std::fs::read(path).with_context(|| {
        format!("image `{}` cannot be read\nhint: is the dataset's root right?", path.display())
    })?;
    Ok(decode(&bytes, &path.display().to_string(), limits)?.into_rgb8())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn png(picture: &RgbImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn unit(size: u32, aspect: Aspect) -> Transform {
        Transform { size, aspect, mean: [0.0; 3], std: [1.0; 3] }
    }

    #[test]
    fn channels_come_first_and_are_normalised() {
        let picture = RgbImage::from_pixel(8, 8, Rgb([255, 0, 51]));
        let transform =
            Transform { size: 4, aspect: Aspect::Stretch, mean: [0.5, 0.5, 0.2], std: [0.5, 0.25, 0.1] };
        let values = transform.apply(&picture).unwrap();
        assert_eq!(values.len(), 48);
        assert!(values[..16].iter().all(|v| (v - 1.0).abs() < 1e-6));
        assert!(values[16..32].iter().all(|v| (v + 2.0).abs() < 1e-6));
        assert!(values[32..].iter().all(|v| v.abs() < 1e-6));
    }

    #[test]
    fn pad_keeps_the_whole_picture_between_borders_and_crop_keeps_the_middle() {
        let wide =
            RgbImage::from_fn(40, 20, |x, _| Rgb([if (10..30).contains(&x) { 255 } else { 100 }, 0, 0]));
        let padded = Transform { mean: [0.5; 3], ..unit(40, Aspect::Pad) }.fit(&wide);
        assert_eq!(padded.get_pixel(0, 0).0, [127; 3]);
        assert_eq!(padded.get_pixel(0, 20).0, [100, 0, 0]);
        assert_eq!(padded.get_pixel(20, 20).0, [255, 0, 0]);
        let cropped = unit(20, Aspect::Crop).fit(&wide);
        assert_eq!(cropped.dimensions(), (20, 20));
        assert!(cropped.pixels().all(|p| p.0 == [255, 0, 0]));
    }

    /// Reference: Pillow 13.0 `Image.resize((3, 1), BICUBIC)` of the row below.
    #[test]
    fn reduction_is_antialiased_as_in_pillow() {
        let row: Vec<u8> = vec![0, 255, 0, 255, 0, 255, 30, 60, 90, 120, 150, 180];
        let picture = RgbImage::from_fn(12, 1, |x, _| Rgb([row[x as usize]; 3]));
        let reduced = bicubic(&picture, 3, 1);
        let got: Vec<u8> = reduced.pixels().map(|p| p.0[0]).collect();
        assert_eq!(got, PILLOW);
    }
    const PILLOW: [u8; 3] = [120, 105, 124];

    #[test]
    fn damaged_and_absurd_files_are_named() {
        let whole = png(&RgbImage::new(30, 20));
        assert!(decode(&whole, "a.png", Limits::default()).is_ok());
        let mut jpeg = Cursor::new(Vec::new());
        let picture = RgbImage::from_fn(120, 90, |x, y| Rgb([x as u8, y as u8, (x * y) as u8]));
        picture.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let jpeg = jpeg.into_inner();
        assert!(decode(&jpeg, "a.jpg", Limits::default()).is_ok());
        for (bytes, name) in [
            (&whole[..whole.len() / 2], "half.png"),
            (&jpeg[..jpeg.len() / 2], "half.jpg"),
            (&jpeg[..jpeg.len() - 2], "endless.jpg"),
            (b"no picture".as_slice(), "text.png"),
            (&[], "empty.png"),
        ] {
            let error = decode(bytes, name, Limits::default()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("hint:"), "{error}");
        }
        let error =
            decode(&whole, "big.png", Limits { max_side: 25, ..Limits::default() }).unwrap_err().to_string();
        assert!(error.contains("big.png") && error.contains("30x20"), "{error}");
        let thread = png(&RgbImage::new(1, 10_000));
        let error = decode(&thread, "thread.png", Limits::default()).unwrap_err().to_string();
        assert!(error.contains("thread.png` is 1x10000") && error.contains("hint:"), "{error}");
        let error = format!("{:#}", read(Path::new("/nowhere/x.png"), Limits::default()).unwrap_err());
        assert!(error.contains("/nowhere/x.png"), "{error}");
    }

    /// A header may promise more pixels than memory holds.
    #[test]
    fn a_header_that_promises_too_much_is_refused_before_decoding() {
        let mut bytes = png(&RgbImage::new(4, 4));
        bytes[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        let error = decode(&bytes, "bomb.png", Limits::default()).unwrap_err().to_string();
        assert!(error.contains("bomb.png"), "{error}");
    }
}
