//! Composes the pictures that the tasks and the captions have in common. A draw decides what does not matter for the
//! answer: colours, sizes, places. Everything shown is large: a tower with 16 patches must be able to read it.

use super::canvas::{Area, Color, Damage, Layer, SIDE, Scene};
use super::catalogue::SheetName;
use crate::stream::random::Draws;

/// A light ground, shaded a little.
fn ground(draws: &mut Draws) -> [Color; 2] {
    let top: Color = std::array::from_fn(|_| 170 + draws.below(80) as u8);
    let shade = draws.below(30) as u8;
    [top, top.map(|v| v - shade)]
}

fn dark(draws: &mut Draws) -> Color {
    let mut color: Color = std::array::from_fn(|_| draws.below(70) as u8);
    color[draws.below(3)] = draws.below(110) as u8;
    color
}

fn scene(draws: &mut Draws, layers: Vec<Layer>) -> Scene {
    Scene { ground: ground(draws), layers, damage: Damage::None }
}

/// A square of this side somewhere on the canvas.
fn anywhere(draws: &mut Draws, side: u32) -> Area {
    let free = (SIDE - side) as usize + 1;
    Area { x: draws.below(free) as i32, y: draws.below(free) as i32, width: side, height: side }
}

fn emoji(tile: usize, area: Area) -> Layer {
    Layer::Sprite { sheet: SheetName::Emoji, tile, area }
}

/// One object, 44 to 60 pixels large.
pub fn object(draws: &mut Draws, tile: usize) -> (Scene, Area) {
    let side = 44 + draws.below(17) as u32;
    let area = anywhere(draws, side);
    (scene(draws, vec![emoji(tile, area)]), area)
}

/// One flag, 50 to 62 pixels wide.
pub fn flag(draws: &mut Draws, tile: usize) -> Scene {
    let width = 50 + draws.below(13) as u32;
    let height = width * 44 / 64;
    let (x, y) = (draws.below((SIDE - width) as usize + 1), draws.below((SIDE - height) as usize + 1));
    let area = Area { x: x as i32, y: y as i32, width, height };
    scene(draws, vec![Layer::Sprite { sheet: SheetName::Flags, tile, area }])
}

/// One garment in one colour, 52 to 60 pixels large.
pub fn garment(draws: &mut Draws, sheet: SheetName, tile: usize) -> Scene {
    let area = {
        let side = 52 + draws.below(9) as u32;
        anywhere(draws, side)
    };
    let mut ink: Color = std::array::from_fn(|_| 100 + draws.below(156) as u8);
    ink[draws.below(3)] = 255;
    let low = dark(draws).map(|v| v / 2);
    Scene {
        ground: [low, low.map(|v| v / 2)],
        layers: vec![Layer::Stencil { sheet, tile, area, ink }],
        damage: Damage::None,
    }
}

/// An easy-vqa picture, as it is.
pub fn shape(sheet: SheetName, tile: usize) -> Scene {
    let area = Area { x: 0, y: 0, width: SIDE, height: SIDE };
    Scene { ground: [[255; 3]; 2], layers: vec![Layer::Sprite { sheet, tile, area }], damage: Damage::None }
}

/// A word on a panel as wide as the picture.
pub fn sign(draws: &mut Draws, text: &str) -> Scene {
    let height = 15 + draws.below(5) as u32;
    let y = 4 + draws.below(SIDE as usize - height as usize - 7) as i32;
    let panel = Area { x: 0, y: y - 3, width: SIDE, height: height + 6 };
    let area = Area { x: 2, y, width: SIDE - 4, height };
    let face = draws.below(3);
    let (ink, paper) = if draws.below(2) == 0 { (dark(draws), [250; 3]) } else { ([255; 3], dark(draws)) };
    let mut picture = scene(
        draws,
        vec![
            Layer::Rectangle { area: panel, color: paper },
            Layer::Word { text: text.into(), face, area, color: ink },
        ],
    );
    picture.ground = picture.ground.map(|color| color.map(|v| v - 40));
    picture
}

/// A book cover: the title on top, the genre's emoji in the middle, the author at the bottom.
pub fn cover(draws: &mut Draws, title: &str, genre: usize, author: &str) -> Scene {
    let paper: Color = std::array::from_fn(|_| 150 + draws.below(100) as u8);
    let faces = [draws.below(3), draws.below(3)];
    let side = 26 + draws.below(5) as u32;
    let icon = Area { x: 8 + draws.below(14) as i32, y: 17, width: side, height: side };
    let line = |y: usize, height: u32| Area { x: 2, y: y as i32, width: SIDE - 4, height };
    let colors = [dark(draws), dark(draws)];
    let layers = vec![
        emoji(genre, icon),
        Layer::Word {
            text: title.into(),
            face: faces[0],
            area: line(1 + draws.below(3), 13),
            color: colors[0],
        },
        Layer::Word {
            text: author.into(),
            face: faces[1],
            area: line(49 + draws.below(3), 12),
            color: colors[1],
        },
    ];
    Scene { ground: [paper, paper.map(|v| v - 30)], layers, damage: Damage::None }
}

/// Two objects of 28 to 32 pixels: the first on the left or, where `upright`, on top. Also their areas.
pub fn pair(draws: &mut Draws, first: usize, second: usize, upright: bool) -> (Scene, [Area; 2]) {
    let mut place = |far: bool| {
        let side = 28 + draws.below(5) as u32;
        let along = draws.below((33 - side) as usize) as i32 + if far { 32 } else { 0 };
        let across = draws.below((SIDE - side) as usize + 1) as i32;
        let (x, y) = if upright { (across, along) } else { (along, across) };
        Area { x, y, width: side, height: side }
    };
    let areas = [place(false), place(true)];
    (scene(draws, vec![emoji(first, areas[0]), emoji(second, areas[1])]), areas)
}

/// The edges of a placed object in tenths of the picture: x1, y1, x2, y2.
pub type Tenths = [u32; 4];

/// Objects of four or five tenths, each in its own quadrant (0 to 3, row by row), with its edges on a grid of tenths.
pub fn placed(draws: &mut Draws, objects: &[(usize, usize)]) -> (Scene, Vec<Tenths>) {
    let mut layers = Vec::new();
    let mut boxes = Vec::new();
    for &(tile, quadrant) in objects {
        let side = 4 + draws.below(2) as u32;
        let mut start = |far: bool| match (far, side) {
            (false, 4) => draws.below(2) as u32,
            (false, _) => 0,
            (true, 4) => 5 + draws.below(2) as u32,
            (true, _) => 5,
        };
        let (x, y) = (start(quadrant % 2 == 1), start(quadrant / 2 == 1));
        let edges = [x, y, x + side, y + side];
        layers.push(emoji(tile, pixels(edges)));
        boxes.push(edges);
    }
    (scene(draws, layers), boxes)
}

/// The pixels of a box in tenths.
pub fn pixels([x1, y1, x2, y2]: Tenths) -> Area {
    let at = |tenths: u32| (tenths * SIDE + 5) / 10;
    Area { x: at(x1) as i32, y: at(y1) as i32, width: at(x2) - at(x1), height: at(y2) - at(y1) }
}

/// One to four copies of an object, each in its own quadrant.
pub fn tally(draws: &mut Draws, tile: usize, count: usize) -> Scene {
    let mut quadrants = [0, 1, 2, 3];
    draws.shuffle(&mut quadrants);
    let objects: Vec<(usize, usize)> = quadrants[..count].iter().map(|&q| (tile, q)).collect();
    placed(draws, &objects).0
}

/// The three ways in which a photograph fails, by turns of `kind`: blurred, dark, bright; and the word for it.
pub fn damage(draws: &mut Draws, kind: usize) -> (Damage, &'static str) {
    match kind % 3 {
        0 => (Damage::Blur(7 + draws.below(4) as u32), "blurred"),
        1 => (Damage::Dark(0.04 + 0.08 * draws.uniform() as f32), "dark"),
        _ => (Damage::Glare(0.90 + 0.06 * draws.uniform() as f32), "bright"),
    }
}
