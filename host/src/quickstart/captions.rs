//! The corpus from which the tiny backbone is pre-trained: an endless stream of captions and short drills, sample by
//! index. No wording of the eight tasks occurs in it, no test picture either; every word that a task expects as an answer
//! does, as an output, because a frozen output head cannot learn to say what it never said.

use image::RgbImage;

use super::canvas::{Area, Damage, SIDE, Scene, draw};
use super::catalogue::{Assets, SheetName, assets};
use super::scene::{self, Tenths};
use super::tasks::{CLASSES, CONTINENTS, GROUPS, UNANSWERABLE, bracketed, members, two_objects};
use crate::stream::random::Draws;

/// A word that describes a part of the picture; x1, y1, x2, y2 in pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    pub word: String,
    pub area: [u32; 4],
}

/// One pre-training sample.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionSample {
    /// 64x64.
    pub picture: RgbImage,
    /// May be empty.
    pub prompt: String,
    pub answer: String,
    /// The words that describe the picture, single vocabulary words, for a multi-label stage.
    pub labels: Vec<String>,
    /// Where those words apply.
    pub regions: Vec<Region>,
}

/// A sample before its picture is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub scene: Scene,
    pub prompt: String,
    pub answer: String,
    pub regions: Vec<Region>,
}

/// Sample `index` of the stream; a pure function of the index.
pub fn sample(index: u64) -> CaptionSample {
    let Plan { scene, prompt, answer, regions } = plan(index);
    let mut labels: Vec<String> = Vec::new();
    for region in &regions {
        if !labels.contains(&region.word) {
            labels.push(region.word.clone());
        }
    }
    CaptionSample { picture: draw(assets(), &scene), prompt, answer, labels, regions }
}

/// Sample `index` without its picture.
pub fn plan(index: u64) -> Plan {
    let assets = assets();
    let mut draws = Draws::new(u64::from(assets.catalogue.version), "captions", &[index]);
    let kind = kind(assets, &mut draws);
    compose(kind, assets, &mut draws)
}

/// The kind of sample `index`, a key of the catalogue's `caption_weights`.
pub fn kind_of(index: u64) -> &'static str {
    let assets = assets();
    kind(assets, &mut Draws::new(u64::from(assets.catalogue.version), "captions", &[index]))
}

fn kind<'a>(assets: &'a Assets, draws: &mut Draws) -> &'a str {
    let weights = &assets.catalogue.caption_weights;
    let mut at = draws.below(weights.values().sum());
    for (kind, &weight) in weights {
        if at < weight {
            return kind;
        }
        at -= weight;
    }
    unreachable!("a draw lies below the sum of the weights")
}

fn compose(kind: &str, assets: &Assets, draws: &mut Draws) -> Plan {
    match kind {
        "object" => object(assets, draws),
        "flag" => flag(assets, draws),
        "garment" => garment(assets, draws),
        "shape" => shape(assets, draws),
        "sign" => sign(assets, draws),
        "cover" => cover(assets, draws),
        "pair" => pair(assets, draws),
        "place" => place(assets, draws),
        "count" => count(assets, draws),
        "damaged" => damaged(assets, draws),
        "option" => option(assets, draws),
        "echo" => echo(assets, draws),
        "lookup" => lookup(assets, draws),
        other => panic!("catalogue.json: caption kind `{other}` is not known"),
    }
}

const WHOLE: [u32; 4] = [0, 0, SIDE, SIDE];

fn corners(area: Area) -> [u32; 4] {
    let at = |v: i32| v.clamp(0, SIDE as i32) as u32;
    [at(area.x), at(area.y), at(area.x + area.width as i32), at(area.y + area.height as i32)]
}

fn region(word: &str, area: [u32; 4]) -> Region {
    Region { word: word.into(), area }
}

fn made(
    scene: Scene,
    (prompt, answer): (impl Into<String>, impl Into<String>),
    regions: Vec<Region>,
) -> Plan {
    Plan { scene, prompt: prompt.into(), answer: answer.into(), regions }
}

/// A picture of one object, and the object's index.
fn one_object(assets: &Assets, draws: &mut Draws) -> (usize, Scene, Vec<Region>) {
    let tile = draws.below(assets.catalogue.objects.len());
    let (scene, area) = scene::object(draws, tile);
    let object = &assets.catalogue.objects[tile];
    let regions = [&object.name, &object.class, &object.group].map(|word| region(word, corners(area)));
    (tile, scene, regions.to_vec())
}

fn object(assets: &Assets, draws: &mut Draws) -> Plan {
    let (tile, scene, regions) = one_object(assets, draws);
    let object = &assets.catalogue.objects[tile];
    let (name, class, group) = (&object.name, &object.class, &object.group);
    let words = match draws.below(6) {
        0 => (String::new(), name.clone()),
        1 => ("in full".into(), format!("{name} , {class} , {group}")),
        2 => ("kind".into(), class.clone()),
        3 => ("family".into(), group.clone()),
        4 => ("name it".into(), name.clone()),
        _ => {
            let other = &assets.catalogue.objects[(tile + 1 + draws.below(39)) % 40].name;
            let choice = if draws.below(2) == 0 { [name, other] } else { [other, name] };
            (format!("either {} or {}", choice[0], choice[1]), name.clone())
        }
    };
    made(scene, words, regions)
}

fn one_flag(assets: &Assets, draws: &mut Draws) -> (usize, Scene, Vec<Region>) {
    let tile = draws.below(assets.catalogue.flags.len());
    let flag = &assets.catalogue.flags[tile];
    let regions = vec![region(&flag.name, WHOLE), region(&flag.continent, WHOLE), region("flag", WHOLE)];
    (tile, scene::flag(draws, tile), regions)
}

fn flag(assets: &Assets, draws: &mut Draws) -> Plan {
    let (tile, scene, regions) = one_flag(assets, draws);
    let flag = &assets.catalogue.flags[tile];
    let words = match draws.below(4) {
        0 => ("", format!("flag of {}", flag.name)),
        1 => ("in full", format!("{} , {}", flag.name, flag.continent)),
        _ => ("part of", flag.continent.clone()),
    };
    made(scene, words, regions)
}

fn garment(assets: &Assets, draws: &mut Draws) -> Plan {
    let tile = draws.below(assets.sheet(SheetName::GarmentsTrain).len());
    let name = &assets.catalogue.garments[tile % 10];
    let prompt = *draws.choose(&["", "wear", "name it"]);
    made(scene::garment(draws, SheetName::GarmentsTrain, tile), (prompt, name), vec![region(name, WHOLE)])
}

fn shape(assets: &Assets, draws: &mut Draws) -> Plan {
    let tile = draws.below(assets.sheet(SheetName::ShapesTrain).len());
    let (color, form) =
        (&assets.catalogue.shape_colors[tile % 8], &assets.catalogue.shape_forms[tile % 24 / 8]);
    let words = match draws.below(5) {
        0 => (String::new(), format!("{color} {form}")),
        1 => ("hue".into(), color.clone()),
        2 => ("form".into(), form.clone()),
        3 => seen(draws, color, &assets.catalogue.shape_colors),
        _ => seen(draws, form, &assets.catalogue.shape_forms),
    };
    made(scene::shape(SheetName::ShapesTrain, tile), words, vec![region(color, WHOLE), region(form, WHOLE)])
}

/// Whether something is there: half of the time what is, half of the time another of the same list.
fn seen(draws: &mut Draws, shown: &str, all: &[String]) -> (String, String) {
    if draws.below(2) == 0 {
        return (format!("{shown} seen"), "yes".into());
    }
    let others: Vec<&String> = all.iter().filter(|other| *other != shown).collect();
    (format!("{} seen", draws.choose(&others)), "no".into())
}

fn sign(assets: &Assets, draws: &mut Draws) -> Plan {
    let c = &assets.catalogue;
    let word = match draws.below(10) {
        0 => draws.choose(&c.titles),
        1 => draws.choose(&c.authors),
        _ => draws.choose(&c.words),
    };
    let prompt = *draws.choose(&["", "read", "spell out"]);
    made(scene::sign(draws, word), (prompt, word), vec![region(word, WHOLE)])
}

fn cover(assets: &Assets, draws: &mut Draws) -> Plan {
    let c = &assets.catalogue;
    let (title, author, genre) =
        (draws.choose(&c.titles), draws.choose(&c.authors), draws.below(c.genres.len()));
    let scene = scene::cover(draws, title, c.objects.len() + genre, author);
    let genre = &c.genres[genre].name;
    let words = match draws.below(5) {
        0 => ("", format!("{title} by {author} , {genre}")),
        1 => ("upper line", title.clone()),
        2 => ("lower line", author.clone()),
        3 => ("theme", genre.clone()),
        _ => ("all lines", format!("{title} {author}")),
    };
    let regions = vec![
        region(title, [0, 0, SIDE, 16]),
        region(genre, [8, 16, 52, 48]),
        region(author, [0, 48, SIDE, SIDE]),
    ];
    made(scene, words, regions)
}

fn pair(assets: &Assets, draws: &mut Draws) -> Plan {
    let c = &assets.catalogue;
    let shown = two_objects(c, draws);
    let upright = draws.below(2) == 1;
    let (scene, areas) = scene::pair(draws, shown[0], shown[1], upright);
    let names = shown.map(|i| c.objects[i].name.as_str());
    let groups = shown.map(|i| c.objects[i].group.as_str());
    let pick = draws.below(2);
    let end = if upright { ["topmost", "lowest"] } else { ["leftmost", "rightmost"] }[pick];
    let side = if upright { ["upper", "lower"] } else { ["left", "right"] };
    let words = match draws.below(7) {
        0 if upright => (String::new(), format!("{} above {}", names[0], names[1])),
        0 => (String::new(), format!("{} beside {}", names[0], names[1])),
        1 | 2 => (end.into(), names[pick].into()),
        3 => (format!("only {}", groups[pick]), names[pick].into()),
        4 => (format!("{} half", names[pick]), side[pick].into()),
        5 => {
            let right = draws.below(2) == 0;
            let stated = if right { side[pick] } else { side[1 - pick] };
            (format!("{} half {stated}", names[pick]), if right { "yes" } else { "no" }.into())
        }
        _ if draws.below(2) == 0 => (format!("{} seen", names[pick]), "yes".into()),
        _ => {
            let absent = members(c, |o| !names.contains(&o.name.as_str()));
            (format!("{} seen", c.objects[*draws.choose(&absent)].name), "no".into())
        }
    };
    let mut regions = Vec::new();
    for i in 0..2 {
        regions.extend([names[i], groups[i]].map(|word| region(word, corners(areas[i]))));
    }
    made(scene, words, regions)
}

fn place(assets: &Assets, draws: &mut Draws) -> Plan {
    let c = &assets.catalogue;
    let mut quadrants = [0, 1, 2, 3];
    draws.shuffle(&mut quadrants);
    let first = draws.below(c.objects.len());
    let mut objects = vec![(first, quadrants[0])];
    if draws.below(5) < 3 {
        objects.push(((first + 1 + draws.below(c.objects.len() - 1)) % c.objects.len(), quadrants[1]));
    }
    let (scene, boxes) = scene::placed(draws, &objects);
    let pick = draws.below(objects.len());
    let (name, quadrant, edges) = (&c.objects[objects[pick].0].name, objects[pick].1, boxes[pick]);
    let corner = ["upper left", "upper right", "lower left", "lower right"][quadrant];
    let words = match draws.below(6) {
        0 => (format!("corner of {name}"), corner.into()),
        1 => (corner.to_string(), name.clone()),
        2 => (format!("{name} begins"), spaced(&edges[..2])),
        3 => (format!("{name} spans"), spaced(&edges)),
        _ => (format!("frame {name}"), bracketed(edges)),
    };
    let place = |i: usize| region(&c.objects[objects[i].0].name, corners(scene::pixels(boxes[i])));
    made(scene, words, (0..objects.len()).map(place).collect())
}

fn spaced(tenths: &[u32]) -> String {
    tenths.iter().map(|&t| format!("{:.2}", f64::from(t) / 10.0)).collect::<Vec<_>>().join(" ")
}

fn count(assets: &Assets, draws: &mut Draws) -> Plan {
    let tile = draws.below(assets.catalogue.objects.len());
    let name = &assets.catalogue.objects[tile].name;
    let count = 1 + draws.below(4);
    let scene = scene::tally(draws, tile, count);
    let words =
        if draws.below(2) == 0 { ("tally", count.to_string()) } else { ("", format!("{count} {name}")) };
    made(scene, words, vec![region(name, WHOLE), region(&count.to_string(), WHOLE)])
}

fn damaged(assets: &Assets, draws: &mut Draws) -> Plan {
    let c = &assets.catalogue;
    let (name, mut scene, mut regions) = if draws.below(4) == 0 {
        let word = draws.choose(&c.words);
        (word, scene::sign(draws, word), vec![region(word, WHOLE)])
    } else {
        let (tile, scene, regions) = one_object(assets, draws);
        (&c.objects[tile].name, scene, regions)
    };
    let mut words = [("look", name.clone()), ("usable", "yes".into())];
    if draws.below(10) < 6 {
        let kind = draws.below(3);
        let (damage, word) = scene::damage(draws, kind);
        scene.damage = damage;
        regions = vec![region(word, WHOLE), region(UNANSWERABLE, WHOLE)];
        words = [("look", UNANSWERABLE.into()), ("usable", format!("no , too {word}"))];
    }
    debug_assert!(scene.damage != Damage::None || words[1].1 == "yes");
    let words = words[draws.below(3) / 2].clone();
    made(scene, words, regions)
}

const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

fn lettered(options: &[&str]) -> String {
    options
        .iter()
        .zip(LETTERS)
        .map(|(option, letter)| format!("{letter} {option}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Which of the listed words applies to the picture: its letter.
fn option(assets: &Assets, draws: &mut Draws) -> Plan {
    let c = &assets.catalogue;
    let (fact, mut options, scene, regions) = if draws.below(3) == 0 {
        let (tile, scene, regions) = one_flag(assets, draws);
        (c.flags[tile].continent.as_str(), CONTINENTS.to_vec(), scene, regions)
    } else {
        let (tile, scene, regions) = one_object(assets, draws);
        let object = &c.objects[tile];
        if object.group == "animal" && draws.below(2) == 0 {
            (object.class.as_str(), CLASSES.to_vec(), scene, regions)
        } else {
            (object.group.as_str(), GROUPS.to_vec(), scene, regions)
        }
    };
    // Two of three lists keep their order; in the others the letter has to be looked up.
    if draws.below(3) == 0 {
        draws.shuffle(&mut options);
    }
    let right = options.iter().position(|option| *option == fact).unwrap_or(0);
    made(scene, (format!("pick {}", lettered(&options)), LETTERS[right]), regions)
}

/// Every word that a task may expect as an answer, coordinates included.
pub fn answer_words(assets: &Assets) -> Vec<String> {
    let c = &assets.catalogue;
    let mut words: Vec<String> = c.objects.iter().map(|o| o.name.clone()).collect();
    words.extend(c.genres.iter().map(|g| g.name.clone()));
    words.extend(c.flags.iter().map(|f| f.name.clone()));
    for list in [&c.garments, &c.shape_colors, &c.shape_forms, &c.words, &c.titles, &c.authors] {
        words.extend(list.iter().cloned());
    }
    words.extend(LETTERS.map(String::from));
    words.extend([GROUPS, CLASSES, CONTINENTS].concat().into_iter().map(String::from));
    words.extend(["yes", "no", UNANSWERABLE, "1", "2", "3", "4", "[", "]", ","].map(String::from));
    words.extend((0..=10).map(|t| spaced(&[t])));
    words
}

fn any_box(draws: &mut Draws) -> Tenths {
    let (x, y) = (draws.below(7) as u32, draws.below(7) as u32);
    [x, y, x + 4, y + 4]
}

fn echo(assets: &Assets, draws: &mut Draws) -> Plan {
    let (_, scene, regions) = one_object(assets, draws);
    let words = answer_words(assets);
    let text = match draws.below(4) {
        0 => bracketed(any_box(draws)),
        1 => format!("{} {}", draws.choose(&words), draws.choose(&words)),
        _ => draws.choose(&words).clone(),
    };
    made(scene, (format!("repeat : {text}"), text), regions)
}

fn lookup(assets: &Assets, draws: &mut Draws) -> Plan {
    let (_, scene, regions) = one_object(assets, draws);
    let words = answer_words(assets);
    let mut listed: Vec<&str> = Vec::new();
    while listed.len() < 4 {
        let word = draws.choose(&words).as_str();
        if !listed.contains(&word) && word.len() > 1 {
            listed.push(word);
        }
    }
    let pick = draws.below(4);
    let (key, value) =
        if draws.below(2) == 0 { (LETTERS[pick], listed[pick]) } else { (listed[pick], LETTERS[pick]) };
    made(scene, (format!("{} ; {key}", lettered(&listed)), value), regions)
}
