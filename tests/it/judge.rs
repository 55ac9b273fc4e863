//! `coin-host score --run RUN --judge` against servers that are well, slow, busy, broken and gone.

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use coin_host::report::results::{CellResult, Results, Status};
use serde_json::{Value, json};

use crate::runs::text;
use crate::support::Workspace;
use server::{Act, Server};

/// Ten words that no message holds by accident.
const KEY: &str = "sk-test-0123456789-never-shown";

/// A finished run of two tasks and one method, made by hand: 2 tasks x 3 answers x (zero-shot, 2 stages), all texts different.
pub(crate) fn run() -> Workspace {
    let tasks = ["gqa", "grounding"];
    let mut results = Results::new("made", tasks.map(str::to_owned).to_vec());
    results.cells.push(CellResult::begun("lora", "written", 0, Status::Done));
    let mut workspace =
        Workspace::new().file("run/results.json", &serde_json::to_string(&results).expect("JSON"));
    let lines = |values: Vec<Value>| values.iter().map(|value| format!("{value}\n")).collect::<String>();
    for task in tasks {
        let question = |number: usize| match task {
            "gqa" => {
                json!({"question_id": number.to_string(), "prompt": format!("What is {number}?\nAnswer the question using a single word or phrase."),
                "instructed": true, "metric": "gqa", "answers": [format!("thing {number}")], "options": [], "bbox": null, "size": null, "blind": "thing 0"})
            }
            _ => {
                json!({"question_id": number.to_string(), "prompt": format!("Where is {number}?"), "instructed": false, "metric": "grounding",
                "answers": ["[0.10,0.20,0.50,0.60]"], "options": [], "bbox": [0.1, 0.2, 0.5, 0.6], "size": [64, 64], "blind": "[0.1,0.2,0.5,0.6]"})
            }
        };
        workspace = workspace.file(
            &format!("run/references/zero-shot/questions/{task}.jsonl"),
            &lines((0..3).map(question).collect()),
        );
        for (folder, word) in [
            ("references/zero-shot/predictions", "none"),
            ("cells/lora/written/0/predictions/0", "early"),
            ("cells/lora/written/0/predictions/1", "late"),
        ] {
            let answer = |number: usize| {
                let said = match (task, word) {
                    ("gqa", "late") => format!("It is thing {number}."),
                    ("grounding", "late") => format!("(0.1{number}, 0.20), (0.50, 0.60)"),
                    _ => format!("{word} {number}"),
                };
                json!({"question_id": number.to_string(), "prompt": "", "text": said, "scores": {}})
            };
            workspace =
                workspace.file(&format!("run/{folder}/{task}.jsonl"), &lines((0..3).map(answer).collect()));
        }
    }
    workspace
}

/// Answers of [`run`], each judged once.
const ANSWERS: usize = 18;

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn judge_with(workspace: &Workspace, url: &str, more: &[&str], key: Option<&str>) -> Outcome {
    let mut command = workspace.command(&["score", "--run", "run", "--judge", "--set", "judge.model=made"]);
    command.args(["--set", &format!("judge.url={url}"), "--set", "judge.backoff_seconds=0.01"]).args(more);
    for variable in [
        "COIN_HOST_JUDGE_URL",
        "COIN_HOST_JUDGE_MODEL",
        "OPENAI_API_KEY",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env_remove(variable);
    }
    if let Some(key) = key {
        command.env("OPENAI_API_KEY", key);
    }
    let output = command.output().expect("coin-host starts");
    Outcome { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn judge(workspace: &Workspace, server: &Server, more: &[&str]) -> Outcome {
    judge_with(workspace, &server.url, more, None)
}

fn verdicts(workspace: &Workspace) -> usize {
    let file = fs::read_to_string(workspace.path().join("run/judge/verdicts.jsonl"));
    file.map_or(0, |text| text.lines().count())
}

fn results(workspace: &Workspace) -> Results {
    Results::read(&workspace.path().join("run")).expect("results.json")
}

fn matrix(results: &Results, name: &str) -> Vec<Vec<Option<f64>>> {
    results.cells[0].scorers[name].matrix.rows.clone()
}

/// 10 where the late answers are right, else 0.
fn fair(body: &str) -> String {
    let right = body.contains("It is thing") || body.contains("(0.1");
    String::from(if right { "Score: 10" } else { "0" })
}

#[test]
fn verdicts_are_read_both_ways_and_asked_for_once() {
    let (workspace, server) = (run(), Server::start(|_, body| Act::Say(fair(body))));
    let first = judge(&workspace, &server, &[]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(first.stderr.contains("18 verdicts to ask, 0 verdicts kept"), "{}", first.stderr);
    let found = results(&workspace);
    assert_eq!(matrix(&found, "gk-judge"), [[Some(0.0), Some(0.0)], [Some(100.0), Some(100.0)]]);
    // CoIN's script reads `Score: 10` as 1.
    assert_eq!(matrix(&found, "gk-judge-coin"), [[Some(0.0), Some(0.0)], [Some(10.0), Some(10.0)]]);
    assert_eq!(matrix(&found, "gk-offline"), [[Some(0.0), Some(0.0)], [Some(100.0), Some(100.0)]]);
    assert_eq!(matrix(&found, "format-failure"), [[Some(0.0), Some(100.0)], [Some(0.0), Some(100.0)]]);
    let cell = &found.cells[0].scorers["gk-judge"];
    assert_eq!(
        (cell.matrix.items.as_slice(), cell.metrics.bwt_t, cell.metrics.ap),
        (&[3, 3][..], Some(50.0), Some(100.0))
    );
    assert_eq!(found.references["gk-judge"].zero_shot, [Some(0.0), Some(0.0)]);
    let record = found.judge.as_ref().expect("a judge");
    assert_eq!((record.model.as_str(), record.items, record.replies, record.unread), ("made", 18, 18, 0));
    assert!(first.stdout.contains("gk-judge: new, AP 100.00"), "{}", first.stdout);
    let second = judge(&workspace, &server, &[]);
    assert_eq!((second.code, server.count(), verdicts(&workspace)), (Some(0), ANSWERS, ANSWERS));
    assert_eq!(results(&workspace), found);
    // The message: CoIN's form, without the instruction.
    let requests = server.requests.lock().expect("requests");
    let body: Value = serde_json::from_str(&requests[0].1).expect("JSON");
    assert_eq!((body["temperature"].as_f64(), body["model"].as_str()), (Some(0.0), Some("made")));
    let messages: Vec<String> = requests
        .iter()
        .map(|(_, body)| {
            serde_json::from_str::<Value>(body).expect("JSON")["messages"][1]["content"]
                .as_str()
                .expect("text")
                .to_owned()
        })
        .collect();
    let one = messages.iter().find(|message| message.contains("It is thing 2.")).expect("asked");
    let start = "[Context]\n[Question]\nWhat is 2?\n\n[Ground truth answer]\nthing 2\n\n[End of ground truth answer]\n\n[Assistant]\nIt is thing 2.\n\n[End of Assistant]\n\n[System]\n";
    assert!(one.starts_with(start), "{one}");
}

#[test]
fn a_server_that_falters_is_asked_again() {
    let faults = [
        Act::Status(429, "Retry-After: 0", "slow down".into()),
        Act::Status(500, "", "{\"error\": \"oops\"}".into()),
        Act::Status(503, "", String::new()),
        Act::Body(String::new()),
        Act::Body("{\"choices\": [".into()),
        Act::Body("{}".into()),
        Act::Body("null".into()),
        Act::Half,
        Act::Close,
        Act::Say("  ".into()),
    ];
    let count = faults.len();
    let server = Server::start(move |number, body| {
        // Every other request fails, each in another way.
        if number % 2 == 1 && number / 2 < count { faults[number / 2].clone() } else { Act::Say(fair(body)) }
    });
    let workspace = run();
    let seen = judge(&workspace, &server, &["--set", "judge.parallel=2"]);
    assert_eq!(seen.code, Some(0), "{}", seen.stderr);
    assert_eq!((server.count(), verdicts(&workspace)), (ANSWERS + count, ANSWERS));
    assert_eq!(matrix(&results(&workspace), "gk-judge")[1], [Some(100.0), Some(100.0)]);
}

#[test]
fn a_busy_server_says_when_to_come_again() {
    let server = Server::start(|number, body| match number {
        0 => Act::Status(429, "Retry-After: 2", String::new()),
        _ => Act::Say(fair(body)),
    });
    let workspace = run();
    let clock = Instant::now();
    assert_eq!(judge(&workspace, &server, &["--set", "judge.parallel=1"]).code, Some(0));
    assert!(clock.elapsed() >= Duration::from_secs(2), "it came again after {:?}", clock.elapsed());
}

#[test]
fn a_slow_server_is_given_up_on_and_asked_again() {
    let server = Server::start(|number, body| match number {
        1 => Act::Slow(Duration::from_secs(600), fair(body)),
        _ => Act::Say(fair(body)),
    });
    let workspace = run();
    let seen = judge(&workspace, &server, &["--set", "judge.timeout_seconds=2", "--set", "judge.retries=9"]);
    assert_eq!((seen.code, verdicts(&workspace)), (Some(0), ANSWERS), "{}", seen.stderr);
    assert!(server.count() > ANSWERS, "the slow one was asked again");
}

#[test]
fn a_server_that_dies_midway_costs_no_verdict() {
    let workspace = run();
    let before = fs::read(workspace.path().join("run/results.json")).expect("there");
    let server = Server::start(|number, body| if number < 7 { Act::Say(fair(body)) } else { Act::Close });
    let options = ["--set", "judge.retries=2", "--set", "judge.parallel=2"];
    let seen = judge(&workspace, &server, &options);
    assert_eq!((seen.code, verdicts(&workspace)), (Some(1), 7), "{}", seen.stderr);
    for part in
        ["gave 7 of 18 verdicts", "no connection", "3 tries", "are kept in run/judge/verdicts.jsonl", "hint:"]
    {
        assert!(seen.stderr.contains(part), "{part}: {}", seen.stderr);
    }
    // Not each of the other eleven is tried three times.
    assert!(server.count() <= 7 + 3 * 4, "{} requests", server.count());
    assert_eq!(fs::read(workspace.path().join("run/results.json")).expect("there"), before);
    drop(server);
    let server = Server::start(|_, body| Act::Say(fair(body)));
    let seen = judge(&workspace, &server, &options);
    assert_eq!(
        (seen.code, server.count(), verdicts(&workspace)),
        (Some(0), ANSWERS - 7, ANSWERS),
        "{}",
        seen.stderr
    );
}

#[test]
fn nobody_at_the_address_and_a_lasting_error_are_told() {
    let workspace = run();
    let gone = judge_with(&workspace, "http://127.0.0.1:1/v1", &["--set", "judge.retries=1"], None);
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.contains("gave 0 of 18 verdicts: no connection"), "{}", gone.stderr);
    for (status, part) in [
        (500, "status 500: broken"),
        (404, "no such address or model"),
        (401, "the key is missing or refused"),
    ] {
        let server = Server::start(move |_, _| Act::Status(status, "", "broken".into()));
        let seen = judge(&workspace, &server, &["--set", "judge.retries=1", "--set", "judge.parallel=1"]);
        assert_eq!(seen.code, Some(1));
        assert!(seen.stderr.contains(part), "{}", seen.stderr);
        let most = if status == 500 { 6 } else { 1 };
        assert!(server.count() <= most, "{status}: {} requests", server.count());
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn the_key_is_in_no_file_and_no_message() {
    // A server that sends back whatever it was sent, as verdict and as error.
    let echo = |status: u16| {
        move |number: usize, _: &str| match (status, number % 2) {
            (200, 0) => Act::Say(format!("7, and your key is {KEY}")),
            (200, _) => Act::Status(500, "", format!("Authorization: Bearer {KEY}")),
            (status, _) => Act::Status(status, "", format!("{{\"error\": \"bad key {KEY}\"}}")),
        }
    };
    let workspace = run();
    for (status, code) in [(401, 1), (400, 1), (500, 1), (200, 0)] {
        let server = Server::start(echo(status));
        let seen = judge_with(
            &workspace,
            &server.url,
            &["--set", "judge.retries=2", "--set", "judge.parallel=1"],
            Some(KEY),
        );
        assert_eq!(seen.code, Some(code), "{}", seen.stderr);
        assert!(
            server.requests.lock().expect("requests")[0]
                .0
                .to_lowercase()
                .contains(&format!("authorization: bearer {KEY}"))
        );
        assert!(!seen.stdout.contains(KEY) && !seen.stderr.contains(KEY), "{}{}", seen.stdout, seen.stderr);
        assert!(status == 200 || seen.stderr.contains("***"), "{}", seen.stderr);
    }
    assert_eq!(verdicts(&workspace), ANSWERS);
    for path in files(workspace.path()) {
        let bytes = fs::read(&path).expect("a file");
        assert!(!String::from_utf8_lossy(&bytes).contains(KEY), "{}", path.display());
    }
    // A key where none belongs is refused without being repeated.
    for (option, value) in [
        ("judge.url", format!("http://me:{KEY}@127.0.0.1:1/v1")),
        ("judge.key", KEY.to_owned()),
        ("judge.key_env", KEY.to_owned()),
    ] {
        let seen =
            judge_with(&workspace, "http://127.0.0.1:1/v1", &["--set", &format!("{option}={value}")], None);
        assert_eq!(seen.code, Some(2), "{option}: {}", seen.stderr);
        assert!(!seen.stdout.contains(KEY) && !seen.stderr.contains(KEY), "{option}: {}", seen.stderr);
    }
}

#[test]
fn costs_are_estimated_before_and_capped_during() {
    let prices = [
        "--set",
        "judge.price_per_million_input=1000",
        "--set",
        "judge.price_per_million_output=1000",
        "--set",
        "judge.parallel=1",
    ];
    let workspace = run();
    let server = Server::start(|_, body| Act::Cost(fair(body), 1000));
    let with = |more: &[&str]| judge(&workspace, &server, &[&prices[..], more].concat());
    let seen = with(&["--dry-run"]);
    assert_eq!((seen.code, server.count(), verdicts(&workspace)), (Some(0), 0, 0));
    assert!(
        seen.stderr.contains("18 verdicts to ask") && seen.stderr.contains("cost about "),
        "{}",
        seen.stderr
    );
    let seen = with(&["--set", "judge.max_cost=0.5"]);
    assert_eq!((seen.code, server.count()), (Some(2), 0));
    assert!(seen.stderr.contains("nothing was asked"), "{}", seen.stderr);
    // 2,000 tokens a verdict: 2 each, of which five fit into 10 beside the next one's own estimate.
    let seen = with(&["--set", "judge.max_cost=10"]);
    assert_eq!((seen.code, server.count(), verdicts(&workspace)), (Some(1), 5, 5), "{}", seen.stderr);
    assert!(seen.stderr.contains("would exceed `judge.max_cost` of 10"), "{}", seen.stderr);
    // Replies that hold nothing cost as well.
    let hollow = Server::start(|_, _| Act::Body(String::from("{}")));
    let dear =
        ["--set", "judge.max_cost=3", "--set", "judge.retries=100", "--set", "judge.backoff_seconds=0"];
    let seen = judge(&workspace, &hollow, &[&prices[..], &dear].concat());
    assert_eq!((seen.code, verdicts(&workspace)), (Some(1), 5), "{}", seen.stderr);
    assert!(
        seen.stderr.contains("would exceed `judge.max_cost` of 3") && hollow.count() < 100,
        "{} {}",
        hollow.count(),
        seen.stderr
    );
    // A cap without a price cannot be kept.
    let seen = judge(&workspace, &server, &["--set", "judge.max_cost=10"]);
    assert_eq!((seen.code, server.count()), (Some(2), 5));
}

#[test]
fn votes_are_counted_and_their_agreement_is_told() {
    let server =
        Server::start(|number, _| Act::Say(String::from(if number % 3 == 0 { "I cannot say" } else { "8" })));
    let workspace = run();
    let seen = judge(
        &workspace,
        &server,
        &["--set", "judge.votes=3", "--set", "judge.limit=2", "--set", "judge.parallel=1"],
    );
    assert_eq!((seen.code, server.count()), (Some(0), 2 * 2 * 3 * 3), "{}", seen.stderr);
    let found = results(&workspace);
    let record = found.judge.as_ref().expect("a judge");
    assert_eq!((record.votes, record.items, record.unread), (3, 12, 12));
    assert!(seen.stderr.contains("12 of 36 replies have no number"), "{}", seen.stderr);
    let total: f64 = matrix(&found, "gk-judge").iter().flatten().flatten().sum::<f64>() / 4.0;
    let zero_shot: f64 = found.references["gk-judge"].zero_shot.iter().flatten().sum::<f64>() / 2.0;
    assert!(
        ((2.0 * total + zero_shot) / 3.0 - 100.0 * 24.0 * 8.0 / 360.0).abs() < 1e-9,
        "{total} {zero_shot}"
    );
    assert_eq!(found.cells[0].scorers["gk-judge"].matrix.items, [2, 2]);
    assert!(record.agreement.is_some_and(|agreement| (33.0..100.0).contains(&agreement)));
}

#[test]
fn requests_at_a_time_are_bounded() {
    let server = Server::start(|_, body| Act::Slow(Duration::from_millis(60), fair(body)));
    let workspace = run();
    assert_eq!(judge(&workspace, &server, &["--set", "judge.parallel=3"]).code, Some(0));
    let most = server.most.load(Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most}");
}

#[test]
fn what_is_missing_to_judge_is_told() {
    let workspace =
        run().file("own.toml", "[judge]\nmodel = \"m\"\nurll = \"x\"\n").file("none.toml", "name = \"x\"\n");
    for (arguments, part) in [
        (&["score", "--run", "run", "--judge"][..], "`judge.url` is missing"),
        (&["score", "--run", "run", "--judge", "--config", "own.toml"], "urll"),
        (&["score", "--run", "run", "--judge", "--config", "none.toml"], "has no table `[judge]`"),
        (&["score", "--run", "run", "--judge", "--set", "training.steps=3"], "keys of `[judge]`"),
        (&["score", "--run", "nowhere", "--judge"], "is no run"),
        (&["score", "gqa", "--judge"], "--run"),
    ] {
        let mut command = workspace.command(arguments);
        command.env_remove("COIN_HOST_JUDGE_URL").env_remove("COIN_HOST_JUDGE_MODEL");
        let output = command.output().expect("coin-host starts");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
    }
}
