//! Made-up records in the exact layout of CoIN's release: eight tasks with their own paths, ids and side files, and a few small
//! pictures that the records take turns with.

use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Write};
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Map, Value, json};

/// Folder, records for training and of the scored file in the release, name of the scored file.
const TASKS: [(&str, usize, usize, &str); 8] = [
    ("ScienceQA", 12_726, 4_241, "test.json"),
    ("TextVQA", 34_602, 5_000, "val.json"),
    ("ImageNet", 129_833, 5_050, "test.json"),
    ("GQA", 72_140, 12_578, "test.json"),
    ("VizWiz", 20_000, 4_319, "val.json"),
    ("Grounding", 55_000, 30_969, "test.json"),
    ("VQAv2", 82_783, 107_000, "val.json"),
    ("OCRVQA", 165_000, 100_000, "test.json"),
];

/// How many records there are in the release.
pub(crate) const RELEASE: usize = 841_241;

const PHRASE: &str = "Answer the question using a single word or phrase.";
const LETTER: &str = "Answer with the option's letter from the given choices directly.";
const WORDS: [&str; 12] = [
    "kettle", "lantern", "ladder", "pumpkin", "goldfish", "tricycle", "teapot", "acorn", "anchor", "barrel",
    "candle", "cello",
];

/// Writes the set below `root` with about `records` records in all, each task with at most `pictures` pictures for each split.
///
/// # Errors
/// Files that cannot be written.
pub(crate) fn fabricate(root: &Path, records: usize, pictures: usize) -> io::Result<()> {
    let encoded = encoded()?;
    for (task, train, test, name) in TASKS {
        let scaled = |count: usize| (count as u128 * records as u128 / RELEASE as u128).max(8) as usize;
        let (train, test) = (scaled(train), scaled(test));
        let folder = root.join("Instructions_Original").join(task);
        fs::create_dir_all(&folder)?;
        let split = Split { task, root, pictures, encoded: &encoded };
        split.write(&folder.join("train.json"), train, "train")?;
        split.write(&folder.join(name), test, "test")?;
        split.side(test)?;
    }
    Ok(())
}

/// A PNG and a JPEG.
fn encoded() -> io::Result<[Vec<u8>; 2]> {
    let picture = RgbImage::from_fn(64, 48, |x, y| Rgb([x as u8 * 4, y as u8 * 5, (x ^ y) as u8]));
    let one = |format| -> io::Result<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).map_err(io::Error::other)?;
        Ok(bytes.into_inner())
    };
    Ok([one(ImageFormat::Png)?, one(ImageFormat::Jpeg)?])
}

struct Split<'a> {
    task: &'static str,
    root: &'a Path,
    pictures: usize,
    encoded: &'a [Vec<u8>; 2],
}

impl Split<'_> {
    fn write(&self, path: &Path, count: usize, split: &str) -> io::Result<()> {
        for number in 0..count.min(self.pictures) {
            if let Some(image) = self.image(number, split) {
                let path = self.root.join("cl_dataset").join(image.trim_start_matches("./"));
                let png = path.extension().is_some_and(|extension| extension == "png");
                fs::create_dir_all(path.parent().unwrap_or(self.root))?;
                fs::write(path, &self.encoded[usize::from(!png)])?;
            }
        }
        let mut file = BufWriter::new(File::create(path)?);
        for number in 0..count {
            file.write_all(if number == 0 { b"[" } else { b"," })?;
            serde_json::to_writer(&mut file, &self.record(number, split))?;
        }
        file.write_all(b"]")?;
        file.flush()
    }

    /// ScienceQA has questions without a picture.
    fn image(&self, number: usize, split: &str) -> Option<String> {
        let shown = number % self.pictures.max(1);
        let (train, one) = (split == "train", shown + 1);
        match self.task {
            "ScienceQA" if shown.is_multiple_of(2) => None,
            "ScienceQA" => Some(format!("ScienceQA/images/{split}/{one}/image.png")),
            // Those of the scored part lie among those for training.
            "TextVQA" => Some(format!("TextVQA/train_images/{split}{one:016x}.jpg")),
            "ImageNet" if train => {
                Some(format!("ImageNet_withlabel/train/n{:08}/n{:08}_{one}.JPEG", one % 101, one % 101))
            }
            "ImageNet" => Some(format!("ImageNet_withlabel/val/ILSVRC2012_val_{one:08}.JPEG")),
            "GQA" => Some(format!("./GQA/images/{split}{one}.jpg")),
            "VizWiz" => {
                let part = if train { "train" } else { "val" };
                Some(format!("VizWiz/{part}/VizWiz_{part}_{one:08}.jpg"))
            }
            "Grounding" => Some(format!("COCO2014/train2014/COCO_train2014_{split}{one:012}.jpg")),
            "VQAv2" => {
                let part = if train { "train2014" } else { "val2014" };
                Some(format!("COCO2014/{part}/COCO_{part}_{one:012}.jpg"))
            }
            _ => Some(format!("OCR-VQA/images/{split}{one}.jpg")),
        }
    }

    fn record(&self, number: usize, split: &str) -> Value {
        let word = WORDS[number % WORDS.len()];
        let (mut text, mut answer) =
            (format!("What stands to the left of the {word} in part {number} of the scene?"), json!(word));
        match self.task {
            "ScienceQA" => {
                text =
                    format!("Which of these, of case {number}, is a solid?\nA. milk\nB. a {word}\n{LETTER}");
                answer = json!("B");
            }
            "ImageNet" => text = format!("What is the object in the image?\n{PHRASE}"),
            "Grounding" => {
                text = format!(
                    "Please provide the bounding box coordinate of the region this sentence describes: {word} number {number}"
                );
                answer = json!("[0.12,0.31,0.42,0.66]");
            }
            _ => text = format!("{text}\n{PHRASE}"),
        }
        let mut record = Map::new();
        let id = self.id(number, split);
        record.insert(String::from(if split == "train" { "id" } else { "question_id" }), id);
        let image = self.image(number, split);
        record.extend(image.clone().map(|image| (String::from("image"), json!(image))));
        if split == "train" {
            let mark = if image.is_some() { "<image>\n" } else { "" };
            record.insert(
                String::from("conversations"),
                json!([{"from": "human", "value": format!("{mark}{text}")}, {"from": "gpt", "value": answer}]),
            );
            return Value::Object(record);
        }
        record.insert(String::from("text"), json!(text));
        if self.task == "Grounding" {
            record.insert(String::from("answer_bbox"), answer);
            record.insert(String::from("size"), json!([640, 480]));
        } else {
            record.insert(String::from("answer"), answer);
        }
        Value::Object(record)
    }

    fn id(&self, number: usize, split: &str) -> Value {
        match self.task {
            "TextVQA" | "VQAv2" => json!(34_602 + number),
            "ImageNet" => json!(format!("ILSVRC2012_{split}_{number:08}")),
            "VizWiz" => json!(format!("VizWiz_{split}_{number:08}.jpg")),
            _ => json!(number.to_string()),
        }
    }

    /// The file of the data set's authors that CoIN's script scores by.
    fn side(&self, count: usize) -> io::Result<()> {
        let folder = self.root.join("cl_dataset").join(self.task);
        let word = |number: usize| WORDS[number % WORDS.len()];
        let (name, value) = match self.task {
            "ScienceQA" => {
                let problem = |number: usize| json!({"question": "Which is a solid?", "choices": ["milk", format!("a {}", word(number))], "answer": 1, "split": "test"});
                let problems: Map<String, Value> =
                    (0..count).map(|number| (number.to_string(), problem(number))).collect();
                let ids: Vec<String> = (0..count).map(|number| number.to_string()).collect();
                fs::create_dir_all(&folder)?;
                fs::write(folder.join("pid_splits.json"), json!({"train": [], "test": ids}).to_string())?;
                ("problems.json", Value::Object(problems))
            }
            "TextVQA" => {
                let item = |number: usize| json!({"question_id": 34_602 + number, "image_id": "x", "answers": vec![word(number); 10]});
                (
                    "TextVQA_0.5.1_val.json",
                    json!({"dataset_type": "val", "data": (0..count).map(item).collect::<Vec<_>>()}),
                )
            }
            "GQA" => {
                let question = |number: usize| json!({"semantic": [{"operation": "select", "dependencies": []}], "isBalanced": true, "answer": word(number)});
                let all: Map<String, Value> =
                    (0..count).map(|number| (number.to_string(), question(number))).collect();
                ("testdev_balanced_questions.json", Value::Object(all))
            }
            _ => return Ok(()),
        };
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), value.to_string())
    }
}
