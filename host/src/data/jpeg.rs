//! JPEG, decoded by the library that Pillow uses, or its descendant: the same numbers to the last bit, where other decoders are some
//! levels off.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow, ensure};
use image::RgbImage;
use mozjpeg::{ColorSpace, Decompress};

/// A picture in colour or in shades of grey; none of one made for print, which this library does not turn into colours of a screen.
///
/// # Errors
/// Damaged data, or a picture of another size than these many pixels.
pub(super) fn decode(bytes: &[u8], (width, height): (u32, u32)) -> Result<Option<RgbImage>> {
    let decoded = || -> Result<Option<RgbImage>> {
        let picture = Decompress::new_mem(bytes)?;
        if matches!(picture.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK) {
            return Ok(None);
        }
        ensure!(picture.size() == (width as usize, height as usize), "its headers contradict each other");
        let mut picture = picture.rgb()?;
        let pixels = picture.read_scanlines()?;
        picture.finish()?;
        Ok(RgbImage::from_raw(width, height, pixels))
    };
    // The library reports an error by unwinding; there is nothing that could be left half-changed.
    catch_unwind(AssertUnwindSafe(decoded)).unwrap_or_else(|payload| {
        let told = payload.downcast_ref::<String>().map_or("damaged data", String::as_str);
        Err(anyhow!("{}", told.trim_start_matches("libjpeg fatal error: ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That these are Pillow's pixels shows in the logits of `tests/fixtures/llava`, made with them.
    const PICTURE: &[u8] = include_bytes!("../../../tests/fixtures/llava/images/61x33.jpg");

    #[test]
    fn damaged_data_is_an_error() {
        assert_eq!(decode(PICTURE, (61, 33)).unwrap().expect("colours").dimensions(), (61, 33));
        assert!(decode(PICTURE, (61, 32)).unwrap_err().to_string().contains("contradict"));
        for end in [0, 1, 2, 10, 100] {
            assert!(decode(&PICTURE[..end], (61, 33)).is_err(), "{end}");
        }
        let mut tables = PICTURE.to_vec();
        let place = tables.windows(2).position(|pair| pair == [0xff, 0xc4]).expect("a Huffman table");
        tables[place + 4] = 77;
        assert_eq!(decode(&tables, (61, 33)).unwrap_err().to_string(), "Bogus DHT index 77");
    }
}
