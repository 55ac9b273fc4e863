//! Published results through the binary: read, computed from, and set beside a run's own.

use std::fs;

use coin_host::report::results::Results;
use serde_json::Value;

use crate::runs::{reference, text};
use crate::support::Workspace;

fn seen(workspace: &Workspace, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = workspace.command(arguments).output().expect("coin-host starts");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_published_figures_come_out_of_the_shipped_files() {
    let workspace = Workspace::new();
    let (code, list, _) = seen(&workspace, &["results", "list"]);
    assert_eq!((code, list.lines().count()), (Some(0), 4));
    for (name, bwt) in [
        ("coin-llava-lora", -32.62),
        ("coin-llava-moelora", -25.91),
        ("coin-qwen-vl-lora", -16.94),
        ("coin-minigpt-v2-lora", 6.04),
    ] {
        assert!(list.contains(name), "{list}");
        let (code, stdout, stderr) = seen(&workspace, &["results", "import", name, "--json"]);
        assert_eq!(code, Some(0), "{stderr}");
        let value: Value = serde_json::from_str(&stdout).expect("JSON");
        let metrics = &value["cells"][0]["scorers"]["coin"]["metrics"];
        let found = metrics["bwt_t"].as_f64().expect("known");
        assert!((found - bwt).abs() < 0.006, "{name}: {found}");
        // Cells that nobody stored are unknown, and so is what needs them.
        assert!(
            metrics["maa"].is_null() && metrics["forgetting"].is_null() && metrics["fwt"].is_null(),
            "{metrics}"
        );
        assert!(value["cells"][0]["scorers"]["coin"]["matrix"][3][0].is_null());
    }
    let (_, stdout, _) = seen(&workspace, &["results", "import", "coin-llava-lora"]);
    assert!(stdout.contains("coin, MAA                                  -       32.97"), "{stdout}");
    assert!(stdout.contains("coin, BWT/T                           -32.62      -32.62"), "{stdout}");
}

#[test]
fn an_own_file_becomes_results_that_report_reads() {
    let own = "name = \"mine\"\ntitle = \"Ours\"\nmethod = \"lora\"\nscorer = \"official\"\ntasks = [\"gqa\", \"vizwiz\"]\n\
        [sources]\nnotes = \"lab notes\"\n[after.gqa]\ngqa = { score = 50.0, source = \"notes\" }\nvizwiz = { score = 10.0, source = \"notes\" }\n\
        [after.vizwiz]\ngqa = { score = 40.0, source = \"notes\" }\nvizwiz = { score = 60.0, source = \"notes\" }\n";
    let workspace =
        Workspace::new().file("mine.toml", own).file("bad.toml", &own.replace("[after.gqa]", "[after.gq]"));
    assert_eq!(seen(&workspace, &["results", "import", "mine.toml", "--out", "theirs"]).0, Some(0));
    let results = Results::read(&workspace.path().join("theirs")).expect("results.json");
    let metrics = &results.cells[0].scorers["official"].metrics;
    assert_eq!(
        (metrics.ap, metrics.maa, metrics.bwt_t, metrics.bwt_t1),
        (Some(50.0), Some(50.0), Some(-5.0), Some(-10.0))
    );
    let (code, report, _) = seen(&workspace, &["report", "theirs"]);
    assert!(code == Some(0) && report.contains("50.00") && report.contains("after vizwiz"), "{report}");
    assert!(!report.contains("params   stored  time   memory\n0"), "{report}");
    let (code, _, stderr) = seen(&workspace, &["results", "import", "mine.toml", "--out", "theirs"]);
    assert!(code == Some(2) && stderr.contains("is there already"), "{stderr}");
    let (code, _, stderr) = seen(&workspace, &["results", "import", "bad.toml"]);
    assert!(
        code == Some(2) && stderr.contains("`gq` is not one of `tasks`") && stderr.contains("hint:"),
        "{stderr}"
    );
    let (code, _, stderr) = seen(&workspace, &["results", "import", "coin-llava"]);
    assert!(code == Some(2) && stderr.contains("coin-llava-lora"), "{stderr}");
}

#[test]
fn a_run_stands_beside_published_results() {
    let (run, _) = reference();
    let run = run.display().to_string();
    let workspace = Workspace::new();
    let (code, stdout, stderr) = seen(&workspace, &["report", &run, "--against", "coin-llava-lora"]);
    assert_eq!(code, Some(0), "{stderr}");
    for part in [
        "coin-llava-lora",
        "lora-replay",
        "32.97 (stated)",
        "imagenet, right after",
        "theirs are scored by `coin`, ours by `official`",
        "tasks or their order differ",
        "ours by the offline judge",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let row = stdout.lines().find(|line| line.starts_with("gqa, at the end")).expect("a row");
    assert!(row.contains("36.8") && row.trim_end().ends_with('-'), "{row}");
    for format in ["markdown", "latex", "csv", "csv-matrices", "html", "json", "text"] {
        let (code, stdout, _) = seen(&workspace, &["report", &run, "--format", format]);
        assert!(
            code == Some(0) && stdout.contains("gk-offline") && stdout.contains("format-failure"),
            "{format}"
        );
    }
    let (code, stdout, _) = seen(&workspace, &["report", &run, "--only", "format-failure"]);
    assert!(
        code == Some(0) && stdout.contains("after grounding") && !stdout.contains("official"),
        "{stdout}"
    );
    let (code, _, stderr) = seen(&workspace, &["report", &run, "--only", "gk-judge"]);
    assert!(code == Some(2) && stderr.contains("it has official, gk-offline, format-failure"), "{stderr}");
    let path = workspace.path().join("page.html");
    assert_eq!(seen(&workspace, &["report", &run, "--format", "html", "--out", "page.html"]).0, Some(0));
    assert_eq!(
        fs::read(path).expect("written"),
        fs::read(format!("{run}/report.html")).expect("the run's own")
    );
}

/// The plan of every shipped configuration of CoIN, in a place without data or weights.
#[test]
fn the_configurations_of_coin_are_planned_without_data_or_weights() {
    let configs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut seen_any = 0;
    for entry in fs::read_dir(configs).expect("configs") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if !name.starts_with("coin-llava-") {
            continue;
        }
        seen_any += 1;
        // From another folder: neither weights nor data lie beside it.
        let workspace =
            Workspace::new().file(&format!("{name}.toml"), &fs::read_to_string(&path).expect("a file"));
        let file = format!("{name}.toml");
        let (code, plan, stderr) = seen(&workspace, &["compare", &file, "--dry-run"]);
        assert_eq!(code, Some(0), "{name}: {stderr}");
        let volume = name.ends_with("volume");
        for (task, steps, rows) in
            [("scienceqa", 15, 896), ("imagenet", 127, 1024), ("gqa", 188, 384), ("ocrvqa", 258, 640)]
        {
            let line =
                plan.lines().find(|line| line.trim_start().starts_with(&format!("{task} "))).expect("a line");
            assert!(line.contains(&format!("of {rows} rows")), "{name}: {line}");
            assert!(volume || line.contains(&format!(" {steps} steps")), "{name}: {line}");
        }
        for part in ["estimates", "TFLOP/s", "memory: ", "disk: ", "2 cells"] {
            assert!(plan.contains(part), "{name}, {part}: {plan}");
        }
        // 572,084 rows of all tasks, 896 at a time.
        assert!(
            volume || !plan.contains("joint") || plan.contains("639 of joint training"),
            "{name}: {plan}"
        );
        assert!(stderr.contains("nothing was checked, data neither, since this is not here"), "{stderr}");
        assert!(!workspace.path().join("runs").exists());
        let (_, fast, _) = seen(&workspace, &["compare", &file, "--dry-run", "--json", "--tflops", "600"]);
        let gpu = ["compare", &file, "--dry-run", "--json", "--set", "backbone.device=\"cuda:0\""];
        let (_, usual, _) = seen(&workspace, &gpu);
        let seconds = |text: &str| -> f64 {
            let value: Value = serde_json::from_str(text).expect("JSON");
            value["outlook"]["train_seconds"].as_f64().expect("a time")
        };
        assert!((2.0 * seconds(&fast) / seconds(&usual) - 1.0).abs() < 1e-9);
    }
    assert_eq!(seen_any, 6);
}
