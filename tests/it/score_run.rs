//! `coin-host score --run`: kept answers scored again, and what is wrong with kept files or predictions, through the binary.

use std::fs;
use std::path::Path;

use coin_host::report::results::Results;

use crate::runs::{SMALL, compare, copy, reference, succeed, text, workspace};
use crate::support::Workspace;

/// A copy of the small run.
fn kept() -> Workspace {
    let workspace = Workspace::new();
    copy(&reference().0, &workspace.path().join("run"));
    workspace
}

fn score(workspace: &Workspace, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = workspace.command(&[&["score", "--run", "run"][..], more].concat());
    // Neither data nor plugins are there.
    command.env("XDG_CACHE_HOME", workspace.path()).env("XDG_DATA_HOME", workspace.path());
    let output = command.output().expect("coin-host starts");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn results(workspace: &Workspace) -> Results {
    Results::read(&workspace.path().join("run")).expect("results.json")
}

#[test]
fn a_run_scored_again_is_the_same_and_another_scorer_is_added() {
    let workspace = kept();
    let before = results(&workspace);
    let (code, stdout, stderr) = score(&workspace, &[]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("12 matrices stay as before"), "{stdout}");
    assert_eq!(results(&workspace), before);
    // What a run with both scorers computes is what the scorer adds afterwards.
    let (code, stdout, _) = score(&workspace, &["--scorers", "official,coin"]);
    assert!(code == Some(0) && stdout.contains("lora, order written, seed 0, coin: new, AP "), "{stdout}");
    let both = results(&workspace);
    let once =
        crate::runs::workspace(&SMALL.replace("limit = 6", "limit = 6\nscorers = [\"official\", \"coin\"]"));
    succeed(compare(&once, &["--methods", "lora"]));
    let fresh = Results::read(&once.path().join("out")).expect("results.json");
    let cell = |results: &Results| {
        results.cells.iter().find(|cell| cell.method == "lora").expect("lora").scorers.clone()
    };
    assert_eq!(cell(&both), cell(&fresh));
    assert_eq!(both.references, fresh.references);
    let page = fs::read_to_string(workspace.path().join("run/report.html")).expect("a page");
    assert!(page.contains("Difference, scorer coin minus official"));
}

#[test]
fn a_run_from_before_questions_were_kept_gets_them_and_nothing_else_changes() {
    let workspace = workspace(SMALL);
    copy(&reference().0, &workspace.path().join("out"));
    let before = fs::read(workspace.path().join("out/results.json")).expect("there");
    fs::remove_dir_all(workspace.path().join("out/references/zero-shot/questions")).expect("removed");
    let output = workspace.command(&["score", "--run", "out"]).output().expect("coin-host starts");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("does not hold the questions of task imagenet")
            && stderr.contains("coin-host compare"),
        "{stderr}"
    );
    succeed(compare(&workspace, &[]));
    let scorers =
        |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).expect("JSON")["cells"].clone();
    let after = fs::read(workspace.path().join("out/results.json")).expect("there");
    assert_eq!(scorers(&after), scorers(&before));
    let output = workspace.command(&["score", "--run", "out"]).output().expect("coin-host starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

fn edit(path: &Path, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    let bytes = fs::read(path).expect("there");
    fs::write(path, change(bytes)).expect("written");
}

/// What was kept and then damaged is refused with file and line; results stay as they are.
#[test]
fn damaged_answers_are_refused_with_their_line() {
    let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    };
    type Change<'a> = &'a dyn Fn(Vec<u8>) -> Vec<u8>;
    let cases: [(Change, &str); 8] = [
        (
            &|bytes| [bytes.clone(), lines(&bytes)[0].clone()].concat(),
            "imagenet.jsonl:7: a second answer to question",
        ),
        (
            &|bytes| [bytes, b"{\"question_id\":\"zzz\",\"text\":\"a\"}\n".to_vec()].concat(),
            "imagenet.jsonl:7: the run has no question `zzz`",
        ),
        (&|bytes| lines(&bytes)[1..].concat(), "1 of 6 answers are missing, the first of them to question"),
        (&|bytes| bytes[..bytes.len() - 9].to_vec(), "imagenet.jsonl:6: the line is cut or no answer"),
        (
            &|bytes| [b"{\"question_id\":\"\xff\xfe\"}\n".to_vec(), bytes].concat(),
            "imagenet.jsonl:1: the line is not UTF-8",
        ),
        (
            &|bytes| [lines(&bytes)[0].clone(), b"\n".to_vec(), lines(&bytes)[1..].concat()].concat(),
            "imagenet.jsonl:2: the line is cut",
        ),
        (&|bytes| [b"[1]\n".to_vec(), bytes].concat(), "imagenet.jsonl:1: the line is cut or no answer"),
        (&|_| Vec::new(), "6 of 6 answers are missing"),
    ];
    let workspace = kept();
    let path = workspace.path().join("run/cells/lora/written/0/predictions/1/imagenet.jsonl");
    let whole = fs::read(&path).expect("there");
    let before = fs::read(workspace.path().join("run/results.json")).expect("there");
    for (change, part) in cases {
        edit(&path, change);
        let (code, stdout, stderr) = score(&workspace, &["--scorer", "coin"]);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{part}: {stderr}");
        assert!(stderr.contains(part) && stderr.contains("hint:"), "{part}: {stderr}");
        assert_eq!(fs::read(workspace.path().join("run/results.json")).expect("there"), before, "{part}");
        fs::write(&path, &whole).expect("written");
    }
    let questions = workspace.path().join("run/references/zero-shot/questions/imagenet.jsonl");
    let asked = fs::read(&questions).expect("there");
    edit(&questions, |bytes| [bytes.clone(), lines(&bytes)[0].clone()].concat());
    let (code, _, stderr) = score(&workspace, &[]);
    assert!(code == Some(2) && stderr.contains("imagenet.jsonl:7: question `"), "{stderr}");
    fs::write(&questions, asked).expect("written");
    fs::remove_file(&path).expect("removed");
    let (code, _, stderr) = score(&workspace, &[]);
    assert!(code == Some(2) && stderr.contains("the answers of a finished stage are missing"), "{stderr}");
    fs::write(&path, &whole).expect("written");
    // Their order does not matter.
    edit(&path, |bytes| lines(&bytes).into_iter().rev().collect::<Vec<_>>().concat());
    assert_eq!(score(&workspace, &[]).0, Some(0));
    assert_eq!(fs::read(workspace.path().join("run/results.json")).expect("there"), before);
}

/// Files of predictions as other tools write them, through the binary: refused (exit code 2) or counted with a warning.
#[test]
fn bad_predictions_are_refused_or_counted_aloud() {
    const TEST: &str = r#"[{"question_id": "a", "answer": "cat"}, {"question_id": "b", "answer": "dog"}]"#;
    let good = "{\"question_id\": \"a\", \"text\": \"cat\"}\n";
    let cases: [(&[u8], &str, i32, &str); 7] = [
        (
            b"{\"question_id\": \"a\", \"text\": \"cat\"}\n{\"question_id\": \"b\", \"te",
            TEST,
            2,
            "p.jsonl:2: the line is not JSON",
        ),
        (b"{\"question_id\": \"a\", \"text\": \"c\xffat\"}\n", TEST, 2, "p.jsonl:1: the line is not UTF-8"),
        (b"", TEST, 2, "there are no predictions"),
        (good.as_bytes(), &TEST[..40], 2, "test.json"),
        (
            b"{\"question_id\": \"a\", \"text\": \"dog\"}\n{\"question_id\": \"a\", \"text\": \"cat\"}\n",
            TEST,
            0,
            "warning: 1 prediction with an id that was there before",
        ),
        (
            b"{\"question_id\": \"a\", \"text\": \"cat\"}\n{\"question_id\": \"z\", \"text\": \"cat\"}\n",
            TEST,
            0,
            "p.jsonl:2: ignored",
        ),
        (good.as_bytes(), TEST, 0, "1 of 2 items"),
    ];
    for (predictions, annotations, code, part) in cases {
        let workspace = Workspace::new().file("test.json", annotations);
        fs::write(workspace.path().join("p.jsonl"), predictions).expect("written");
        let mut command =
            workspace.command(&["score", "ocrvqa", "--annotations", ".", "--predictions", "p.jsonl"]);
        let output = command.output().expect("coin-host starts");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{part}: {stderr}");
        assert!(stderr.contains(part), "{part}: {stderr}");
        assert!(code == 0 || stderr.contains("hint:"), "{stderr}");
    }
}

/// Each task trained alone, beside the joint training, and what that says of a method; scored again it is the same.
#[test]
fn single_task_references_are_trained_when_asked_for() {
    let workspace =
        workspace(&SMALL.replace("references = [\"joint\"]", "references = [\"joint\", \"single\"]"));
    let printed = succeed(compare(&workspace, &["--methods", "lora", "--set", "training.steps=2"]));
    assert!(printed.lines().any(|line| line.starts_with("single ")), "{printed}");
    let out = workspace.path().join("out");
    let found = Results::read(&out).expect("results.json");
    for (name, result) in &found.cells[0].scorers {
        let single = &found.references[name].single;
        assert_eq!((single.len(), single[0].seed, single[0].scores.len()), (1, 0, 2), "{name}");
        let alone: f64 = single[0].scores.iter().map(|score| score.expect("trained")).sum();
        let learned: f64 = result.matrix.diagonal().expect("learned").iter().sum();
        let expected = Some((alone - learned) / 2.0).filter(|_| name != "format-failure");
        let given = result.metrics.intransigence_single;
        let differ = |(given, expected): (f64, f64)| (given - expected).abs() > 1e-9;
        assert_eq!(given.is_some(), expected.is_some(), "{name}");
        assert!(!given.zip(expected).is_some_and(differ), "{name}");
        // A stream begins as its first task alone does.
        assert_eq!(single[0].scores[0], result.matrix.get(0, 0), "{name}");
    }
    for task in ["imagenet", "grounding"] {
        assert!(
            out.join(format!("references/single/0/{task}/predictions/0/{task}.jsonl")).is_file(),
            "{task}"
        );
    }
    let output = workspace.command(&["score", "--run", "out"]).output().expect("coin-host starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(Results::read(&out).expect("results.json"), found);
    let again = compare(&workspace, &["--methods", "lora", "--set", "training.steps=2"])
        .output()
        .expect("coin-host starts");
    assert!(text(&again.stderr).contains("nothing to do"), "{}", text(&again.stderr));
}
