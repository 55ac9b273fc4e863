//! The reports of a made-up run: first and last scores as published for LoRA on CoIN, the rest filled in and spread over seeds,
//! with failed cells and a hostile name.

use std::collections::BTreeMap;

use coin_host::eval::matrix::Matrix;
use coin_host::report::results::{
    CellResult, Cost, Joint, Metrics, PluginUse, References, Results, ScorerResult, Status,
};
use coin_host::report::{csv, html, latex, markdown, tables};

const TASKS: [&str; 8] =
    ["scienceqa", "textvqa", "imagenet", "gqa", "vizwiz", "grounding", "vqav2", "ocr-vqa"];
const IMMEDIATE: [f64; 8] = [82.45, 49.99, 96.05, 56.40, 55.45, 31.27, 62.20, 57.08];
const LAST: [f64; 8] = [21.26, 28.74, 10.25, 36.78, 32.45, 0.83, 42.50, 57.08];
const ZERO_SHOT: [f64; 8] = [49.91, 2.88, 0.33, 2.08, 0.90, 0.0, 0.68, 0.17];
const JOINT: [f64; 8] = [56.77, 49.35, 95.55, 56.65, 53.90, 30.09, 59.50, 55.65];

fn cell(method: &str, seed: u64, kept: f64) -> CellResult {
    let mut matrix = Matrix::new(TASKS.len());
    for task in 0..TASKS.len() {
        matrix.set_zero_shot(task, ZERO_SHOT[task]).expect("a percentage");
        matrix.set_items(task, 4_000 + task as u64).expect("a task");
        for stage in 0..TASKS.len() {
            let faded = LAST[task] + (IMMEDIATE[task] - LAST[task]) * kept;
            let score = match stage.cmp(&task) {
                std::cmp::Ordering::Less => ZERO_SHOT[task],
                std::cmp::Ordering::Equal => IMMEDIATE[task],
                std::cmp::Ordering::Greater => faded,
            };
            matrix.set(stage, task, score).expect("a percentage");
        }
    }
    let metrics = Metrics::of(&matrix, Some(&JOINT.map(Some)));
    CellResult {
        method: method.to_owned(),
        order: "coin".to_owned(),
        seed,
        status: Status::Done,
        error: None,
        tasks: Vec::new(),
        scorers: BTreeMap::from([("official".to_owned(), ScorerResult { matrix, metrics })]),
        flips: None,
        cost: Cost {
            trainable_parameters: 319_815_680,
            stored_bytes: 1_279_262_720 + seed,
            train_seconds: 7_200.0 + 60.0 * seed as f64,
            eval_seconds: 1_800.0,
            peak_memory_bytes: 34_359_738_368,
            ..Cost::default()
        },
        granted: BTreeMap::new(),
        handovers: Vec::new(),
        plugins: vec![PluginUse {
            name: "lora".to_owned(),
            version: "1.0.0".to_owned(),
            sha256: "9f".repeat(32),
            source: String::new(),
            trust: "locked".to_owned(),
            ..PluginUse::default()
        }],
    }
}

fn failed(method: &str, seed: u64, reason: &str) -> CellResult {
    CellResult {
        status: Status::Failed,
        error: Some(reason.to_owned()),
        scorers: BTreeMap::new(),
        flips: None,
        cost: Cost::default(),
        ..cell(method, seed, 0.0)
    }
}

fn references() -> References {
    References {
        blind: [40.0, 8.0, 1.0, 41.0, 30.0, 3.5, 38.0, 20.0].map(Some).to_vec(),
        joint: vec![
            Joint { seed: 0, scores: JOINT.map(Some).to_vec() },
            Joint { seed: 1, scores: JOINT.map(|score| Some(score + 1.0)).to_vec() },
        ],
        ..References::default()
    }
}

fn one_seed() -> Results {
    let mut results = Results::new("one-seed", TASKS.map(str::to_owned).to_vec());
    results.cells = vec![cell("lora", 0, 0.0), cell("moelora", 0, 0.3)];
    results.references.insert("official".to_owned(), references());
    results
}

fn several_seeds() -> Results {
    let mut results = one_seed();
    results.name = "<several> & \"seeds\"".to_owned();
    results.cells = Vec::new();
    for seed in 0..3 {
        results.cells.push(cell("lora", seed, 0.05 * seed as f64));
        results.cells.push(match seed {
            1 => failed(
                "moelora",
                1,
                "plugin `moelora`: hook `adapt` returned a shape of [2, 64], not [2, 128]\nhint: see its log",
            ),
            _ => cell("moelora", seed, 0.3 + 0.1 * seed as f64),
        });
    }
    results.cells.push(failed("<script>alert('x')</script>", 0, "loss is NaN at stage 2, step 17"));
    results.config = serde_json::json!({"name": "several", "training": {"learning_rate": 2e-4}});
    results
}

fn fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= tables::WIDTH, "{} columns: {line}", line.chars().count());
    }
}

#[test]
fn the_terminal_report_of_one_seed() {
    let text = tables::text(&one_seed());
    fits(&text);
    insta::assert_snapshot!("terminal_one_seed", text);
}

#[test]
fn the_terminal_report_of_several_seeds_with_failures() {
    let text = tables::text(&several_seeds());
    fits(&text);
    insta::assert_snapshot!("terminal_several_seeds", text);
}

#[test]
fn many_tasks_and_long_names_still_fit() {
    let tasks: Vec<String> = (0..20).map(|task| format!("a-task-with-a-long-name-{task}")).collect();
    let mut results = Results::new("wide", tasks);
    let mut matrix = Matrix::new(20);
    matrix.set(0, 19, 12.5).expect("a percentage");
    let metrics = Metrics::of(&matrix, None);
    let scorers = BTreeMap::from([("official".to_owned(), ScorerResult { matrix, metrics })]);
    let method = "a-method-with-a-name-that-is-far-too-long-for-any-table-".repeat(3);
    results.cells = vec![CellResult { status: Status::Running, scorers, ..cell(&method, 0, 0.0) }];
    let text = tables::text(&results);
    fits(&text);
    assert!(text.contains("a-task-with-a-long-name-19") && text.contains("12.5"), "{text}");
    assert!(text.contains("running"), "{text}");
}

#[test]
fn two_scorers_are_held_against_each_other() {
    let mut results = several_seeds();
    assert!(!tables::text(&results).contains("Difference"));
    for cell in &mut results.cells {
        let Some(ScorerResult { mut matrix, .. }) = cell.scorers.get("official").cloned() else { continue };
        matrix.set(7, 0, 41.26).expect("a percentage");
        let metrics = Metrics::of(&matrix, None);
        cell.scorers.insert("coin".to_owned(), ScorerResult { matrix, metrics });
    }
    let text = tables::text(&results);
    fits(&text);
    let from = text.find("Difference").expect("a section");
    let section: Vec<&str> = text[from..].lines().take(4).collect();
    assert_eq!(section[0], "Difference, scorer coin minus official (percentage points)");
    assert!(section[1].starts_with("method") && section[1].contains("BWT/(T-1)"), "{text}");
    assert!(section[3].starts_with("lora") && section[3].contains(" 2.1±0.4"), "{text}");
    assert!(markdown::text(&results).contains("## Difference, scorer coin minus official"));
    assert!(html::page(&results).contains("<h2>Difference, scorer coin minus official"));
}

#[test]
fn results_without_any_cell_render() {
    let empty = Results::new("empty", TASKS.map(str::to_owned).to_vec());
    assert_eq!(tables::text(&empty), "");
    assert!(html::page(&empty).contains("coin-host: empty"));
    assert_eq!(csv::cells(&empty).lines().count(), 1);
}

#[test]
fn the_markdown_report() {
    insta::assert_snapshot!("markdown", markdown::text(&several_seeds()));
}

#[test]
fn the_latex_report() {
    insta::assert_snapshot!("latex", latex::text(&several_seeds()));
}

#[test]
fn the_csv_files_hold_every_cell_and_every_score() {
    let results = several_seeds();
    let cells = csv::cells(&results);
    assert!(cells.contains("moelora,coin,1,failed,,"), "{cells}");
    assert!(
        cells.contains("\"plugin `moelora`: hook `adapt` returned a shape of [2, 64], not [2, 128]\nhint"),
        "{cells}"
    );
    let matrices = csv::matrices(&results);
    assert_eq!(matrices.lines().count(), 1 + 5 * 9 * 8);
    assert!(matrices.contains("lora,coin,0,official,8,ocr-vqa,scienceqa,4000,21.26\r\n"), "{matrices}");
    assert!(matrices.contains("lora,coin,0,official,0,,gqa,4003,2.08\r\n"), "{matrices}");
}

#[test]
fn the_page_is_self_contained_and_escaped() {
    let page = html::page(&several_seeds());
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(outside), "the page contains {outside}");
    }
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    assert!(page.contains("loss is NaN at stage 2, step 17"));
    assert!(page.contains("&quot;learning_rate&quot;: 0.0002"));
    assert!(page.contains(&"9f".repeat(32)));
    // One frame per task and matrix: the score right after learning.
    assert_eq!(page.matches("class=\"learned\"").count(), 2 * TASKS.len());
    for tag in ["table", "tr", "td", "tbody", "pre", "div", "details"] {
        let open = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "<{tag}> opened and closed");
    }
}
