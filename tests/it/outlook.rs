//! What `compare --dry-run` says that a run will take: of the data that is here, on the machine that it is asked on.

use serde_json::Value;

use crate::runs::{cache, text};
use crate::support::Workspace;

/// The fixture's model on the stand-in of one task.
fn config(backbone: &str, tasks: &[(&str, &str)]) -> String {
    let tasks: String = tasks
        .iter()
        .map(|(name, root)| {
            format!("[tasks.{name}]\ndataset = \"coin-datasets/{name}\"\nroot = \"{root}\"\n")
        })
        .collect();
    format!(
        "[backbone]\n{backbone}\n[training]\nbatch_size = 16\nthreads = 1\n{tasks}[methods.lora]\nstack = [{{ plugin = \"lora\", r = 4 }}]\n"
    )
}

fn fixture(device: &str) -> String {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/llava/model");
    config(&format!("path = \"{model}\"\ndevice = \"{device}\""), &[("gqa", "builtin:quickstart")])
}

/// Stdout and stderr of the plan.
fn plan(config: &str, more: &[&str]) -> (String, String) {
    let workspace = Workspace::new().file("run.toml", config);
    let mut command = workspace.command(&[&["compare", "run.toml", "--dry-run"], more].concat());
    let output = command.env("XDG_CACHE_HOME", cache()).output().expect("coin-host starts");
    assert!(!workspace.path().join("runs").exists());
    (text(&output.stdout), text(&output.stderr))
}

fn outlook(config: &str, more: &[&str]) -> Value {
    let (stdout, stderr) = plan(config, &[&["--json"], more].concat());
    let plan: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    plan["outlook"].clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn on_a_processor_time_is_reckoned_with_what_it_reaches() {
    let (stdout, stderr) = plan(&fixture("cpu"), &["--limit", "2"]);
    assert!(
        stdout.contains(": by operations alone, at the rate that this processor reaches now, ")
            && stdout.contains(" TFLOP/s with 1 thread (--tflops sets another; a GPU with 300 would take "),
        "{stdout}{stderr}"
    );
    // What was measured among other programs is no bound.
    assert!(stdout.contains("  time: about ") && !stdout.contains("at least"), "{stdout}");
    let seen = outlook(&fixture("cpu"), &["--limit", "2", "--jobs", "1"]);
    let rate = number(&seen["operations_per_second"]);
    // Between a hopeless machine and the one core of a dream.
    assert!(seen["rate_from"] == "measured" && rate > 1e6 && rate < 1e14, "{seen}");
    assert!((number(&seen["train_seconds"]) * rate / number(&seen["train_operations"]) - 1.0).abs() < 1e-9);
    let both = number(&seen["train_seconds"]) + number(&seen["answer_seconds"]);
    assert!((number(&seen["seconds"]) / both - 1.0).abs() < 1e-9, "{seen}");
}

#[test]
fn a_rate_that_is_given_is_said_with_its_digits() {
    let (stdout, _) = plan(&fixture("cpu"), &["--tflops", "0.08", "--jobs", "1"]);
    assert!(
        stdout.contains("one after another: by operations alone, at 0.08 TFLOP/s, as --tflops says\n"),
        "{stdout}"
    );
    let (stdout, _) = plan(&fixture("cuda:7"), &[]);
    assert!(stdout.contains("at 300 TFLOP/s, assumed of a GPU (--tflops sets another)\n"), "{stdout}");
    assert_eq!(outlook(&fixture("cuda:7"), &[])["rate_from"], "assumed");
}

#[test]
fn several_workers_are_no_faster_than_their_cores() {
    let seen = outlook(&fixture("cpu"), &["--limit", "2", "--jobs", "2"]);
    assert_eq!((&seen["workers"], &seen["threads"]), (&Value::from(2), &Value::from(1)));
    let both = number(&seen["train_seconds"]) + number(&seen["answer_seconds"]);
    let share = number(&seen["seconds"]) / both;
    assert!((0.5 - 1e-9..=1.0 + 1e-9).contains(&share), "{seen}");
    // A rate that a person names is that of the machine, whoever shares it.
    let (stdout, _) = plan(&fixture("cpu"), &["--limit", "2", "--jobs", "2", "--tflops", "1e-9"]);
    assert!(stdout.contains(" with 2 workers at a time; one after another "), "{stdout}");
    assert!(stdout.contains("in answering, of each worker = "), "{stdout}");
}

#[test]
fn records_that_are_here_are_counted() {
    let (stdout, stderr) = plan(&fixture("cpu"), &["--set", "training.epochs=1"]);
    assert!(
        stdout.contains("estimates, from the records that are here and the model's shape:"),
        "{stdout}{stderr}"
    );
    // The dataset keeps 138 of the 2,560 for validation; batches of 16.
    assert!(stdout.contains("152 steps of 16 rows (2422 training items, 300 test items)"), "{stdout}");
    let (stdout, _) = plan(&fixture("cpu"), &["--limit", "2"]);
    assert!(stdout.contains("2 steps of 16 rows (2422 training items, 2 test items)"), "{stdout}");
}

#[test]
fn without_weights_the_data_that_is_here_is_counted_and_the_rest_taken_from_the_release() {
    let backbone = "path = \"weights\"\nshape = \"llava-1.5-7b\"\ndevice = \"cuda:0\"";
    let tasks = [("gqa", "builtin:quickstart"), ("vizwiz", "data"), ("ocrvqa", "data")];
    let (stdout, stderr) = plan(&config(backbone, &tasks), &[]);
    let header = "estimates, from the records that are here, CoIN's sizes of vizwiz, ocrvqa, whose data is not here, and the model's shape:";
    assert!(stdout.contains(header), "{stdout}{stderr}");
    for sizes in
        ["(2422 training items, 300 ", "(20000 training items, 4319 ", "(165000 training items, 100000 "]
    {
        assert!(stdout.contains(sizes), "{sizes}: {stdout}");
    }
    assert!(stderr.contains("nothing was checked, data neither, since this is not here"), "{stderr}");
    let seen = outlook(&config(backbone, &tasks), &[]);
    let sources = |task: usize| seen["tasks"][task]["sizes_from"].as_str().expect("a word");
    assert_eq!([0, 1, 2].map(sources), ["data", "release", "release"]);
    let (stdout, _) = plan(&config(backbone, &tasks[1..]), &[]);
    assert!(stdout.contains("estimates, from CoIN's sizes, the data not being here, and"), "{stdout}");
}

/// Standard output, standard error and exit code of the plan, in a folder that holds `data/wrong.json` and a question.
fn planned(config: &str, more: &[&str], hang: &str) -> (String, String, Option<i32>) {
    let workspace = Workspace::new()
        .file("run.toml", config)
        .file("data/wrong.json", "{}")
        .file("data/questions.txt", "what\ta\n");
    let mut command = workspace.command(&[&["compare", "run.toml", "--dry-run"], more].concat());
    let command = command.env("XDG_CACHE_HOME", cache()).env("COIN_HOST_HANG_SECONDS", hang);
    let output = command.output().expect("coin-host starts");
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn data_that_is_here_and_cannot_be_opened_is_told_with_the_reason() {
    let backbone = "path = \"weights\"\nshape = \"llava-1.5-7b\"\ndevice = \"cuda:0\"";
    let broken = config(backbone, &[("gqa", "builtin:quickstart"), ("vizwiz", "data"), ("ocrvqa", "none")]);
    let (stdout, stderr, code) = planned(&broken, &[], "900");
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let header = "CoIN's sizes of ocrvqa, whose data is not here, CoIN's sizes of vizwiz, whose data cannot be opened, and the";
    assert!(stdout.contains(header), "{stdout}{stderr}");
    let told = stdout.lines().find(|line| line.starts_with("vizwiz cannot be opened: ")).expect("a reason");
    assert!(told.contains("VizWiz"), "{told}");
    let (stdout, stderr, _) = planned(&broken, &["--json"], "900");
    let seen: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    let why = seen["cannot_be_opened"]["vizwiz"].as_str().expect("a reason");
    assert!(why.contains("VizWiz") && !why.starts_with("task "), "{why}");
    assert_eq!(seen["cannot_be_opened"].as_object().map(serde_json::Map::len), Some(1), "{stdout}");
    let tasks = &seen["outlook"]["tasks"];
    assert_eq!([0, 1, 2].map(|task| tasks[task]["is_here"].as_bool()), [Some(true), Some(true), Some(false)]);
    assert!(!seen["absent"].to_string().contains("data"), "{stdout}");
}

/// One that has no weights to check against too, and nobody waits for it twice.
#[test]
fn a_plugin_that_is_lost_while_it_counts_is_told() {
    let stress = |fault: &str| {
        let task = |name: &str| {
            format!(
                "[tasks.{name}]\ndataset = \"stress/questions\"\nroot = \"data\"\nmetric = \"exact-match\"\nconfig = {{ fault = \"{fault}\" }}\n"
            )
        };
        let rest = config("path = \"weights\"\nshape = \"llava-1.5-7b\"", &[]);
        format!("{}{}{rest}", task("first"), task("second"))
    };
    for (fault, hang, how) in [
        ("count-crash", "900", "the worker crashed (signal 11, segmentation fault) in len of plugin stress"),
        // Where even a healthy plugin takes as long as that, it says the same.
        ("count-hang", "5", "no answer for 5 s"),
    ] {
        let (stdout, stderr, code) = planned(&stress(fault), &[], hang);
        assert_eq!(code, Some(3), "{stdout}{stderr}");
        assert!(stderr.contains(&format!("task first: {how}")), "{stderr}");
        assert!(stdout.contains(&format!("first cannot be opened: {how}")), "{stdout}");
        let second = "second cannot be opened: plugin stress is not asked again after task first\n";
        assert!(stdout.contains(second), "{stdout}");
        let (stdout, _, _) = planned(&stress(fault), &["--json"], hang);
        let seen: Value = serde_json::from_str(&stdout).expect("JSON");
        let told = seen["refusals"][0]["message"].as_str().expect("a refusal");
        assert!(told.contains(how) && seen["cannot_be_opened"]["first"].is_string(), "{stdout}");
    }
}

/// No estimate of the tiny backbone's time is made, but its steps and answers are known.
#[test]
fn the_plan_of_a_run_by_epochs_says_how_many_steps_that_is() {
    let tiny = config("path = \"builtin:tiny\"", &[("gqa", "builtin:quickstart")]);
    let (stdout, stderr) = plan(&tiny, &["--set", "training.epochs=0.5", "--set", "evaluation.limit=7"]);
    // 1 cell and zero-shot.
    assert!(stdout.contains("work: 76 optimizer steps, about 14 answers"), "{stdout}{stderr}");
}
