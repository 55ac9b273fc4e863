//! Small comparisons through the binary: their configuration, where they run, what they leave.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use coin_host::quickstart;
use coin_host::report::results::Results;

use crate::support::Workspace;

/// Two tasks and the four methods, as small as they can be told apart.
pub(crate) const SMALL: &str = "\
name = \"small\"
references = [\"joint\"]

[backbone]
path = \"builtin:tiny\"
device = \"cpu\"

[training]
batch_size = 8
steps = 6
learning_rate = 3e-3

[evaluation]
batch_size = 16
limit = 6
max_new_tokens = 8

[protocol]
replay_samples_per_task = 12

[tasks.imagenet]
dataset = \"coin-datasets/imagenet\"
root = \"builtin:quickstart\"

[tasks.grounding]
dataset = \"coin-datasets/grounding\"
root = \"builtin:quickstart\"

[methods.lora]
stack = [{ plugin = \"lora\", r = 4 }]

[methods.moelora]
stack = [{ plugin = \"moelora\", r = 4, expert_num = 2 }]

[methods.lora-replay]
stack = [{ plugin = \"lora\", r = 4 }, { plugin = \"replay\", rows_per_batch = 3 }]

[methods.lora-ewc]
stack = [{ plugin = \"lora\", r = 4 }, { plugin = \"ewc\", lambda = 2000.0, samples = 16 }]
";

pub(crate) const METHODS: [&str; 4] = ["lora", "moelora", "lora-replay", "lora-ewc"];

/// `$XDG_CACHE_HOME` of every run, with the quickstart's data in it, made once.
pub(crate) fn cache() -> &'static Path {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    CACHE.get_or_init(|| {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
        quickstart::generate(&data_in(&cache)).expect("the quickstart's files");
        cache
    })
}

/// The quickstart's data.
pub(crate) fn data() -> PathBuf {
    data_in(cache())
}

fn data_in(cache: &Path) -> PathBuf {
    cache.join("coin-host").join(format!("quickstart-{}", &quickstart::content_hash()[..16]))
}

/// A workspace with a configuration in `run.toml`.
pub(crate) fn workspace(config: &str) -> Workspace {
    Workspace::new().file("run.toml", config)
}

/// `coin-host compare run.toml --out out` with more arguments, apart from the user's own folders.
pub(crate) fn compare(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = workspace.command(&[&["compare", "run.toml", "--out", "out"][..], arguments].concat());
    command
        .env("XDG_CACHE_HOME", cache())
        .env("XDG_DATA_HOME", workspace.path().join("share"))
        .env_remove("COIN_PLUGIN_PATH")
        .env_remove("COIN_HOST_HANG_SECONDS")
        .env_remove("COIN_HOST_CHECKPOINT_SECONDS");
    command
}

/// Runs it to its end.
pub(crate) fn finish(mut command: Command) -> Output {
    command.output().expect("coin-host starts")
}

/// Runs it to its end, which must be a good one; returns what is on stdout.
pub(crate) fn succeed(command: Command) -> String {
    let output = finish(command);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The folder of [`SMALL`], run once with two workers for all tests that only look, and what it printed.
pub(crate) fn reference() -> &'static (PathBuf, String) {
    static REFERENCE: OnceLock<(PathBuf, String)> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reference");
        let _none_yet = fs::remove_dir_all(&kept);
        let workspace = workspace(SMALL);
        let printed = succeed(compare(&workspace, &["--jobs", "2"]));
        copy(&workspace.path().join("out"), &kept);
        (kept, printed)
    })
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder to copy") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Everything a cell computed that must not depend on how it came about: each file of metrics, answers and tensors, and the scores.
pub(crate) fn figures(out: &Path, method: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = if method == "joint" {
        out.join("references/joint/0")
    } else {
        out.join("cells").join(method).join("written/0")
    };
    let mut found = BTreeMap::new();
    files(&folder, &folder, &mut found);
    found.retain(|name, _| !name.contains("checkpoint") && !name.starts_with('.'));
    let results = Results::read(out).expect("results.json");
    let scores = match results.cells.iter().find(|cell| cell.method == method) {
        Some(cell) => serde_json::to_vec(&cell.scorers),
        None => serde_json::to_vec(&results.references),
    };
    found.insert("scores".into(), scores.expect("JSON"));
    found
}

fn files(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("the folder of a cell") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(root, &path, found);
        } else {
            let name = path.strip_prefix(root).expect("below the root").display().to_string();
            found.insert(name, fs::read(&path).expect("readable"));
        }
    }
}

/// Asserts that a cell has the same [`figures`] in two runs.
pub(crate) fn assert_same(expected: &Path, found: &Path, method: &str) {
    let (expected, found) = (figures(expected, method), figures(found, method));
    let names = |figures: &BTreeMap<String, Vec<u8>>| figures.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&expected), names(&found), "files of {method}");
    for (name, bytes) in &expected {
        let same = *bytes == found[name];
        assert!(same, "{method}: {name} differs:\n{}\n{}", text(bytes), text(&found[name]));
    }
}

/// The lines of a cell's `metrics.jsonl`.
pub(crate) fn metrics(out: &Path, method: &str) -> Vec<serde_json::Value> {
    let path = out.join("cells").join(method).join("written/0/metrics.jsonl");
    let text = fs::read_to_string(path).expect("metrics.jsonl");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}
