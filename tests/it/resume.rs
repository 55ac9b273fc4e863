//! A comparison that is killed goes on where it was, and ends as if nothing had happened.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use coin_host::report::results::{Results, Status};
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::Value;

use crate::runs::{
    METHODS, SMALL, assert_same, compare, copy, finish, metrics, reference, succeed, text, workspace,
};
use crate::support::{Workspace, settings, shown};

/// Starts a comparison in a process group of its own.
pub(crate) fn start(workspace: &Workspace, arguments: &[&str]) -> Child {
    let mut command = compare(workspace, arguments);
    command.env("COIN_HOST_CHECKPOINT_SECONDS", "0").process_group(0);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("coin-host starts")
}

/// Ends all processes of a comparison at once.
pub(crate) fn kill_group(mut child: Child) {
    let group = format!("-{}", child.id());
    // A group that has just ended by itself is no failure of the test.
    let _ended = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    child.wait().expect("it ends");
}

/// Waits until something holds, or until the comparison ends by itself.
pub(crate) fn wait_until(child: &mut Child, what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() && child.try_wait().expect("a child").is_none() {
        assert!(since.elapsed() < Duration::from_secs(120), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(3));
    }
}

fn checkpoint(out: &Path, method: &str) -> PathBuf {
    out.join("cells").join(method).join("written/0/checkpoint.safetensors")
}

/// Stage and step of a cell's checkpoint; no step between stages. None without a checkpoint.
pub(crate) fn position(out: &Path, method: &str) -> Option<(u64, Option<u64>)> {
    let bytes = fs::read(checkpoint(out, method)).ok()?;
    let tensors = SafeTensors::deserialize(&bytes).expect("a checkpoint is never half written");
    let state: Value =
        serde_json::from_slice(tensors.tensor("state.json").expect("state").data()).expect("JSON");
    Some((state["stage"].as_u64().expect("a stage"), state["running"]["step"].as_u64()))
}

fn done(out: &Path, method: &str) -> bool {
    let Ok(results) = Results::read(out) else { return false };
    results.cells.iter().any(|cell| cell.method == method && cell.status == Status::Done)
}

#[test]
fn killed_at_any_moment() {
    let workspace = workspace(SMALL);
    let out = workspace.path().join("out");
    let moments: [(&str, u64, &dyn Fn() -> bool); 5] = [
        ("the run's folder", 0, &|| out.join("manifest.json").is_file()),
        ("the first checkpoint", 40, &|| METHODS.iter().any(|method| position(&out, method).is_some())),
        ("the first answers", 5, &|| {
            METHODS.iter().any(|m| checkpoint(&out, m).with_file_name("predictions").is_dir())
        }),
        ("a finished cell", 90, &|| done(&out, "lora") || done(&out, "moelora")),
        ("joint training", 60, &|| out.join("references/joint/0/checkpoint.safetensors").is_file()),
    ];
    let mut finished = Vec::new();
    for (number, (moment, later, holds)) in moments.into_iter().enumerate() {
        // Another number of workers each time.
        let mut child = start(&workspace, &["--jobs", if number % 2 == 0 { "2" } else { "1" }]);
        wait_until(&mut child, moment, holds);
        std::thread::sleep(Duration::from_millis(later));
        kill_group(child);
        for method in METHODS {
            if done(&out, method) && !finished.iter().any(|(known, _)| *known == method) {
                finished.push((method, written(&out, method)));
            }
        }
    }
    assert!(!finished.is_empty(), "a cell was finished before the last interruption");
    succeed(compare(&workspace, &[]));
    for (method, when) in finished {
        assert_eq!(written(&out, method), when, "{method} was finished and ran again");
    }
    for method in METHODS.iter().chain(&["joint"]) {
        assert_same(&reference().0, &out, method);
    }
}

/// When a cell's files were last written.
fn written(out: &Path, method: &str) -> Vec<std::time::SystemTime> {
    let modified =
        |path: PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).expect("a file");
    let checkpoint = checkpoint(out, method);
    vec![modified(checkpoint.clone()), modified(checkpoint.with_file_name("metrics.jsonl"))]
}

#[test]
fn a_run_that_is_asked_to_stop_says_how_to_go_on() {
    let workspace = workspace(SMALL);
    let out = workspace.path().join("out");
    let selection = ["--methods", "lora", "--set", "references=[]"];
    let measured = || {
        let cell = Results::read(&out).ok()?.cells.pop()?;
        Some(cell.scorers.get("official")?.matrix.rows[0].iter().all(Option::is_some))
    };
    let mut command = compare(&workspace, &selection);
    command.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("coin-host starts");
    wait_until(&mut child, "the first row", || measured() == Some(true));
    // The whole group, as a terminal does on Ctrl-C: workers hear of it too.
    let group = format!("-{}", child.id());
    let sent = Command::new("kill").args(["-INT", "--", &group]).status().expect("kill starts");
    assert!(sent.success());
    let output = child.wait_with_output().expect("it ends");
    let notes = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{notes}");
    let last = notes.lines().last().unwrap_or_default();
    assert_eq!(last, "stopped; 1 of 2 stages kept; the same command goes on", "{notes}");
    assert!(!notes.contains("failed"), "{notes}");
    let output = finish(compare(&workspace, &selection));
    let notes = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{notes}");
    assert!(notes.starts_with("going on in out: 1 of 2 stages are there\n"), "{notes}");
    assert_eq!(metrics(&out, "lora"), metrics(&reference().0, "lora"));
}

#[test]
fn results_show_a_running_cell() {
    let workspace = workspace(SMALL);
    let out = workspace.path().join("out");
    let selection = ["--methods", "lora", "--set", "references=[]"];
    let row = || {
        let cell = Results::read(&out).ok()?.cells.pop()?;
        Some((cell.status, cell.scorers.get("official")?.matrix.rows.clone()))
    };
    let mut child = start(&workspace, &selection);
    wait_until(&mut child, "the first row", || row().is_some());
    kill_group(child);
    let expected =
        Results::read(&reference().0).expect("results.json").cells[0].scorers["official"].matrix.rows.clone();
    assert_eq!(row(), Some((Status::Running, vec![expected[0].clone(), vec![None, None]])));
    succeed(compare(&workspace, &selection));
    assert_eq!(row(), Some((Status::Done, expected)));
}

#[test]
fn killed_inside_a_stage() {
    let workspace = workspace(SMALL);
    let out = workspace.path().join("out");
    let selection = ["--methods", "lora-replay,lora-ewc", "--set", "references=[]", "--jobs", "1"];
    // After the sixth step of a stage, EWC measures its Fisher information.
    let moments =
        [("lora-replay", 0, 1..6), ("lora-replay", 1, 1..6), ("lora-ewc", 0, 6..7), ("lora-ewc", 1, 1..6)];
    for (method, stage, steps) in moments {
        let before = position(&out, method);
        let mut child = start(&workspace, &selection);
        wait_until(&mut child, "a step", || {
            let now = position(&out, method);
            now != before
                && now.is_some_and(|(at, step)| at > stage || at == stage && step >= Some(steps.start))
        });
        kill_group(child);
        let caught = position(&out, method);
        let inside =
            |(at, step): (u64, Option<u64>)| at == stage && step.is_some_and(|step| steps.contains(&step));
        assert!(
            caught.is_some_and(inside),
            "{method} was not caught in stage {stage}, step {steps:?}: {caught:?}"
        );
    }
    succeed(compare(&workspace, &selection));
    for method in ["lora-ewc", "lora-replay"] {
        assert_eq!(metrics(&out, method), metrics(&reference().0, method));
    }
}

#[test]
fn killed_under_a_strict_protocol() {
    let workspace = workspace(SMALL);
    let out = workspace.path().join("out");
    let selection = ["--methods", "lora-ewc", "--set", "references=[]", "--jobs", "1", "--strict-protocol"];
    let mut child = start(&workspace, &selection);
    let reached = || position(&out, "lora-ewc").is_some_and(|(stage, step)| stage == 1 && step >= Some(1));
    wait_until(&mut child, "a step of the second process", reached);
    kill_group(child);
    assert!(!done(&out, "lora-ewc"), "it was caught before its end");
    succeed(compare(&workspace, &selection));
    assert_eq!(metrics(&out, "lora-ewc"), metrics(&reference().0, "lora-ewc"));
    let handovers = Results::read(&out).expect("results.json").cells.remove(0).handovers;
    assert_eq!(handovers.len(), 1, "{handovers:?}");
    assert_ne!(handovers[0].alike, Some(false));
}

#[test]
fn killed_in_a_phase_with_samples_of_its_own() {
    let phased =
        "[methods.phased]\nstack = [{ plugin = \"stress\", fault = \"phases\", hook = \"before_stage\" }]\n";
    let selection = ["--methods", "phased", "--set", "references=[]", "--jobs", "1"];
    let whole = workspace(&format!("{SMALL}\n{phased}"));
    succeed(compare(&whole, &selection));
    let workspace = workspace(&format!("{SMALL}\n{phased}"));
    let out = workspace.path().join("out");
    for (stage, step) in [(0, 1), (1, 2)] {
        let mut child = start(&workspace, &selection);
        let reached = || {
            position(&out, "phased").is_some_and(|(at, now)| at > stage || at == stage && now >= Some(step))
        };
        wait_until(&mut child, "a step", reached);
        kill_group(child);
        assert!(!done(&out, "phased"), "it was caught before its end");
    }
    succeed(compare(&workspace, &selection));
    assert_same(&whole.path().join("out"), &out, "phased");
}

#[test]
fn workers_end_when_their_parent_is_killed() {
    let workspace = workspace(SMALL);
    let out = workspace.path().join("out");
    let selection = ["--methods", "lora", "--set", "references=[]"];
    let mut child = start(&workspace, &selection);
    wait_until(&mut child, "a step", || position(&out, "lora").is_some());
    // The parent alone, as the kernel does it when memory runs out; its worker is in the middle of a step.
    child.kill().expect("killed");
    child.wait().expect("it ends");
    succeed(compare(&workspace, &selection));
    let without = |mut figures: std::collections::BTreeMap<String, Vec<u8>>| {
        figures.remove("scores");
        figures
    };
    let figures = |out| without(crate::runs::figures(out, "lora"));
    assert!(figures(&out) == figures(&reference().0), "two processes worked on one cell");
}

/// The reference run with one cell not yet gathered.
fn unfinished(method: &str) -> Workspace {
    let workspace = workspace(SMALL);
    let out = workspace.path().join("out");
    copy(&reference().0, &out);
    let mut results = Results::read(&out).expect("results.json");
    for cell in &mut results.cells {
        if cell.method == method {
            cell.status = Status::Pending;
            cell.scorers.clear();
        }
    }
    results.write(&out.join("results.json")).expect("written");
    workspace
}

#[test]
fn a_damaged_checkpoint_is_named_and_nothing_is_lost() {
    let workspace = unfinished("lora-ewc");
    let out = workspace.path().join("out");
    let path = checkpoint(&out, "lora-ewc");
    let sound = fs::read(&path).expect("a checkpoint");
    let tensors = SafeTensors::deserialize(&sound).expect("sound");
    let without = |part: &str| -> Vec<u8> {
        let name = tensors.names().into_iter().find(|name| name.starts_with(part)).expect("such a tensor");
        let left = tensors.tensors().into_iter().filter(|(known, _)| known != name);
        safetensors::serialize(left, None).expect("serialized")
    };
    let more = {
        let extra = TensorView::new(safetensors::Dtype::U8, vec![1], &[0]).expect("a tensor");
        let all = tensors.tensors().into_iter().chain([(String::from("parameter.stray"), extra)]);
        safetensors::serialize(all, None).expect("serialized")
    };
    for (damaged, part) in [
        (sound[..sound.len() / 2].to_vec(), ""),
        (without("parameter."), "lacks tensor `parameter."),
        (without("strategy."), "lacks tensor `strategy."),
        (without("state.json"), "has no state.json"),
        (more, "`parameter.stray`"),
    ] {
        fs::write(&path, &damaged).expect("damaged");
        let before = written(&out, "lora");
        let output = finish(compare(&workspace, &[]));
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let results = Results::read(&out).expect("results.json");
        for cell in &results.cells {
            let failed = cell.method == "lora-ewc";
            assert_eq!(cell.status, if failed { Status::Failed } else { Status::Done }, "{}", cell.method);
            let message = cell.error.clone().unwrap_or_default();
            let named = message.contains("checkpoint.safetensors") && message.contains(part);
            assert!(named == failed, "{part}: {message}");
        }
        assert_eq!(written(&out, "lora"), before);
        assert!(fs::read(&path).expect("kept") == damaged, "the file is left for the user to look at");
    }
    fs::write(&path, &sound).expect("mended");
    succeed(compare(&workspace, &[]));
    for method in METHODS {
        assert_same(&reference().0, &out, method);
    }
}

#[test]
fn another_configuration_in_the_same_folder_is_refused() {
    let workspace = unfinished("lora");
    let results = || fs::read(workspace.path().join("out/results.json")).expect("results.json");
    let before = results();
    let changed = ["--set", "training.learning_rate=1e-3", "--set", "methods.lora-ewc.stack.ewc.lambda=5"];
    let output = finish(compare(&workspace, &changed));
    settings().bind(|| {
        insta::assert_snapshot!(shown(output.status.code(), &text(&output.stdout), &text(&output.stderr)));
    });
    assert!(before == results(), "a refused run changes nothing");
}

#[test]
fn another_plugin_backbone_or_data_in_the_same_folder_is_refused() {
    let workspace = unfinished("lora");
    let path = workspace.path().join("out/manifest.json");
    let sound: Value = serde_json::from_slice(&fs::read(&path).expect("manifest.json")).expect("JSON");
    let mut places = vec![
        (String::from("/plugins/0/1/0/sha256"), String::from("plugin `lora`")),
        (String::from("/datasets/0/sha256"), String::from("plugin `coin-datasets`")),
    ];
    for (number, content) in sound["content"].as_array().expect("a list").iter().enumerate() {
        places.push((
            format!("/content/{number}/sha256"),
            content["name"].as_str().expect("a name").to_string(),
        ));
    }
    assert_eq!(places.len(), 2 + 1 + 2 * 3, "{places:?}");
    let results = || fs::read(workspace.path().join("out/results.json")).expect("results.json");
    let before = results();
    // One of each kind: the comparison starts a process for each.
    for (place, name) in places.iter().take(4) {
        let mut other = sound.clone();
        let hash = other.pointer_mut(place).expect("a hash");
        let now = std::mem::replace(hash, Value::from("0".repeat(64)));
        fs::write(&path, serde_json::to_vec(&other).expect("JSON")).expect("written");
        let output = finish(compare(&workspace, &[]));
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        for part in [name.as_str(), &"0".repeat(64), now.as_str().expect("a hash"), "hint: "] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
    }
    assert!(before == results(), "a refused run changes nothing");
}

#[test]
fn a_run_grows_and_shows_the_part_asked_for() {
    let workspace = unfinished("none");
    let out = workspace.path().join("out");
    let before = written(&out, "lora");
    let output = finish(compare(&workspace, &["--methods", "moelora"]));
    let notes = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{notes}");
    assert!(
        notes.contains("the cell is there, nothing to do") && notes.contains("with 3 more cells"),
        "{notes}"
    );
    assert!(!text(&output.stdout).contains("lora-ewc"), "{}", text(&output.stdout));
    assert_eq!(Results::read(&out).expect("results.json").methods(), METHODS);

    let output =
        finish(compare(&workspace, &["--methods", "lora", "--seeds", "0,1", "--set", "references=[]"]));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("going on in out: 2 of 4 stages are there"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(written(&out, "lora"), before, "a finished cell ran again");
    let results = Results::read(&out).expect("results.json");
    assert_eq!(results.cells.len(), 5);
    assert!(results.cells.iter().all(|cell| cell.status == Status::Done));
    assert_eq!(results.config["seeds"], serde_json::json!([0, 1]));
    for method in METHODS.iter().chain(&["joint"]) {
        assert_same(&reference().0, &out, method);
    }
    let mut again = workspace.command(&["compare", "out/config.toml", "--seeds", "0", "--out", "out"]);
    again.env("XDG_CACHE_HOME", crate::runs::cache());
    let output = finish(again);
    assert!(
        text(&output.stderr).starts_with("all 4 cells are there, nothing to do\n"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_changed_plugin_is_trained_again() {
    let workspace = unfinished("moelora");
    let out = workspace.path().join("out");
    let path = out.join("manifest.json");
    let change = || {
        let mut manifest: Value =
            serde_json::from_slice(&fs::read(&path).expect("manifest.json")).expect("JSON");
        let methods = manifest["plugins"].as_array_mut().expect("a list");
        let method = methods.iter_mut().find(|method| method[0] == "moelora").expect("moelora");
        method[1][0]["sha256"] = "0".repeat(64).into();
        fs::write(&path, serde_json::to_vec(&manifest).expect("JSON")).expect("written");
    };
    let (lora, moelora) = (written(&out, "lora"), written(&out, "moelora"));
    change();
    let output = finish(compare(&workspace, &[]));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("method moelora is trained again"), "{}", text(&output.stderr));
    assert_eq!(written(&out, "lora"), lora);
    assert_ne!(written(&out, "moelora"), moelora);
    assert_same(&reference().0, &out, "moelora");

    change();
    let output = finish(compare(&workspace, &[]));
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("plugin `moelora`") && message.contains("`--redo moelora`"), "{message}");
    succeed(compare(&workspace, &["--methods", "moelora", "--redo", "moelora"]));
    assert_eq!(written(&out, "lora"), lora);
    for method in METHODS.iter().chain(&["joint"]) {
        assert_same(&reference().0, &out, method);
    }
    let output = finish(compare(&workspace, &["--redo", "moelore"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("did you mean `moelora`?"), "{}", text(&output.stderr));
}

#[test]
fn a_folder_with_something_else_in_it_is_refused() {
    let workspace = workspace(SMALL).file("out/notes.txt", "mine");
    let output = finish(compare(&workspace, &[]));
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("out is not empty and holds no run\nhint: "), "{message}");
    assert_eq!(fs::read_dir(workspace.path().join("out")).expect("a folder").count(), 1);
    fs::remove_dir_all(workspace.path().join("out")).expect("removed");
    fs::write(workspace.path().join("out"), "a file").expect("written");
    let output = finish(compare(&workspace, &[]));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("out is a file, not the folder of a run\nhint: "));
}

#[test]
fn a_folder_in_use_is_refused() {
    let workspace = unfinished("lora");
    let lock = fs::File::create(workspace.path().join("out/.lock")).expect("the lock");
    lock.lock().expect("locked");
    let output = finish(compare(&workspace, &[]));
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("out is in use by another comparison") && message.contains("hint: "),
        "{message}"
    );
}

#[test]
fn a_fault_in_load_is_named_and_fails_its_own_cell() {
    let stress = |fault: &str| {
        format!(
            "[methods.{fault}]\nstack = [{{ plugin = \"stress\", fault = \"{fault}\", hook = \"load\" }}]\n"
        )
    };
    let workspace =
        workspace(&format!("{SMALL}\n{}{}{}", stress("panic"), stress("leak"), stress("segfault")));
    let out = workspace.path().join("out");
    let faults = ["panic", "leak", "segfault"];
    let selection = ["--methods", "panic,leak,segfault,lora", "--set", "references=[]", "--jobs", "2"];
    for fault in faults {
        // Cells that are under way already meet `load` with the next start: each is stopped at its own first checkpoint.
        let mut child = start(&workspace, &["--methods", fault, "--set", "references=[]"]);
        wait_until(&mut child, "a checkpoint", || position(&out, fault).is_some());
        kill_group(child);
    }
    let output = finish(compare(&workspace, &selection));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let results = Results::read(&out).expect("results.json");
    let cell = |method: &str| results.cells.iter().find(|cell| cell.method == method).expect("a cell");
    assert_eq!(cell("lora").status, Status::Done);
    for (fault, part) in [
        ("panic", "plugin stress 0.1.0, load: panicked at "),
        ("leak", "plugin stress 0.1.0, load: it kept 1 tensor handles"),
        ("segfault", "in load of plugin stress 0.1.0"),
    ] {
        let error = cell(fault).error.clone().unwrap_or_default();
        assert_eq!(cell(fault).status, Status::Failed, "{fault}: {error}");
        assert!(error.contains(part), "{fault}: {error}");
    }
}
