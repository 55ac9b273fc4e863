//! Draws a scene: sprites, words and boxes on a plain or shaded ground, then the damage done to the whole picture.
//! Plain scalar arithmetic, so that a picture has the same bytes on every machine.

use image::{Rgb, RgbImage, RgbaImage};

use super::catalogue::{Assets, SheetName};

/// Side of every quickstart picture, in pixels.
pub const SIDE: u32 = 64;

/// A colour, red, green, blue.
pub type Color = [u8; 3];

/// A place on the canvas in pixels: left, top, width, height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    pub x: i32,
    pub y: i32,
    pub width: u32,
    pub height: u32,
}

/// One thing drawn, over those before it.
#[derive(Debug, Clone, PartialEq)]
pub enum Layer {
    /// A tile scaled to the area.
    Sprite { sheet: SheetName, tile: usize, area: Area },
    /// A white-on-black tile: its brightness becomes opacity of `ink`.
    Stencil { sheet: SheetName, tile: usize, area: Area, ink: Color },
    /// A filled rectangle.
    Rectangle { area: Area, color: Color },
    /// A word in capitals, as high as the area allows, narrowed to fit its width, centred in it.
    Word { text: String, face: usize, area: Area, color: Color },
}

/// What happened to the whole picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Damage {
    None,
    /// Repeated box blur of this radius in pixels.
    Blur(u32),
    /// Brightness multiplied by this.
    Dark(f32),
    /// Mixed with white by this share.
    Glare(f32),
}

/// A picture as a description; equal scenes have equal pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// Colours at the top and at the bottom, shaded between.
    pub ground: [Color; 2],
    pub layers: Vec<Layer>,
    pub damage: Damage,
}

/// Draws a scene, 64x64.
pub fn draw(assets: &Assets, scene: &Scene) -> RgbImage {
    let [top, bottom] = scene.ground;
    let mut canvas = RgbImage::from_fn(SIDE, SIDE, |_, y| {
        Rgb(std::array::from_fn(|c| {
            ((u32::from(top[c]) * (SIDE - 1 - y) + u32::from(bottom[c]) * y + SIDE / 2) / (SIDE - 1)).min(255)
                as u8
        }))
    });
    for layer in &scene.layers {
        match layer {
            Layer::Sprite { sheet, tile, area } => {
                let source = assets.sheet(*sheet).tile(*tile);
                paste(&mut canvas, &scale(source, area.width, area.height), area.x, area.y);
            }
            Layer::Stencil { sheet, tile, area, ink } => {
                let source = stencil(assets.sheet(*sheet).tile(*tile), *ink);
                paste(&mut canvas, &scale(&source, area.width, area.height), area.x, area.y);
            }
            Layer::Rectangle { area, color } => rectangle(&mut canvas, *area, *color),
            Layer::Word { text, face, area, color } => word(assets, &mut canvas, text, *face, *area, *color),
        }
    }
    match scene.damage {
        Damage::None => {}
        Damage::Blur(radius) => (0..3).for_each(|_| canvas = box_blur(&canvas, radius)),
        Damage::Dark(factor) => canvas.iter_mut().for_each(|v| *v = (f32::from(*v) * factor) as u8),
        Damage::Glare(share) => {
            canvas.iter_mut().for_each(|v| *v = (f32::from(*v) * (1.0 - share) + 255.0 * share) as u8)
        }
    }
    canvas
}

fn stencil(tile: &RgbaImage, ink: Color) -> RgbaImage {
    let mut out = tile.clone();
    for pixel in out.pixels_mut() {
        let light = f32::from(pixel.0[0]) / 255.0;
        let shade = 0.35 + 0.65 * light;
        let alpha = (light * 6.0).min(1.0);
        pixel.0 = [
            (f32::from(ink[0]) * shade) as u8,
            (f32::from(ink[1]) * shade) as u8,
            (f32::from(ink[2]) * shade) as u8,
            (alpha * 255.0) as u8,
        ];
    }
    out
}

/// For each output position: the first source position and the weights, a triangle filter as wide as the reduction (antialiased).
fn taps(source: u32, target: u32) -> Vec<(usize, Vec<f32>)> {
    let ratio = source as f32 / target as f32;
    let reach = ratio.max(1.0);
    (0..target)
        .map(|i| {
            let centre = (i as f32 + 0.5) * ratio;
            let first = (centre - reach).floor().max(0.0) as usize;
            let last = ((centre + reach).ceil() as usize).min(source as usize);
            let weight = |s: usize| (1.0 - ((s as f32 + 0.5 - centre) / reach).abs()).max(0.0);
            let weights: Vec<f32> = (first..last).map(weight).collect();
            let sum: f32 = weights.iter().sum();
            (first, weights.iter().map(|w| w / sum).collect())
        })
        .collect()
}

/// Scales with premultiplied alpha; the result stays premultiplied, as rows of `[r, g, b, a]` in 0..255.
fn scale(tile: &RgbaImage, width: u32, height: u32) -> (u32, u32, Vec<[f32; 4]>) {
    let (source_width, source_height) = tile.dimensions();
    let premultiplied: Vec<[f32; 4]> = tile
        .pixels()
        .map(|p| {
            let alpha = f32::from(p.0[3]) / 255.0;
            [
                f32::from(p.0[0]) * alpha,
                f32::from(p.0[1]) * alpha,
                f32::from(p.0[2]) * alpha,
                f32::from(p.0[3]),
            ]
        })
        .collect();
    if (source_width, source_height) == (width, height) {
        return (width, height, premultiplied);
    }
    let sum = |values: &mut dyn Iterator<Item = [f32; 4]>, weights: &[f32]| {
        let mut total = [0.0f32; 4];
        for (value, weight) in values.zip(weights) {
            for c in 0..4 {
                total[c] += value[c] * weight;
            }
        }
        total
    };
    let horizontal = taps(source_width, width);
    let mut middle = Vec::with_capacity((width * source_height) as usize);
    for row in premultiplied.chunks_exact(source_width as usize) {
        for (first, weights) in &horizontal {
            middle.push(sum(&mut row[*first..].iter().copied(), weights));
        }
    }
    let mut out = Vec::with_capacity((width * height) as usize);
    for (first, weights) in &taps(source_height, height) {
        for x in 0..width as usize {
            let column = middle[first * width as usize + x..].iter().step_by(width as usize).copied();
            out.push(sum(&mut { column }, weights));
        }
    }
    (width, height, out)
}

fn paste(canvas: &mut RgbImage, (width, height, pixels): &(u32, u32, Vec<[f32; 4]>), left: i32, top: i32) {
    for y in 0..*height as i32 {
        for x in 0..*width as i32 {
            let (cx, cy) = (left + x, top + y);
            if cx < 0 || cy < 0 || cx >= SIDE as i32 || cy >= SIDE as i32 {
                continue;
            }
            let [r, g, b, alpha] = pixels[(y * *width as i32 + x) as usize];
            let below = canvas.get_pixel_mut(cx as u32, cy as u32);
            let keep = 1.0 - alpha / 255.0;
            for (value, over) in below.0.iter_mut().zip([r, g, b]) {
                *value = (f32::from(*value) * keep + over + 0.5).clamp(0.0, 255.0) as u8;
            }
        }
    }
}

fn rectangle(canvas: &mut RgbImage, area: Area, color: Color) {
    for y in area.y.max(0)..(area.y + area.height as i32).min(SIDE as i32) {
        for x in area.x.max(0)..(area.x + area.width as i32).min(SIDE as i32) {
            canvas.put_pixel(x as u32, y as u32, Rgb(color));
        }
    }
}

/// Height of the capitals in a glyph tile, in tile pixels, and the first row of their ink.
const CAPITAL: (u32, u32) = (25, 1);

fn word(assets: &Assets, canvas: &mut RgbImage, text: &str, face: usize, area: Area, color: Color) {
    let letters: Vec<usize> = text
        .bytes()
        .filter(u8::is_ascii_alphabetic)
        .map(|b| (b.to_ascii_uppercase() - b'A') as usize)
        .collect();
    let gap = 3;
    let natural: u32 = letters.iter().map(|&l| assets.glyph(face, l).1 + gap).sum::<u32>().max(gap + 1) - gap;
    // Never stretched: a short word is as high as the area and keeps its proportions.
    let width = area.width.min(natural * area.height / CAPITAL.0 * 5 / 4).max(1);
    let mut strip = RgbaImage::new(natural, CAPITAL.0);
    let mut left = 0;
    for &letter in &letters {
        let (tile, ink) = assets.glyph(face, letter);
        for y in 0..CAPITAL.0 {
            for x in 0..ink.min(natural.saturating_sub(left)) {
                let cover = tile.get_pixel(x, (y + CAPITAL.1).min(39)).0[0];
                strip.put_pixel(left + x, y, image::Rgba([color[0], color[1], color[2], cover]));
            }
        }
        left += ink + gap;
    }
    let x = area.x + (area.width - width) as i32 / 2;
    paste(canvas, &scale(&strip, width, area.height), x, area.y);
}

fn box_blur(canvas: &RgbImage, radius: u32) -> RgbImage {
    let radius = radius as i32;
    let pass = |source: &RgbImage, dx: i32, dy: i32| {
        RgbImage::from_fn(SIDE, SIDE, |x, y| {
            let mut sum = [0u32; 3];
            for step in -radius..=radius {
                let cx = (x as i32 + dx * step).clamp(0, SIDE as i32 - 1) as u32;
                let cy = (y as i32 + dy * step).clamp(0, SIDE as i32 - 1) as u32;
                let pixel = source.get_pixel(cx, cy).0;
                (0..3).for_each(|c| sum[c] += u32::from(pixel[c]));
            }
            Rgb(sum.map(|s| (s / (2 * radius as u32 + 1)) as u8))
        })
    };
    pass(&pass(canvas, 1, 0), 0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quickstart::catalogue::assets;

    fn plain(layers: Vec<Layer>) -> Scene {
        Scene { ground: [[200, 210, 220]; 2], layers, damage: Damage::None }
    }

    #[test]
    fn an_opaque_rectangle_covers_its_area_and_nothing_else() {
        let area = Area { x: 10, y: 20, width: 5, height: 6 };
        let picture = draw(assets(), &plain(vec![Layer::Rectangle { area, color: [1, 2, 3] }]));
        let inked = picture.pixels().filter(|p| p.0 == [1, 2, 3]).count();
        assert_eq!(inked, 30);
        assert_eq!(picture.get_pixel(10, 20).0, [1, 2, 3]);
        assert_eq!(picture.get_pixel(15, 20).0, [200, 210, 220]);
    }

    #[test]
    fn weights_of_every_output_position_sum_to_one() {
        for (source, target) in [(64, 26), (28, 56), (40, 40), (25, 7)] {
            for (first, weights) in taps(source, target) {
                assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                assert!(first + weights.len() <= source as usize);
            }
        }
    }

    #[test]
    fn words_differ_from_each_other_and_stay_in_their_area() {
        let area = Area { x: 4, y: 24, width: 56, height: 14 };
        let layer = |text: &str| Layer::Word { text: text.into(), face: 0, area, color: [0, 0, 0] };
        let (stop, open) =
            (draw(assets(), &plain(vec![layer("stop")])), draw(assets(), &plain(vec![layer("open")])));
        assert_ne!(stop, open);
        for (x, y, pixel) in stop.enumerate_pixels() {
            let inside = (4..60).contains(&x) && (24..38).contains(&y);
            assert!(inside || pixel.0 == [200, 210, 220], "ink at {x}, {y}");
        }
    }

    #[test]
    fn blur_and_darkness_remove_contrast() {
        let area = Area { x: 8, y: 8, width: 48, height: 48 };
        let sprite = Layer::Sprite { sheet: SheetName::Emoji, tile: 0, area };
        let spread = |damage| {
            let picture = draw(assets(), &Scene { damage, ..plain(vec![sprite.clone()]) });
            let mut steps = 0i64;
            for (x, y, pixel) in picture.enumerate_pixels() {
                if x > 0 {
                    steps += (i64::from(pixel.0[1]) - i64::from(picture.get_pixel(x - 1, y).0[1])).abs();
                }
            }
            steps
        };
        let clear = spread(Damage::None);
        assert!(spread(Damage::Blur(6)) * 3 < clear);
        assert!(spread(Damage::Dark(0.08)) * 5 < clear);
        assert!(spread(Damage::Glare(0.93)) * 5 < clear);
    }
}
