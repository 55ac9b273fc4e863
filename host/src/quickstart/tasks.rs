//! The eight stand-in tasks: which pictures, which questions, which answers. Answers are dealt by turns, so that no
//! question has a frequent one, and a picture is needed to do better than chance.

use super::canvas::Scene;
use super::catalogue::{Catalogue, SheetName, assets};
use super::scene;
use crate::stream::random::Draws;

/// The task names, in CoIN's order.
pub const TASKS: [&str; 8] =
    ["ScienceQA", "TextVQA", "ImageNet", "GQA", "VizWiz", "Grounding", "VQAv2", "OCRVQA"];

/// Items of a task's training split.
pub const TRAIN_ITEMS: usize = 2_560;
/// Items of a task's scored split.
pub const TEST_ITEMS: usize = 300;

/// CoIN's `Original` instruction of the tasks answered in a word.
pub const PHRASE: &str = "Answer the question using a single word or phrase.";
/// CoIN's `Original` instruction of ScienceQA.
pub const LETTER: &str = "Answer with the option's letter from the given choices directly.";
/// CoIN's Grounding prompt; the expression follows.
pub const LOCATE: &str = "Please provide the bounding box coordinate of the region this sentence describes:";

/// Which part of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    Train,
    Test,
}

/// One question on a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Without options and without the instruction line.
    pub text: String,
    pub options: Vec<String>,
    pub instruction: Option<&'static str>,
    pub answer: String,
    /// x1, y1, x2, y2 in 0..1, of Grounding.
    pub bbox: Option<[f64; 4]>,
}

impl Question {
    fn phrase(text: impl Into<String>, answer: impl Into<String>) -> Self {
        Question {
            text: text.into(),
            options: Vec::new(),
            instruction: Some(PHRASE),
            answer: answer.into(),
            bbox: None,
        }
    }

    /// The text as CoIN stores it: question, lettered options, instruction, a line each.
    pub fn stored_text(&self) -> String {
        let mut lines = vec![self.text.clone()];
        lines.extend(self.options.iter().zip('A'..).map(|(option, letter)| format!("{letter}. {option}")));
        lines.extend(self.instruction.map(String::from));
        lines.join("\n")
    }
}

/// A picture and what is asked about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    pub scene: Scene,
    pub questions: Vec<Question>,
}

/// All pictures of a task's split, in a fixed order; `task` counts as in [`TASKS`].
pub fn pictures(task: usize, split: Split) -> Vec<Picture> {
    let compose = [science, text, object_names, relations, photographs, regions, shapes, covers][task];
    let wanted = if split == Split::Train { TRAIN_ITEMS } else { TEST_ITEMS };
    let catalogue = &assets().catalogue;
    let root = u64::from(catalogue.version);
    let (mut pictures, mut items) = (Vec::new(), 0);
    while items < wanted {
        let turn = pictures.len();
        let mut draws = Draws::new(root, TASKS[task], &[split as u64, turn as u64]);
        let mut picture = compose(catalogue, &mut draws, split, turn);
        picture.questions.truncate(wanted - items);
        items += picture.questions.len();
        pictures.push(picture);
    }
    pictures
}

/// The members of a group of objects, by index.
pub fn members(catalogue: &Catalogue, test: impl Fn(&super::catalogue::Object) -> bool) -> Vec<usize> {
    (0..catalogue.objects.len()).filter(|&i| test(&catalogue.objects[i])).collect()
}

/// Options in alphabetical order, so that the letter follows from what is seen.
pub const GROUPS: [&str; 4] = ["animal", "food", "tool", "vehicle"];
/// As [`GROUPS`], for animals.
pub const CLASSES: [&str; 4] = ["bird", "fish", "insect", "mammal"];
/// As [`GROUPS`], for flags.
pub const CONTINENTS: [&str; 4] = ["Africa", "America", "Asia", "Europe"];

fn science(catalogue: &Catalogue, draws: &mut Draws, _: Split, turn: usize) -> Picture {
    let right = turn / 3 % 4;
    let (text, options, scene) = match turn % 3 {
        0 => {
            let tile = *draws.choose(&members(catalogue, |o| o.group == GROUPS[right]));
            ("Which group does this thing belong to?", GROUPS, scene::object(draws, tile).0)
        }
        1 => {
            let tile = *draws.choose(&members(catalogue, |o| o.class == CLASSES[right]));
            ("Which class does this animal belong to?", CLASSES, scene::object(draws, tile).0)
        }
        _ => {
            let of = |i: &usize| catalogue.flags[*i].continent == CONTINENTS[right];
            let flags: Vec<usize> = (0..catalogue.flags.len()).filter(of).collect();
            let tile = *draws.choose(&flags);
            ("Which continent does this flag belong to?", CONTINENTS, scene::flag(draws, tile))
        }
    };
    let question = Question {
        text: text.into(),
        options: options.map(String::from).to_vec(),
        instruction: Some(LETTER),
        answer: ["A", "B", "C", "D"][right].into(),
        bbox: None,
    };
    Picture { scene, questions: vec![question] }
}

fn text(catalogue: &Catalogue, draws: &mut Draws, _: Split, turn: usize) -> Picture {
    let word = &catalogue.words[turn % catalogue.words.len()];
    let text =
        *draws.choose(&["what word is on the sign?", "what does the sign say?", "what is written here?"]);
    Picture { scene: scene::sign(draws, word), questions: vec![Question::phrase(text, word)] }
}

fn object_names(catalogue: &Catalogue, draws: &mut Draws, split: Split, turn: usize) -> Picture {
    let sheet = if split == Split::Train { SheetName::GarmentsTrain } else { SheetName::GarmentsTest };
    let name = &catalogue.garments[turn % catalogue.garments.len()];
    Picture {
        scene: scene::garment(draws, sheet, turn),
        questions: vec![Question::phrase("What is the object in the image?", name)],
    }
}

/// "a" or "an", with the noun.
fn article(noun: &str) -> String {
    format!("{} {noun}", if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" })
}

/// Two objects of different groups, dealt evenly.
pub fn two_objects(catalogue: &Catalogue, draws: &mut Draws) -> [usize; 2] {
    let mut groups = GROUPS;
    draws.shuffle(&mut groups);
    [0, 1].map(|i| *draws.choose(&members(catalogue, |o| o.group == groups[i])))
}

fn relations(catalogue: &Catalogue, draws: &mut Draws, _: Split, turn: usize) -> Picture {
    let shown = two_objects(catalogue, draws);
    let upright = turn / 2 % 2 == 1;
    let names = shown.map(|i| catalogue.objects[i].name.as_str());
    let asked = draws.below(2);
    let sides = if upright { ["at the top", "at the bottom"] } else { ["on the left", "on the right"] };
    let yes = (turn / 4).is_multiple_of(2);
    let answer = if yes { "yes" } else { "no" };
    let questions = if turn.is_multiple_of(2) {
        let absent = loop {
            let other = draws.below(catalogue.objects.len());
            if !shown.contains(&other) {
                break &catalogue.objects[other].name;
            }
        };
        let subject = if yes { names[draws.below(2)] } else { absent };
        vec![
            Question::phrase(format!("What is {} of the picture?", sides[asked]), names[asked]),
            Question::phrase(format!("Is there {} in the picture?", article(subject)), answer),
        ]
    } else {
        let group = &catalogue.objects[shown[asked]].group;
        let subject = draws.below(2);
        let side = if yes { subject } else { 1 - subject };
        vec![
            Question::phrase(format!("Which {group} is in the picture?"), names[asked]),
            Question::phrase(format!("Is the {} {} of the picture?", names[subject], sides[side]), answer),
        ]
    };
    Picture { scene: scene::pair(draws, shown[0], shown[1], upright).0, questions }
}

/// The answer to a question that the picture cannot answer, as VizWiz gives it.
pub const UNANSWERABLE: &str = "unanswerable";

fn photographs(catalogue: &Catalogue, draws: &mut Draws, _: Split, turn: usize) -> Picture {
    let (text, mut answer, mut scene) = if turn % 4 == 3 {
        let word = draws.choose(&catalogue.words);
        ("What does this say?", word.as_str(), scene::sign(draws, word))
    } else {
        let tile = draws.below(catalogue.objects.len());
        ("What is this?", catalogue.objects[tile].name.as_str(), scene::object(draws, tile).0)
    };
    // 3 of 10, dealt across both kinds of question.
    if turn / 4 % 10 < 3 {
        scene.damage = scene::damage(draws, turn).0;
        answer = UNANSWERABLE;
    }
    Picture { scene, questions: vec![Question::phrase(text, answer)] }
}

/// A box in CoIN's notation, on the grid of tenths.
pub fn bracketed(edges: scene::Tenths) -> String {
    let [x1, y1, x2, y2] = edges.map(|e| f64::from(e) / 10.0);
    format!("[{x1:.2},{y1:.2},{x2:.2},{y2:.2}]")
}

fn regions(catalogue: &Catalogue, draws: &mut Draws, _: Split, turn: usize) -> Picture {
    let quadrant = turn / 2 % 4;
    let mut objects = vec![(draws.below(catalogue.objects.len()), quadrant)];
    if turn % 2 == 1 {
        let other = (objects[0].0 + 1 + draws.below(catalogue.objects.len() - 1)) % catalogue.objects.len();
        objects.push((other, (quadrant + 1 + draws.below(3)) % 4));
    }
    let (scene, boxes) = scene::placed(draws, &objects);
    let question = Question {
        text: format!("{LOCATE} the {}", catalogue.objects[objects[0].0].name),
        options: Vec::new(),
        instruction: None,
        answer: bracketed(boxes[0]),
        bbox: Some(boxes[0].map(|e| f64::from(e) / 10.0)),
    };
    Picture { scene, questions: vec![question] }
}

fn shapes(catalogue: &Catalogue, draws: &mut Draws, split: Split, turn: usize) -> Picture {
    // Every eighth picture is counted, the others are easy-vqa's.
    if turn % 8 == 7 {
        let count = 1 + turn / 8 % 4;
        let scene = {
            let tile = draws.below(catalogue.objects.len());
            scene::tally(draws, tile, count)
        };
        return Picture {
            scene,
            questions: vec![Question::phrase("how many objects are there?", count.to_string())],
        };
    }
    let tile = turn / 8 * 7 + turn % 8;
    let (sheet, tiles) =
        if split == Split::Train { (SheetName::ShapesTrain, 1_296) } else { (SheetName::ShapesTest, 312) };
    let tile = tile % tiles;
    let (colors, forms) = (&catalogue.shape_colors, &catalogue.shape_forms);
    let (color, form) = (tile % 8, tile % 24 / 8);
    let yes = draws.below(2) == 0;
    let there = if draws.below(2) == 0 {
        let subject = if yes { form } else { (form + 1 + draws.below(2)) % 3 };
        format!("is there a {} in the image?", forms[subject])
    } else {
        let subject = if yes { color } else { (color + 1 + draws.below(7)) % 8 };
        format!("is there a {} shape in the image?", colors[subject])
    };
    let asked = [
        Question::phrase("what color is the shape?", &colors[color]),
        Question::phrase("what shape does the image contain?", &forms[form]),
        Question::phrase(there, if yes { "yes" } else { "no" }),
    ];
    let omitted = turn % 3;
    let questions = asked.into_iter().enumerate().filter(|(i, _)| *i != omitted).map(|(_, q)| q).collect();
    Picture { scene: scene::shape(sheet, tile), questions }
}

fn covers(catalogue: &Catalogue, draws: &mut Draws, _: Split, turn: usize) -> Picture {
    let title = draws.choose(&catalogue.titles);
    let author = draws.choose(&catalogue.authors);
    let genre = draws.below(catalogue.genres.len());
    let asked = [
        Question::phrase("What is the title of this book?", title),
        Question::phrase("Who wrote this book?", author),
        Question::phrase("What type of book is this?", &catalogue.genres[genre].name),
    ];
    let omitted = turn % 3;
    let questions = asked.into_iter().enumerate().filter(|(i, _)| *i != omitted).map(|(_, q)| q).collect();
    Picture { scene: scene::cover(draws, title, catalogue.objects.len() + genre, author), questions }
}
