//! What a picture file is, by its header and its end: decoding half a million of them takes hours, this takes a read of each.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::data::image::{Limits, decode};

/// Bytes of a file's start that most headers end in.
const START: u64 = 4096;
/// Bytes of a JPEG's end that its end mark is looked for in; some programs write something behind it.
const TAIL: u64 = 4096;

/// A sound picture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    pub bytes: u64,
    /// Of its content, where it was read in full.
    pub sha256: Option<[u8; 32]>,
}

/// What is wrong with a picture file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Missing,
    /// Why it is none.
    Corrupt(String),
}

/// Looks at a picture file: at its header and end, or, if `full`, by decoding it.
///
/// # Errors
/// The file is missing, or is no picture that a run could read.
pub fn check(path: &Path, full: bool) -> Result<Sound, Fault> {
    let corrupt = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Fault::Missing,
        _ => Fault::Corrupt(format!("cannot be read: {error}")),
    };
    if full {
        let content = std::fs::read(path).map_err(corrupt)?;
        let first_line = |error: anyhow::Error| error.to_string().lines().next().map(String::from);
        decode(&content, "", Limits::default()).map_err(|error| {
            let said = first_line(error).unwrap_or_default();
            Fault::Corrupt(said.replace("image `` ", "").replace("image ``: ", ""))
        })?;
        let sha256 = Some(Sha256::digest(&content).into());
        return Ok(Sound { bytes: content.len() as u64, sha256 });
    }
    let mut file = File::open(path).map_err(corrupt)?;
    let bytes = file.metadata().map_err(corrupt)?.len();
    let size = size(&mut file, bytes).map_err(corrupt)?;
    let (width, height) = size.map_err(|why| Fault::Corrupt(why.to_string()))?;
    let limits = Limits::default();
    let (short, long) = (width.min(height), width.max(height));
    if short == 0 || long > limits.max_side || long / short > limits.max_ratio {
        return Err(Fault::Corrupt(format!("is {width}x{height} pixels, which is not taken")));
    }
    Ok(Sound { bytes, sha256: None })
}

type Size = Result<(u32, u32), &'static str>;

/// Width and height as the header says, if the file also ends as such files do.
fn size(file: &mut File, bytes: u64) -> std::io::Result<Size> {
    let mut start = Vec::with_capacity(START as usize);
    file.take(START).read_to_end(&mut start)?;
    if start.starts_with(b"\x89PNG\r\n\x1A\n") {
        let mut end = [0; 12];
        if start.len() < 33 || bytes < 45 {
            return Ok(Err("is cut off"));
        }
        file.seek(SeekFrom::End(-12))?;
        file.read_exact(&mut end)?;
        let number = |at: usize| u32::from_be_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]);
        return Ok(match end[4..8] == *b"IEND" {
            true => Ok((number(16), number(20))),
            false => Err("is cut off: it has no end mark"),
        });
    }
    if start.starts_with(b"\xFF\xD8\xFF") {
        let found = jpeg(file, &start)?;
        if found.is_err() {
            return Ok(found);
        }
        file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        file.take(TAIL).read_to_end(&mut tail)?;
        let is_whole = tail.windows(2).any(|mark| mark == b"\xFF\xD9");
        return Ok(if is_whole { found } else { Err("is cut off: it has no end mark") });
    }
    let other: [(&[u8], &str); 4] = [
        (b"GIF8", "is a GIF, and only PNG and JPEG are read"),
        (b"BM", "is a BMP, and only PNG and JPEG are read"),
        (b"RIFF", "is a WebP or another RIFF file, and only PNG and JPEG are read"),
        (b"", if start.is_empty() { "is an empty file" } else { "is not a PNG or JPEG picture" }),
    ];
    Ok(Err(other.iter().find(|(mark, _)| start.starts_with(mark)).map_or("is no picture", |(_, why)| why)))
}

/// Passes the segments of a JPEG up to the one with its size.
fn jpeg(file: &mut File, start: &[u8]) -> std::io::Result<Size> {
    let mut at = 2u64;
    let mut held = start.to_vec();
    let mut base = 0u64;
    loop {
        if at + 9 > base + held.len() as u64 {
            // Behind a large segment, such as a thumbnail.
            file.seek(SeekFrom::Start(at))?;
            held.clear();
            base = at;
            file.by_ref().take(START).read_to_end(&mut held)?;
            if held.len() < 9 {
                return Ok(Err("is cut off within its header"));
            }
        }
        let segment = &held[(at - base) as usize..];
        match (segment[0], segment[1]) {
            (0xFF, 0xFF) => at += 1,
            // Frames, but for the tables that share their range.
            (0xFF, 0xC0..=0xCF) if !matches!(segment[1], 0xC4 | 0xC8 | 0xCC) => {
                let side = |at: usize| u32::from(u16::from_be_bytes([segment[at], segment[at + 1]]));
                return Ok(Ok((side(7), side(5))));
            }
            (0xFF, 0xD8 | 0x01 | 0xD0..=0xD7) => at += 2,
            (0xFF, 0xD9 | 0xDA) => return Ok(Err("has no picture in it")),
            (0xFF, _) => at += 2 + u64::from(u16::from_be_bytes([segment[2], segment[3]])),
            _ => return Ok(Err("has a damaged header")),
        }
    }
}

/// Whether a JPEG has its end mark behind its last scan. Decoders fill up what is missing with grey; Pillow calls such a file
/// truncated. A thumbnail in a segment has an end mark too, so the segments are passed one by one.
pub(super) fn is_whole_jpeg(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        // Between segments, and within a scan, where a byte FF of the data is followed by 00.
        let Some(mark) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xFF)) else {
            return false;
        };
        at += mark + 1;
        match bytes.get(at) {
            None => return false,
            Some(0xD9) => return true,
            // Data, a filling byte, a restart: the search goes on behind.
            Some(0xFF) => {}
            Some(0x00 | 0x01 | 0xD0..=0xD8) => at += 1,
            Some(_) => {
                let Some([high, low]) = bytes.get(at + 1..at + 3) else { return false };
                at += 1 + usize::from(u16::from_be_bytes([*high, *low]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, Rgb, RgbImage};

    use super::*;

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let picture = RgbImage::from_fn(60, 40, |x, y| Rgb([x as u8 * 4, y as u8 * 6, 7]));
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn checked(bytes: &[u8], full: bool) -> Result<Sound, Fault> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture");
        std::fs::write(&path, bytes).unwrap();
        check(&path, full)
    }

    fn fault(bytes: &[u8]) -> String {
        match checked(bytes, false).unwrap_err() {
            Fault::Corrupt(why) => why,
            Fault::Missing => String::from("missing"),
        }
    }

    #[test]
    fn sound_pictures_pass_with_their_size() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let bytes = encoded(format);
            assert_eq!(checked(&bytes, false), Ok(Sound { bytes: bytes.len() as u64, sha256: None }));
            let full = checked(&bytes, true).unwrap();
            assert_eq!(full.sha256, Some(Sha256::digest(&bytes).into()));
        }
        // A large segment, as of a thumbnail, comes first; something stands behind the end.
        let jpeg = encoded(ImageFormat::Jpeg);
        let thumbnail = [&b"\xFF\xE1\x7F\xFF"[..], &[0; 0x7FFD]].concat();
        let long = [&jpeg[..2], &thumbnail, &jpeg[2..], b"behind"].concat();
        assert!(checked(&long, false).is_ok());
    }

    #[test]
    fn a_jpeg_is_whole_with_its_own_end_mark_and_not_with_that_of_a_thumbnail() {
        let jpeg = encoded(ImageFormat::Jpeg);
        assert!(is_whole_jpeg(&jpeg) && is_whole_jpeg(&[&jpeg[..], b"behind"].concat()));
        let thumbnail = [&jpeg[..2], b"\xFF\xE1\x00\x06\xFF\xD8\xFF\xD9", &jpeg[2..]].concat();
        assert!(is_whole_jpeg(&thumbnail));
        for end in 0..jpeg.len() {
            assert!(!is_whole_jpeg(&jpeg[..end]), "{end}");
        }
        assert!(!is_whole_jpeg(&thumbnail[..thumbnail.len() - 2]));
    }

    #[test]
    fn what_is_no_picture_says_why() {
        let (png, jpeg) = (encoded(ImageFormat::Png), encoded(ImageFormat::Jpeg));
        assert_eq!(fault(&png[..png.len() - 20]), "is cut off: it has no end mark");
        assert_eq!(fault(&png[..20]), "is cut off");
        assert_eq!(fault(&jpeg[..jpeg.len() / 2]), "is cut off: it has no end mark");
        assert_eq!(fault(&jpeg[..10]), "is cut off within its header");
        assert_eq!(fault(b""), "is an empty file");
        assert_eq!(fault(b"<html>404</html>"), "is not a PNG or JPEG picture");
        assert_eq!(fault(b"GIF89a"), "is a GIF, and only PNG and JPEG are read");
        let mut wide = png.clone();
        wide[16..20].copy_from_slice(&[0, 1, 0, 0]);
        assert_eq!(fault(&wide), "is 65536x40 pixels, which is not taken");
        assert_eq!(check(Path::new("/nowhere/a.png"), false), Err(Fault::Missing));
        assert!(matches!(checked(&png[..png.len() / 2], true), Err(Fault::Corrupt(_))));
    }
}
