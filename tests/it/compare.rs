//! A whole comparison: what it writes, what it prints, and that each method does what it says.

use std::fs;

use coin_host::report::results::{Results, SCHEMA, Status};
use serde_json::Value;

use crate::runs::{METHODS, SMALL, compare, metrics, reference, succeed, workspace};

#[test]
fn results_are_complete() {
    let (out, _) = reference();
    let results = Results::read(out).expect("results.json");
    assert_eq!(results.schema, SCHEMA);
    assert_eq!(results.tasks, ["imagenet", "grounding"]);
    assert_eq!(results.methods(), METHODS);
    assert_eq!(results.config["training"]["steps"], 6);
    for cell in &results.cells {
        assert_eq!((cell.status, cell.error.as_deref()), (Status::Done, None), "{}", cell.method);
        assert_eq!(cell.tasks, results.tasks);
        let official = &cell.scorers["official"];
        let full = |row: &Vec<Option<f64>>| row.len() == 2 && row.iter().all(Option::is_some);
        assert!(official.matrix.rows.len() == 2 && official.matrix.rows.iter().all(full), "{}", cell.method);
        assert!(full(&official.matrix.zero_shot), "{}", cell.method);
        assert_eq!(official.matrix.items, [6, 6]);
        let figures = serde_json::to_value(&official.metrics).expect("JSON");
        let missing = |(name, value): (&String, &Value)| value.is_null().then(|| name.clone());
        let missing: Vec<_> = figures.as_object().expect("an object").iter().filter_map(missing).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", cell.method);
        let cost = &cell.cost;
        assert!(cost.trainable_parameters > 0 && cost.stored_bytes > 0, "{}: {cost:?}", cell.method);
        assert!(cost.train_seconds > 0.0 && cost.eval_seconds > 0.0, "{}: {cost:?}", cell.method);
        assert!(cost.peak_memory_bytes > 1 << 20, "{}: {cost:?}", cell.method);
        let plugins: Vec<_> = cell.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        assert_eq!(plugins.join("-"), if cell.method == "moelora" { "moelora" } else { &cell.method });
        assert!(cell.plugins.iter().all(|plugin| plugin.sha256.len() == 64), "{:?}", cell.plugins);
    }
    // Cells of one worker share what was seen; the first of each has to see.
    assert!(results.cells.iter().any(|cell| cell.cost.picture_seconds > 0.0));
    let stored = |method: &str| {
        results.cells.iter().find(|cell| cell.method == method).map_or(0, |cell| cell.cost.stored_bytes)
    };
    assert!(stored("lora-ewc") > stored("lora"), "anchor and Fisher information are stored");
    let official = &results.references["official"];
    for row in [&official.blind, &official.zero_shot, &official.joint[0].scores] {
        assert!(row.len() == 2 && row.iter().all(Option::is_some), "{row:?}");
    }
}

#[test]
fn every_cell_leaves_its_answers_metrics_and_tensors() {
    let (out, _) = reference();
    for method in METHODS {
        let folder = out.join("cells").join(method).join("written/0");
        for stage in ["0", "1"] {
            for task in ["imagenet", "grounding"] {
                let path = folder.join("predictions").join(stage).join(format!("{task}.jsonl"));
                let text = fs::read_to_string(&path).expect("answers");
                let answers: Vec<Value> =
                    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
                assert_eq!(answers.len(), 6, "{}", path.display());
                for key in ["question_id", "prompt", "text", "scores"] {
                    assert!(answers[0].get(key).is_some(), "{}: {key}", path.display());
                }
            }
            assert!(folder.join("stages").join(stage).join("parameters.safetensors").is_file());
        }
        let lines = metrics(out, method);
        assert_eq!(lines.iter().filter(|line| line.get("step").is_some()).count(), 12, "{method}");
        assert!(lines.iter().all(|line| line["task_loss"].as_f64().is_some_and(f64::is_finite)), "{method}");
    }
    for file in ["references/zero-shot/predictions/grounding.jsonl", "references/joint/0/metrics.jsonl"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let page = fs::read_to_string(out.join("report.html")).expect("report.html");
    assert!(METHODS.iter().all(|method| page.contains(method)) && page.contains("</html>"));
    let results = Results::read(out).expect("results.json");
    let environment = results.environment.expect("what it ran on");
    assert_eq!(environment.device, "cpu");
    for (name, value) in environment.rows() {
        assert!(page.contains(&format!("<td>{name}</td>")) && !value.is_empty(), "{name}: {value}");
    }
    let manifest = fs::read_to_string(out.join("manifest.json")).expect("manifest.json");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(manifest["environment"], serde_json::to_value(&environment).expect("JSON"));
    for part in ["<th>intransigence</th>", "<th>plasticity</th>", "<dt>MAA</dt>"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(
        page.contains("<th>capabilities</th>") && page.contains("<th>api</th>"),
        "where plugins come from"
    );
}

#[test]
fn a_table_is_printed() {
    let (_, printed) = reference();
    for method in METHODS.iter().chain(&["joint", "zero-shot", "blind"]) {
        assert!(printed.lines().any(|line| line.starts_with(method)), "{method}:\n{printed}");
    }
}

#[test]
fn json_is_results_json() {
    let workspace = workspace(SMALL);
    let one = ["--methods", "lora", "--set", "training.steps=1", "--set", "references=[]", "--json"];
    let printed: Value = serde_json::from_str(&succeed(compare(&workspace, &one))).expect("JSON on stdout");
    let written = fs::read_to_string(workspace.path().join("out/results.json")).expect("results.json");
    assert_eq!(printed, serde_json::from_str::<Value>(&written).expect("JSON"));
    assert_eq!(printed["cells"][0]["status"], "done");
}

#[test]
fn flips_are_counted_and_change_no_figure() {
    let broken =
        "[methods.broken]\nstack = [{ plugin = \"stress\", fault = \"wrong\", hook = \"merged_delta\" }]\n";
    let workspace = workspace(&format!("{SMALL}\n{broken}"));
    let counted = ["--methods", "lora,moelora,broken", "--set", "evaluation.count_flips=3"];
    let printed = succeed(compare(&workspace, &[&counted[..], &["--set", "references=[]"]].concat()));
    let out = workspace.path().join("out");
    let results = Results::read(&out).expect("results.json");
    let flips = |number: usize| results.cells[number].flips.expect("counted");
    // Three items, two stages, two tasks.
    assert_eq!(flips(0).compared, 12);
    assert!(flips(0).flipped <= 1, "in float32 folding rounds in the last bits only: {:?}", flips(0));
    assert_eq!(flips(1).compared, 12, "what cannot be folded is answered in batches too");
    assert!(flips(1).flipped <= 1, "{:?}", flips(1));
    assert_eq!((flips(2).compared, flips(2).flipped), (12, 12), "what is folded is not what was trained");
    let expected = Results::read(&reference().0).expect("results.json");
    for number in [0, 1] {
        let rows = |results: &Results| results.cells[number].scorers["official"].matrix.rows.clone();
        assert_eq!(rows(&results), rows(&expected));
        assert_eq!(expected.cells[number].flips, None);
    }
    assert!(printed.contains("flips: broken, order written, seed 0: batches and folded weights changed 12 of 12 (100.0%) answers"), "{printed}");
    let page = fs::read_to_string(out.join("report.html")).expect("report.html");
    assert!(page.contains("12 of 12"), "{page}");
    // Strictly nothing is folded, so what is folded wrongly does no harm, and there is nothing to count.
    let answers = |out: &str| {
        let path = format!("{out}/cells/broken/written/0/predictions/1/imagenet.jsonl");
        let text = fs::read_to_string(workspace.path().join(path)).expect("answers");
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["text"].clone())
            .collect::<Vec<_>>()
    };
    let mut command = workspace.command(&["compare", "run.toml", "--out", "strict", "--strict"]);
    command.args(["--methods", "broken", "--set", "evaluation.count_flips=3", "--set", "references=[]"]);
    succeed({
        command.env("XDG_CACHE_HOME", crate::runs::cache());
        command
    });
    let strict = Results::read(&workspace.path().join("strict")).expect("results.json");
    assert_eq!(strict.cells[0].flips.map(|flips| (flips.compared, flips.flipped)), Some((0, 0)));
    let (folded, unfolded) = (answers("out"), answers("strict"));
    assert!(
        folded[..3].iter().zip(&unfolded[..3]).all(|(one, other)| one != other),
        "{folded:?} {unfolded:?}"
    );
}

#[test]
fn replay_and_ewc_work_from_the_second_stage_on() {
    let (out, _) = reference();
    for line in metrics(out, "lora-replay") {
        let fresh = if line["stage"] == 0 { 8 } else { 5 };
        assert_eq!(line["fresh_rows"], fresh, "{line}");
    }
    let lines = metrics(out, "lora-ewc");
    for line in &lines {
        assert_eq!(line.get("term.ewc").is_some(), line["stage"] == 1, "{line}");
    }
    let last = lines.last().expect("lines");
    assert!(
        last["term.ewc"].as_f64().is_some_and(|term| term > 0.0),
        "weights move, so the penalty grows: {last}"
    );
    let losses = |method: &str| -> Vec<Value> {
        metrics(out, method).into_iter().map(|line| line["task_loss"].clone()).collect()
    };
    let (plain, replay, ewc) = (losses("lora"), losses("lora-replay"), losses("lora-ewc"));
    assert!(plain[..6] == replay[..6] && plain[..6] == ewc[..6], "neither has an effect on the first stage");
    assert!(plain[6..] != replay[6..] && plain[6..] != ewc[6..], "both have one on the second");
}
