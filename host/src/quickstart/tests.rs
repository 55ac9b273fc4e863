//! What the quickstart's data promise as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use super::canvas::{Scene, draw};
use super::catalogue::assets;
use super::layout::{IMAGE_ROOT, content_hash, generate, scored_split};
use super::tasks::{Picture, Question, Split, TASKS, TEST_ITEMS, TRAIN_ITEMS, pictures};
use super::{captions, vocabulary};

fn questions(task: usize, split: Split) -> Vec<Question> {
    pictures(task, split).into_iter().flat_map(|p: Picture| p.questions).collect()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_bytes(include_bytes!("../../assets/tiny/tokenizer.json")).unwrap()
}

fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
    let area = |c: [f64; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let both = side(0) * side(1);
    both / (area(a) + area(b) - both)
}

/// Percent of test items that the most frequent training answer gets right: of the same question, else of the task.
fn blind(task: usize) -> f64 {
    let mut counts: BTreeMap<Option<String>, BTreeMap<String, usize>> = BTreeMap::new();
    for question in questions(task, Split::Train) {
        for key in [None, Some(question.stored_text())] {
            *counts.entry(key).or_default().entry(question.answer.clone()).or_default() += 1;
        }
    }
    let majority =
        |key| counts.get(&key).and_then(|c| c.iter().max_by_key(|(_, n)| **n)).map(|(a, _)| a.clone());
    let right = questions(task, Split::Test).into_iter().filter(|question| {
        let guess = majority(Some(question.stored_text())).or_else(|| majority(None)).unwrap();
        match question.bbox {
            None => guess == question.answer,
            Some(truth) => {
                let edges: Vec<f64> =
                    guess.trim_matches(['[', ']']).split(',').map(|e| e.parse().unwrap()).collect();
                overlap(truth, [edges[0], edges[1], edges[2], edges[3]]) > 0.5
            }
        }
    });
    100.0 * right.count() as f64 / TEST_ITEMS as f64
}

#[test]
fn every_split_has_its_number_of_items() {
    for task in 0..TASKS.len() {
        assert_eq!(questions(task, Split::Train).len(), TRAIN_ITEMS);
        assert_eq!(questions(task, Split::Test).len(), TEST_ITEMS);
    }
}

/// The bounds that `assets/quickstart/README.md` states.
#[test]
fn nothing_is_gained_without_the_picture() {
    let bounds = [30.0, 8.0, 12.0, 36.0, 38.0, 25.0, 36.0, 16.0];
    for task in 0..TASKS.len() {
        let blind = blind(task);
        assert!(blind <= bounds[task], "{}: {blind:.1} > {}", TASKS[task], bounds[task]);
    }
    // The best box that does not look, over all boxes on the grid.
    let truths: Vec<[f64; 4]> = questions(5, Split::Test).iter().filter_map(|q| q.bbox).collect();
    let tenths = || 0..=10;
    let best = tenths()
        .flat_map(|x| tenths().map(move |y| (x, y)))
        .flat_map(|(x, y)| (3..=8).map(move |side| [x, y, x + side, y + side].map(|v| f64::from(v) / 10.0)))
        .map(|guess| truths.iter().filter(|&&truth| overlap(truth, guess) > 0.5).count())
        .max();
    assert!(best.unwrap() * 100 <= 30 * truths.len(), "{best:?}");
}

fn print(scene: &Scene) -> [u8; 32] {
    Sha256::digest(draw(assets(), scene).as_raw()).into()
}

#[test]
fn test_pictures_occur_nowhere_else() {
    let all = |split| -> BTreeSet<[u8; 32]> {
        (0..TASKS.len())
            .flat_map(|t| pictures(t, split))
            .collect::<Vec<_>>()
            .par_iter()
            .map(|p| print(&p.scene))
            .collect()
    };
    let (train, test) = (all(Split::Train), all(Split::Test));
    assert!(test.len() > 1_800, "{}", test.len());
    assert!(train.is_disjoint(&test));
    let captions: BTreeSet<[u8; 32]> =
        (0..4_000u64).into_par_iter().map(|i| print(&captions::plan(i).scene)).collect();
    assert!(captions.len() > 3_000, "{}", captions.len());
    assert!(captions.is_disjoint(&test));
}

#[test]
fn captions_repeat_by_index_and_never_use_a_task_s_wording() {
    let asked: BTreeSet<String> = (0..TASKS.len())
        .flat_map(|task| [Split::Train, Split::Test].map(|split| questions(task, split)).concat())
        .flat_map(|q| [q.stored_text(), q.text])
        .collect();
    let tokenizer = tokenizer();
    let mut outputs: BTreeMap<u32, usize> = BTreeMap::new();
    for index in 0..50_000 {
        let plan = captions::plan(index);
        assert!(!asked.contains(&plan.prompt), "{}", plan.prompt);
        assert!(!plan.prompt.contains('?') && !plan.prompt.contains("Answer"), "{}", plan.prompt);
        assert!(!plan.answer.is_empty() && !plan.regions.is_empty());
        for id in tokenizer.encode(plan.answer, false).unwrap().get_ids() {
            *outputs.entry(*id).or_default() += 1;
        }
    }
    for task in 0..TASKS.len() {
        for question in questions(task, Split::Test) {
            for id in tokenizer.encode(question.answer.as_str(), false).unwrap().get_ids() {
                let times = outputs.get(id).copied().unwrap_or(0);
                assert!(times >= 100, "`{}` is an output {times} times in 50,000 captions", question.answer);
            }
        }
    }
    assert_eq!(captions::sample(123_456), captions::sample(123_456));
    assert_ne!(captions::sample(1), captions::sample(2));
}

#[test]
fn labels_are_single_words_of_the_vocabulary() {
    let tokenizer = tokenizer();
    for index in 0..2_000 {
        let sample = captions::sample(index);
        assert!(!sample.labels.is_empty());
        for label in &sample.labels {
            assert!(tokenizer.token_to_id(label).is_some(), "{label}");
        }
        for region in &sample.regions {
            let [x1, y1, x2, y2] = region.area;
            assert!(x1 < x2 && y1 < y2 && x2 <= 64 && y2 <= 64, "{region:?}");
        }
    }
}

#[test]
fn the_shipped_tokenizer_is_the_generated_one_and_knows_every_word() {
    let shipped = include_str!("../../assets/tiny/tokenizer.json");
    assert!(
        shipped == vocabulary::tokenizer_json().unwrap(),
        "run `cargo run --release -p coin-host --example quickstart_files`"
    );
    let tokenizer = tokenizer();
    assert!(tokenizer.get_vocab_size(true) <= 600);
    let unknown = tokenizer.token_to_id("<unk>").unwrap();
    for task in 0..TASKS.len() {
        for question in [Split::Train, Split::Test].map(|split| questions(task, split)).concat() {
            for text in [question.stored_text(), question.answer] {
                let encoding = tokenizer.encode(text.as_str(), false).unwrap();
                assert!(!encoding.get_ids().contains(&unknown), "{text}: {:?}", encoding.get_tokens());
                assert!(encoding.len() <= 32, "{text}: {} tokens", encoding.len());
            }
        }
    }
}

#[test]
fn answers_survive_the_way_through_tokens() {
    let tokenizer = tokenizer();
    for text in ["[0.10,0.20,0.50,1.00]", "unanswerable", "Emma", "B", "4", "yes"] {
        let encoding = tokenizer.encode(text, false).unwrap();
        assert_eq!(tokenizer.decode(encoding.get_ids(), true).unwrap(), text);
    }
    let encoding = tokenizer.encode("<s><user><image>A. fish\nB. bird<assistant>", false).unwrap();
    assert_eq!(
        encoding.get_tokens(),
        ["<s>", "<user>", "<image>", "A", ".", "fish", "B", ".", "bird", "<assistant>"]
    );
}

fn files(root: &Path) -> BTreeMap<String, [u8; 32]> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.insert(name, Sha256::digest(fs::read(&path).unwrap()).into());
            }
        }
    }
    found
}

#[test]
fn a_written_folder_is_complete_reproducible_and_reused() {
    let home = tempfile::tempdir().unwrap();
    let first = home.path().join("deeper/first");
    generate(&first).unwrap();
    let written = files(&first);
    assert_eq!(fs::read_to_string(first.join("content.sha256")).unwrap().trim(), content_hash());
    for task in TASKS {
        for split in ["train", scored_split(task)] {
            let path = first.join(format!("Instructions_Original/{task}/{split}.json"));
            let items: Vec<Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            assert_eq!(items.len(), if split == "train" { TRAIN_ITEMS } else { TEST_ITEMS });
            for item in items {
                let image = item["image"].as_str().unwrap().trim_start_matches("./");
                assert!(written.contains_key(&format!("{IMAGE_ROOT}/{image}")), "{image}");
            }
        }
    }

    // A complete folder stays untouched; one of other content is replaced; a foreign one is refused.
    let kept = first.join("cl_dataset/note.txt");
    fs::write(&kept, "kept").unwrap();
    generate(&first).unwrap();
    assert!(kept.exists());
    fs::write(first.join("content.sha256"), "of an older version").unwrap();
    generate(&first).unwrap();
    assert!(!kept.exists() && written == files(&first));
    let foreign = home.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "").unwrap();
    let error = generate(&foreign).unwrap_err().to_string();
    assert!(error.contains("holds other files") && foreign.join("thesis.tex").exists(), "{error}");
}
