//! What the vendored pictures show, and the pictures themselves, decoded once.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::Context;
use image::RgbaImage;
use serde::Deserialize;

use crate::data::image::{Limits, decode};

const CATALOGUE: &[u8] = include_bytes!("../../assets/quickstart/catalogue.json");
const EMOJI: &[u8] = include_bytes!("../../assets/quickstart/emoji.png");
const FLAGS: &[u8] = include_bytes!("../../assets/quickstart/flags.png");
const GARMENTS_TRAIN: &[u8] = include_bytes!("../../assets/quickstart/garments-train.png");
const GARMENTS_TEST: &[u8] = include_bytes!("../../assets/quickstart/garments-test.png");
const SHAPES_TRAIN: &[u8] = include_bytes!("../../assets/quickstart/shapes-train.png");
const SHAPES_TEST: &[u8] = include_bytes!("../../assets/quickstart/shapes-test.png");
const GLYPHS: &[u8] = include_bytes!("../../assets/quickstart/glyphs.png");

/// Every embedded file, with its name: what the content hash covers.
pub const FILES: [(&str, &[u8]); 8] = [
    ("catalogue.json", CATALOGUE),
    ("emoji.png", EMOJI),
    ("flags.png", FLAGS),
    ("garments-train.png", GARMENTS_TRAIN),
    ("garments-test.png", GARMENTS_TEST),
    ("shapes-train.png", SHAPES_TRAIN),
    ("shapes-test.png", SHAPES_TEST),
    ("glyphs.png", GLYPHS),
];

/// A drawn object (an emoji): its name, its group (animal, food, tool, vehicle) and its class within the group.
#[derive(Debug, Clone, Deserialize)]
pub struct Object {
    pub name: String,
    pub group: String,
    pub class: String,
}

/// A genre of books; its emoji stands on the covers.
#[derive(Debug, Clone, Deserialize)]
pub struct Genre {
    pub name: String,
}

/// A flag, its country and that country's continent.
#[derive(Debug, Clone, Deserialize)]
pub struct Flag {
    pub name: String,
    pub continent: String,
}

/// The words and names of the quickstart, `catalogue.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Catalogue {
    pub version: u32,
    pub objects: Vec<Object>,
    pub genres: Vec<Genre>,
    pub flags: Vec<Flag>,
    pub garments: Vec<String>,
    pub shape_colors: Vec<String>,
    pub shape_forms: Vec<String>,
    pub words: Vec<String>,
    pub titles: Vec<String>,
    pub authors: Vec<String>,
    /// How often each kind of caption sample occurs, relative to the others.
    pub caption_weights: BTreeMap<String, usize>,
}

/// Pictures of one size.
pub struct Sheet {
    tiles: Vec<RgbaImage>,
}

impl Sheet {
    fn cut(bytes: &[u8], name: &str, width: u32, height: u32) -> anyhow::Result<Self> {
        let atlas = decode(bytes, name, Limits { max_side: 8192, ..Limits::default() })?.to_rgba8();
        let (columns, rows) = (atlas.width() / width, atlas.height() / height);
        let tile = |i: u32| {
            image::imageops::crop_imm(&atlas, i % columns * width, i / columns * height, width, height)
        };
        Ok(Sheet { tiles: (0..columns * rows).map(|i| tile(i).to_image()).collect() })
    }

    /// Tile `index`, row by row.
    pub fn tile(&self, index: usize) -> &RgbaImage {
        &self.tiles[index]
    }

    /// The number of tiles, blank ones of the last row included.
    pub fn len(&self) -> usize {
        self.tiles.len()
    }

    /// Whether the sheet has no tile.
    pub fn is_empty(&self) -> bool {
        self.tiles.is_empty()
    }
}

/// Which sheet a sprite comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SheetName {
    /// The objects, then the genres; 64x64.
    Emoji,
    /// 64x44.
    Flags,
    /// Fashion-MNIST's train split, tile i of class i % 10; 28x28, white on black.
    GarmentsTrain,
    /// Fashion-MNIST's test split, in the same order.
    GarmentsTest,
    /// easy-vqa's train split, tile i of form (i % 24) / 8 and colour i % 8; 64x64, opaque.
    ShapesTrain,
    /// easy-vqa's test split, in the same order.
    ShapesTest,
}

/// The catalogue and the decoded sheets.
pub struct Assets {
    pub catalogue: Catalogue,
    emoji: Sheet,
    flags: Sheet,
    garments_train: Sheet,
    garments_test: Sheet,
    shapes_train: Sheet,
    shapes_test: Sheet,
    /// Capitals A to Z in three faces, each with the width of its ink.
    glyphs: Sheet,
    glyph_widths: Vec<u32>,
}

impl Assets {
    fn load() -> anyhow::Result<Self> {
        let catalogue: Catalogue =
            serde_json::from_slice(CATALOGUE).context("catalogue.json of the quickstart")?;
        let glyphs = Sheet::cut(GLYPHS, "glyphs.png", 40, 40)?;
        let ink = |tile: &RgbaImage| {
            tile.enumerate_pixels().filter(|(_, _, p)| p.0[0] > 60).map(|(x, _, _)| x + 1).max()
        };
        let glyph_widths = glyphs.tiles.iter().map(|tile| ink(tile).unwrap_or(0)).collect();
        Ok(Assets {
            catalogue,
            emoji: Sheet::cut(EMOJI, "emoji.png", 64, 64)?,
            flags: Sheet::cut(FLAGS, "flags.png", 64, 44)?,
            garments_train: Sheet::cut(GARMENTS_TRAIN, "garments-train.png", 28, 28)?,
            garments_test: Sheet::cut(GARMENTS_TEST, "garments-test.png", 28, 28)?,
            shapes_train: Sheet::cut(SHAPES_TRAIN, "shapes-train.png", 64, 64)?,
            shapes_test: Sheet::cut(SHAPES_TEST, "shapes-test.png", 64, 64)?,
            glyphs,
            glyph_widths,
        })
    }

    /// A sheet by name.
    pub fn sheet(&self, name: SheetName) -> &Sheet {
        match name {
            SheetName::Emoji => &self.emoji,
            SheetName::Flags => &self.flags,
            SheetName::GarmentsTrain => &self.garments_train,
            SheetName::GarmentsTest => &self.garments_test,
            SheetName::ShapesTrain => &self.shapes_train,
            SheetName::ShapesTest => &self.shapes_test,
        }
    }

    /// A capital letter (0 = A) in one of three faces: its coverage in a 40x40 tile and the width of its ink.
    pub fn glyph(&self, face: usize, letter: usize) -> (&RgbaImage, u32) {
        let index = face % 3 * 26 + letter % 26;
        (self.glyphs.tile(index), self.glyph_widths[index])
    }
}

/// The embedded assets, decoded at the first use.
pub fn assets() -> &'static Assets {
    static ASSETS: LazyLock<Assets> =
        LazyLock::new(|| Assets::load().expect("the embedded quickstart files are readable"));
    &ASSETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_hold_what_the_catalogue_names() {
        let assets = assets();
        let catalogue = &assets.catalogue;
        assert_eq!(assets.sheet(SheetName::Emoji).len(), catalogue.objects.len() + catalogue.genres.len());
        assert_eq!(assets.sheet(SheetName::Flags).len(), catalogue.flags.len());
        assert_eq!(assets.sheet(SheetName::GarmentsTrain).len(), 4_000);
        assert_eq!(assets.sheet(SheetName::GarmentsTest).len(), 300);
        assert_eq!(assets.sheet(SheetName::ShapesTrain).len(), 1_296);
        assert_eq!(assets.sheet(SheetName::ShapesTest).len(), 312);
        assert!((0..78).all(|i| assets.glyph_widths[i] >= 6), "{:?}", assets.glyph_widths);
    }

    #[test]
    fn names_are_distinct_words() {
        let c = &assets().catalogue;
        let mut names: Vec<&str> = c.objects.iter().map(|o| o.name.as_str()).collect();
        names.extend(c.genres.iter().map(|g| g.name.as_str()));
        names.extend(c.flags.iter().map(|f| f.name.as_str()));
        for list in [&c.garments, &c.shape_colors, &c.shape_forms, &c.words, &c.titles, &c.authors] {
            names.extend(list.iter().map(String::as_str));
        }
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert!(names.iter().all(|n| n.chars().all(|c| c.is_ascii_alphabetic())));
    }
}
