//! Writes what is derived from the quickstart's vendored files: `cargo run --release -p coin-host --example quickstart_files`
//! rewrites `host/assets/tiny/tokenizer.json`; with a folder as argument also contact sheets of tasks and captions into it.

use std::path::{Path, PathBuf};

use coin_host::quickstart::canvas::draw;
use coin_host::quickstart::catalogue::assets;
use coin_host::quickstart::tasks::{Split, TASKS, pictures};
use coin_host::quickstart::{captions, vocabulary};
use image::imageops::{FilterType, replace, resize};
use image::{RgbImage, imageops};

fn main() -> anyhow::Result<()> {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny");
    std::fs::write(tiny.join("tokenizer.json"), vocabulary::tokenizer_json()?)?;
    let Some(folder) = std::env::args().nth(1).map(PathBuf::from) else { return Ok(()) };
    let mut sheet = RgbImage::new(12 * 132, 8 * 132);
    for task in 0..TASKS.len() {
        for (column, picture) in pictures(task, Split::Test).iter().take(12).enumerate() {
            let tile = resize(&draw(assets(), &picture.scene), 128, 128, FilterType::Nearest);
            replace(&mut sheet, &tile, column as i64 * 132, task as i64 * 132);
        }
    }
    sheet.save(folder.join("tasks.png"))?;
    let mut sheet = RgbImage::new(12 * 132, 8 * 132);
    let mut listing = String::new();
    for index in 0..96u32 {
        let sample = captions::sample(u64::from(index));
        let tile = imageops::resize(&sample.picture, 128, 128, FilterType::Nearest);
        replace(&mut sheet, &tile, i64::from(index % 12) * 132, i64::from(index / 12) * 132);
        listing += &format!("{index}: `{}` -> `{}` {:?}\n", sample.prompt, sample.answer, sample.labels);
    }
    sheet.save(folder.join("captions.png"))?;
    std::fs::write(folder.join("captions.txt"), listing)?;
    Ok(())
}
