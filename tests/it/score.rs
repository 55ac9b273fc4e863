//! `coin-host score` against figures that the original scripts gave on synthetic files, which lie in `fixtures/golden`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use coin_host::eval::file::{self, BenchmarkTask, FileError};
use coin_host::eval::scorer::{Scorer, Tally, input, judge};
use coin_host::report::results::Results;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::runs::{SMALL, compare, data, succeed, workspace};
use crate::support::Workspace;

const FOLDERS: [(&str, BenchmarkTask); 9] = [
    ("ScienceQA", BenchmarkTask::ScienceQa),
    ("TextVQA", BenchmarkTask::TextVqa),
    ("ImageNet", BenchmarkTask::ImageNet),
    ("GQA", BenchmarkTask::Gqa),
    ("VizWiz", BenchmarkTask::VizWiz),
    ("Grounding", BenchmarkTask::Grounding),
    ("VQAv2", BenchmarkTask::VqaV2),
    ("OCRVQA", BenchmarkTask::OcrVqa),
    ("general_knowledge", BenchmarkTask::GeneralKnowledge),
];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden")
}

fn json(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn run(workspace: &Workspace, task: &str, annotations: &Path, predictions: &Path, more: &[&str]) -> Output {
    let mut command = workspace.command(&["score", task]);
    command.arg("--annotations").arg(annotations).arg("--predictions").arg(predictions).args(more);
    command.output().expect("coin-host starts")
}

/// Scores by id, as numbers.
fn samples(value: &Value) -> Vec<(String, Option<f64>)> {
    let members = value["per_sample"].as_object().expect("scores by id");
    members.iter().map(|(id, score)| (id.clone(), score.as_f64())).collect()
}

fn sorted(mut samples: Vec<(String, Option<f64>)>) -> Vec<(String, Option<f64>)> {
    samples.sort_by(|one, other| one.0.cmp(&other.0));
    samples
}

#[test]
fn every_item_and_total_agrees_with_the_original() {
    let workspace = Workspace::new();
    for (folder, task) in FOLDERS {
        let folder = golden().join("coin").join(folder);
        for (scorer, expected) in [("coin", "expected.json"), ("official", "official.json")] {
            let expected = json(&folder.join(expected));
            let predictions = folder.join("predictions.jsonl");
            let output = run(&workspace, task.name(), &folder, &predictions, &["--scorer", scorer, "--json"]);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {stderr}", task.name());
            let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let keys: Vec<&str> = found.as_object().expect("an object").keys().map(String::as_str).collect();
            assert_eq!(keys, ["task", "scorer", "total", "exact", "n", "per_sample"]);
            assert_eq!((found["task"].as_str(), found["scorer"].as_str()), (Some(task.name()), Some(scorer)));
            let what = format!("{}, {scorer}", task.name());
            assert_eq!(found["n"], expected["n"], "{what}");
            let unrounded = expected.get("exact").unwrap_or(&expected["total"]);
            assert_eq!(found["exact"].as_f64(), unrounded.as_f64(), "{what}");
            let total = expected["total"].as_f64().expect("a number");
            let total = if scorer == "coin" { total } else { (total * 100.0).round() / 100.0 };
            assert_eq!(found["total"].as_f64(), Some(total), "{what}");
            assert_eq!(sorted(samples(&found)), sorted(samples(&expected)), "{what}");
        }
    }
}

#[test]
fn judges_are_asked_what_the_original_asks_them() {
    let mut asked = 0;
    for (folder, task) in FOLDERS {
        let folder = golden().join("coin").join(folder);
        let Ok(expected) = fs::read(folder.join("judge_prompt_expected.json")) else { continue };
        let expected: Value = serde_json::from_slice(&expected).expect("JSON");
        let document =
            |path: PathBuf| input::document("file", &fs::read(path).expect("there")).expect("JSON");
        let questions =
            if matches!(task.name(), "textvqa" | "vizwiz" | "vqav2") { "val.json" } else { "test.json" };
        let rules = document(golden().join("coin/general_knowledge/rule.json"));
        let rule = judge::Rule::read(&rules, expected["key"].as_str().expect("a name")).expect("a rule");
        let lines = fs::read(folder.join("predictions.jsonl")).expect("there");
        let predictions = input::predictions("predictions.jsonl", &lines).expect("JSON");
        let prompts =
            judge::prompts(&document(folder.join(questions)), &rule, &predictions).expect("questions");
        let found: Vec<(usize, String)> = prompts
            .iter()
            .flatten()
            .map(|prompt| {
                let hash = Sha256::digest(prompt.as_bytes());
                (prompt.chars().count(), hash.iter().map(|byte| format!("{byte:02x}")).collect())
            })
            .collect();
        let expected: Vec<(usize, String)> = expected["messages"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|message| {
                let characters = message["chars"].as_u64().expect("a count") as usize;
                (characters, message["sha256"].as_str().expect("a hash").to_owned())
            })
            .collect();
        assert_eq!(found, expected, "{}", task.name());
        asked += found.len();
    }
    assert_eq!(asked, 494);
}

/// The files of a case, written into a folder.
fn case(case: &Value) -> Workspace {
    let files = case["files"].as_object().expect("files");
    files.iter().fold(Workspace::new(), |workspace, (name, content)| {
        let text = match content {
            Value::String(text) => text.clone(),
            Value::Array(lines) if name.ends_with(".jsonl") => {
                lines.iter().map(|line| format!("{line}\n")).collect()
            }
            other => other.to_string(),
        };
        workspace.file(name, &text)
    })
}

#[test]
fn quirks_and_crashes_of_the_original_are_kept() {
    let quirks = json(&golden().join("quirks/quirks.json"));
    let cases = quirks["cases"].as_array().expect("a list");
    assert_eq!(cases.len(), 64);
    for (at, quirk) in cases.iter().enumerate() {
        let workspace = case(quirk);
        let task = FOLDERS.iter().find(|(folder, _)| quirk["task"] == *folder).expect("a task").1;
        let predictions = workspace.path().join("predictions.jsonl");
        let outcome = file::score(task, Scorer::Coin, Some(workspace.path()), &predictions);
        let what = format!("{}: {}", quirk["task"], quirk["name"]);
        let expected = &quirk["outcome"];
        match (&outcome, expected["error"].as_str()) {
            (Err(error @ FileError::OriginalCrashes { fault, .. }), Some(exception)) => {
                assert_eq!(fault.exception, exception, "{what}: {error}");
                assert_eq!(error.exit_code(), 1);
            }
            (Ok(Tally { total, per_sample, .. }), None) => {
                assert_eq!(Some(*total), expected["total"].as_f64(), "{what}");
                if expected.get("per_sample").is_some() {
                    assert_eq!(sorted(per_sample.clone()), sorted(samples(expected)), "{what}");
                }
            }
            _ => panic!("{what}: {outcome:?}"),
        }
        // The command line is slower to start; every eighth case goes through it.
        if at % 8 == 0 {
            let output = run(&workspace, task.name(), workspace.path(), &predictions, &["--scorer", "coin"]);
            let stderr = String::from_utf8_lossy(&output.stderr);
            match expected["error"].as_str() {
                Some(exception) => {
                    assert_eq!(output.status.code(), Some(1), "{what}: {stderr}");
                    for part in ["the original crashes there", exception, "hint: "] {
                        assert!(stderr.contains(part), "{what}: {stderr}");
                    }
                }
                None => assert_eq!(output.status.code(), Some(0), "{what}: {stderr}"),
            }
        }
    }
}

const ANNOTATIONS: &str = r#"[{"question_id": "a", "answer": "cat"}, {"question_id": "b", "answer": "dog"}]"#;

/// What the official scorer says to a predictions file for two questions of OCR-VQA.
fn official(predictions: &[u8]) -> Result<Tally, String> {
    let workspace = Workspace::new().file("test.json", ANNOTATIONS);
    let path = workspace.path().join("p.jsonl");
    fs::write(&path, predictions).expect("written");
    let outcome = file::score(BenchmarkTask::OcrVqa, Scorer::Official, Some(workspace.path()), &path);
    outcome.map_err(|error| {
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    })
}

#[test]
fn bad_predictions_are_refused_with_their_line() {
    let good = r#"{"question_id": "a", "text": "cat"}"#;
    for (second, reason) in [
        ("{\"question_id\": \"b\", \"te", "p.jsonl:2: the line is not JSON: column 25: a text does not end"),
        ("", "p.jsonl:2: the line is empty"),
        ("[1]", "p.jsonl:2: a list stands for an object"),
        ("{\"text\": \"dog\"}", "p.jsonl:2: `question_id` is missing"),
        ("{\"question_id\": \"b\"}", "p.jsonl:2: `text` is missing"),
        ("{\"question_id\": \"b\", \"text\": 7}", "p.jsonl:2: `text` is a number, not a text"),
        ("{\"question_id\": [1], \"text\": \"dog\"}", "p.jsonl:2: `question_id` is a list"),
    ] {
        let error = official(format!("{good}\n{second}\n").as_bytes()).expect_err(reason);
        assert!(error.contains(reason) && error.contains("\nhint: "), "{error}");
    }
    let error = official(b"{\"question_id\": \"a\", \"text\": \"c\xffat\"}\n").expect_err("no UTF-8");
    assert!(error.contains("p.jsonl:1: the line is not UTF-8"), "{error}");
    assert!(official(b"").expect_err("empty").contains("p.jsonl: there are no predictions"));
    let error = official(br#"{"question_id": "z", "text": "cat"}"#).expect_err("other data");
    assert!(error.contains("no prediction has an id of") && error.contains("`z` in "), "{error}");
}

#[test]
fn what_is_missing_repeated_or_unknown_is_told() {
    let lines = "{\"question_id\": \"a\", \"text\": \"dog\"}\n{\"question_id\": \"a\", \"text\": \"CAT\"}\n{\"question_id\": \"z\", \"text\": \"\"}\n";
    let tally = official(lines.as_bytes()).expect("scored");
    assert_eq!((tally.total, tally.count), (50.0, 2));
    assert_eq!(tally.remarks.len(), 3, "{:?}", tally.remarks);
    for (remark, part) in
        tally.remarks.iter().zip(["the last line counts", "p.jsonl:3: ignored", "1 of 2 items"])
    {
        assert!(remark.contains(part), "{remark}");
    }
}

#[test]
fn the_command_names_what_it_lacks() {
    let workspace = Workspace::new().file("p.jsonl", "{}\n").file("test.json", ANNOTATIONS);
    for (arguments, code, part) in [
        (
            &["score", "ocrvqa", "--predictions", "p.jsonl"][..],
            2,
            "name their folder with --annotations; it holds test.json",
        ),
        (&["score", "ocrvqa", "--annotations", ".", "--predictions", "q.jsonl"], 2, "q.jsonl cannot be read"),
        (
            &["score", "vizwiz", "--annotations", ".", "--predictions", "p.jsonl"],
            2,
            "reads vizwiz_val_annotations.json",
        ),
        (
            &["score", "ocrvqa", "--annotations", ".", "--predictions", "p.jsonl"],
            2,
            "p.jsonl:1: `question_id` is missing",
        ),
        (
            &["score", "ocrvqa", "--annotations", ".", "--predictions", "p.jsonl", "--scorer", "coin"],
            1,
            "eval_ocrvqa.py, KeyError",
        ),
        (&["score", "imagenette", "--predictions", "p.jsonl"], 2, "possible values: scienceqa"),
    ] {
        let seen = workspace.run(arguments);
        assert!(seen.starts_with(&format!("exit: {code}\n")) && seen.contains(part), "{arguments:?}: {seen}");
    }
}

#[test]
fn a_person_reads_the_total_and_how_many_were_counted() {
    let lines = "{\"question_id\": \"a\", \"text\": \"CAT\"}\n{\"question_id\": \"a\", \"text\": \"no\"}\n{\"question_id\": \"a\", \"text\": \"no\"}\n";
    let workspace = Workspace::new().file("p.jsonl", lines).file("test.json", ANNOTATIONS);
    let seen = workspace.run(&[
        "score",
        "ocrvqa",
        "--annotations",
        ".",
        "--predictions",
        "p.jsonl",
        "--scorer",
        "coin",
    ]);
    let expected = "exit: 0\n----- stdout -----\nocrvqa, scorer coin\ntotal  33.33\ncount  3\n----- stderr -----\n\
                    warning: 2 predictions with an id that was there before: each line counts\n\
                    warning: 1 of 2 annotated items have no prediction: they are left out of the count\n";
    assert_eq!(seen, expected);
}

/// The answers of a run, scored as files, give the run's own accuracy matrix.
#[test]
fn the_answers_of_a_run_score_as_the_run_says() {
    let config = SMALL.replace("limit = 6", "scorers = [\"official\", \"coin\"]");
    let workspace = workspace(&config);
    let once = ["--methods", "lora", "--set", "training.steps=1", "--set", "references=[]"];
    let printed = succeed(compare(&workspace, &once));
    assert!(printed.contains("Difference, scorer coin minus official"), "{printed}");
    let results = Results::read(&workspace.path().join("out")).expect("results.json");
    let answers = workspace.path().join("out/cells/lora/written/0/predictions/1");
    for (column, task, folder) in
        [(0, BenchmarkTask::ImageNet, "ImageNet"), (1, BenchmarkTask::Grounding, "Grounding")]
    {
        let annotations = data().join("Instructions_Original").join(folder);
        let predictions = answers.join(format!("{}.jsonl", task.name()));
        for scorer in [Scorer::Official, Scorer::Coin] {
            let tally = file::score(task, scorer, Some(&annotations), &predictions).expect("scored");
            let matrix = &results.cells[0].scorers[scorer.name()].matrix;
            assert_eq!(Some(tally.count as u64), matrix.items.get(column).copied(), "{scorer} {folder}");
            let score = matrix.rows[1][column].expect("a score");
            assert!((tally.exact - score).abs() < 1e-9, "{scorer} {folder}: {} {score}", tally.exact);
            assert!(tally.remarks.is_empty(), "{:?}", tally.remarks);
        }
    }
}
