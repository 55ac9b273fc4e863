//! What is wrong with a configuration, a dataset or a plugin is told with what, where, why and what to do, and before anything is
//! written.

use std::fs;
use std::path::Path;

use coin_host::report::results::{Results, Status};
use serde_json::Value;

use crate::built;
use crate::runs::{SMALL, compare, data, finish, text, workspace};
use crate::support::{Workspace, settings, shown};

/// What a user sees; the folders that differ from machine to machine have names.
fn seen(workspace: &Workspace, arguments: &[&str]) -> String {
    let output = finish(compare(workspace, &[&["--quiet"][..], arguments].concat()));
    let own = workspace.path().canonicalize().expect("the folder is there");
    let places = [(own.as_path(), "[FOLDER]"), (workspace.path(), "[FOLDER]")];
    let built = built::folder();
    let places = places.into_iter().chain([(built.as_path(), "[PROGRAM]")]);
    let shown = shown(output.status.code(), &text(&output.stdout), &text(&output.stderr));
    places.fold(shown, |text, (path, name)| text.replace(&*path.to_string_lossy(), name))
}

/// Nothing is written before everything is checked.
fn refused(workspace: &Workspace, arguments: &[&str]) -> String {
    let seen = seen(workspace, arguments);
    assert!(!workspace.path().join("out").exists(), "something was written:\n{seen}");
    seen
}

/// [`SMALL`] with a part replaced.
fn small_with(part: &str, replacement: &str) -> Workspace {
    assert!(SMALL.contains(part), "{part}");
    workspace(&SMALL.replace(part, replacement))
}

/// A method in place of LoRA, alone.
fn method(stack: &str) -> Workspace {
    small_with("stack = [{ plugin = \"lora\", r = 4 }]\n", &format!("stack = {stack}\n"))
}

/// A macro, because a snapshot is named by the function it stands in.
macro_rules! check {
    ($text:expr $(,)?) => {
        settings().bind(|| insta::assert_snapshot!($text))
    };
}

const LORA: [&str; 2] = ["--methods", "lora"];

/// Nobody has to wait for the step that it would come up in.
#[test]
fn records_that_are_longer_than_the_context() {
    let long = format!("tasks.grounding.instruction=\"{{question}} {}\"", "what is this ".repeat(100));
    for more in [&[][..], &["--dry-run"]] {
        let workspace = workspace(SMALL);
        let seen = refused(&workspace, &[&["--set", &long], more].concat());
        assert!(seen.starts_with("exit: 2\n"), "{seen}");
        for said in ["task grounding: ", "the model's 256 positions", "training record `", " tokens", "hint:"]
        {
            assert!(seen.contains(said), "{said}: {seen}");
        }
    }
}

#[test]
fn an_unknown_key() {
    check!(refused(&small_with("batch_size = 8", "batchsize = 8"), &[]));
}

#[test]
fn a_wrong_type() {
    check!(refused(&small_with("steps = 6", "steps = \"six\""), &[]));
}

#[test]
fn an_unknown_method() {
    check!(refused(&workspace(SMALL), &["--methods", "lora,ewc"]));
}

#[test]
fn an_unknown_task() {
    check!(refused(&workspace(SMALL), &["--tasks", "imagenet,goundring"]));
}

#[test]
fn an_unknown_backbone() {
    check!(refused(&small_with("builtin:tiny", "builtin:small"), &[]));
}

#[test]
fn a_backbone_that_is_not_there() {
    check!(refused(&small_with("builtin:tiny", "models/llava"), &[]));
}

#[test]
fn an_unknown_dataset() {
    check!(refused(&small_with("coin-datasets/imagenet", "coin-datasets/image-net"), &[]));
}

/// Some records of the stand-in for ImageNet, with their pictures, as the task `imagenet` of [`SMALL`].
fn own_data() -> Workspace {
    let part = "dataset = \"coin-datasets/imagenet\"\nroot = \"builtin:quickstart\"";
    let workspace = small_with(part, &part.replace("builtin:quickstart", "data"));
    for (split, count) in [("train", 12), ("test", 6)] {
        let name = format!("Instructions_Original/ImageNet/{split}.json");
        let all = fs::read(data().join(&name)).expect("the quickstart's records");
        let mut records: Vec<Value> = serde_json::from_slice(&all).expect("JSON");
        records.truncate(count);
        for record in &records {
            let picture = Path::new("cl_dataset").join(record["image"].as_str().expect("a picture"));
            put(&workspace, &picture, &fs::read(data().join(&picture)).expect("a picture"));
        }
        put(&workspace, Path::new(&name), &serde_json::to_vec(&records).expect("JSON"));
    }
    workspace
}

fn put(workspace: &Workspace, name: &Path, bytes: &[u8]) {
    let path = workspace.path().join("data").join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, bytes).expect("a file");
}

fn records(workspace: &Workspace, split: &str) -> std::path::PathBuf {
    workspace.path().join(format!("data/Instructions_Original/ImageNet/{split}.json"))
}

#[test]
fn no_dataset_folder() {
    let workspace = own_data();
    fs::remove_dir_all(workspace.path().join("data")).expect("removed");
    check!(refused(&workspace, &LORA));
}

#[test]
fn a_missing_file_of_a_dataset() {
    let workspace = own_data();
    fs::remove_file(records(&workspace, "train")).expect("removed");
    check!(refused(&workspace, &LORA));
}

#[test]
fn an_empty_task() {
    let workspace = own_data();
    fs::write(records(&workspace, "train"), "[]").expect("written");
    check!(refused(&workspace, &LORA));
}

#[test]
fn a_cut_file_of_a_dataset() {
    let workspace = own_data();
    let whole = fs::read(records(&workspace, "test")).expect("there");
    fs::write(records(&workspace, "test"), &whole[..whole.len() / 2]).expect("written");
    check!(refused(&workspace, &LORA));
}

#[test]
fn a_damaged_picture_fails_the_cells_that_see_it() {
    let workspace = own_data();
    let all: Vec<Value> =
        serde_json::from_slice(&fs::read(records(&workspace, "train")).expect("there")).expect("JSON");
    for record in &all {
        let picture = Path::new("cl_dataset").join(record["image"].as_str().expect("a picture"));
        put(&workspace, &picture, b"not a picture");
    }
    let seen = seen(&workspace, &["--methods", "lora,moelora"]);
    assert!(seen.starts_with("exit: 1\n"), "{seen}");
    let results = Results::read(&workspace.path().join("out")).expect("results.json");
    for cell in &results.cells {
        assert_eq!(cell.status, Status::Failed);
        let message = cell.error.clone().unwrap_or_default();
        assert!(message.contains("imagenet") && message.contains("ImageNet_withlabel/train/"), "{message}");
    }
    // Nobody trains for these.
    assert_eq!(results.references["official"].zero_shot.len(), 2);
}

#[test]
fn a_run_does_not_go_on_with_other_data() {
    let workspace = own_data();
    let one = [&LORA[..], &["--set", "references=[]", "--set", "training.steps=1"]].concat();
    assert!(seen(&workspace, &one).starts_with("exit: 0\n"));
    let whole = fs::read_to_string(records(&workspace, "test")).expect("there");
    fs::write(records(&workspace, "test"), whole.replacen("0.png", "1.png", 1)).expect("written");
    let changed = seen(&workspace, &one);
    assert!(changed.starts_with("exit: 2\n"), "{changed}");
    assert!(
        changed.contains("out began with other content of Instructions_Original/ImageNet/test.json of task imagenet: sha256 "),
        "{changed}"
    );

    fs::write(records(&workspace, "test"), whole).expect("written");
    assert!(seen(&workspace, &one).starts_with("exit: 0\n"));
    let all: Vec<Value> =
        serde_json::from_slice(&fs::read(records(&workspace, "train")).expect("there")).expect("JSON");
    let picture = Path::new("cl_dataset").join(all[0]["image"].as_str().expect("a picture"));
    put(&workspace, &picture, b"another");
    let changed = seen(&workspace, &one);
    assert!(
        changed.contains("out began with other content of pictures of task imagenet: sha256 "),
        "{changed}"
    );
}

#[test]
fn a_missing_picture_is_named() {
    let workspace = own_data();
    fs::remove_dir_all(workspace.path().join("data/cl_dataset")).expect("removed");
    let seen = seen(&workspace, &[&LORA[..], &["--set", "references=[]"]].concat());
    assert!(seen.starts_with("exit: 1\n"), "{seen}");
    let results = Results::read(&workspace.path().join("out")).expect("results.json");
    let message = results.cells[0].error.clone().unwrap_or_default();
    assert!(message.contains("ImageNet_withlabel/train/") && message.contains("cannot be read"), "{message}");
}

#[test]
fn an_unknown_plugin() {
    check!(refused(&method("[{ plugin = \"lorra\", r = 4 }]"), &LORA));
}

/// A run of a plugin `odd` from a folder with only that library.
fn odd(bytes: &[u8]) -> String {
    let workspace = method("[{ plugin = \"odd\" }]").file("plugins/libodd.so", "");
    fs::write(workspace.path().join("plugins/libodd.so"), bytes).expect("written");
    refused(&workspace, &[&LORA[..], &["--plugin-dir", "plugins"]].concat())
}

#[test]
fn a_text_as_a_plugin() {
    check!(odd(b"This is not a library.\n"));
}

#[test]
fn an_empty_file_as_a_plugin() {
    check!(odd(b""));
}

#[test]
fn half_a_plugin() {
    let whole = fs::read(built::plugin("lora")).expect("built");
    let text = odd(&whole[..whole.len() / 2]);
    let mut settings = settings();
    // Sizes change with every compiler.
    settings.add_filter(r"\b\d{4,}\b", "[SIZE]");
    settings.bind(|| insta::assert_snapshot!(text));
}

#[test]
fn a_foreign_library_as_a_plugin() {
    let maps = fs::read_to_string("/proc/self/maps").expect("the memory map");
    let library = maps.split_whitespace().find(|word| word.contains("/libc.so")).expect("a C library");
    check!(odd(&fs::read(library).expect("readable")));
}

#[test]
fn a_plugin_under_another_name() {
    let shipped = fs::read(built::plugin("lora")).expect("built");
    let text = odd(&shipped);
    assert!(
        text.starts_with("exit: 3\n") && text.contains("plugins.lock") && text.contains("hint: "),
        "{text}"
    );
    let workspace = method("[{ plugin = \"odd\" }]").file("plugins/libodd.so", "");
    fs::write(workspace.path().join("plugins/libodd.so"), &shipped).expect("written");
    let trusting = ["--plugin-dir", "plugins", "--set", "plugins.trust=\"any\""];
    check!(refused(&workspace, &[&LORA[..], &trusting].concat()));
}

#[test]
fn a_key_that_a_plugin_does_not_know() {
    let seen = refused(&method("[{ plugin = \"lora\", rank = 4 }]"), &LORA);
    assert!(seen.starts_with("exit: 2\n"), "{seen}");
    for part in [
        "method lora: run.toml:",
        ": `methods.lora.stack.0.rank`: plugin `lora` 0.1.0: unknown field `rank`; expected one of ",
        "`lora_alpha`",
        "\nhint: did you mean `r`?",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
}

#[test]
fn a_gpu_that_is_not_there() {
    let workspace = workspace(SMALL);
    let seen = seen(&workspace, &["--set", "backbone.device=cuda:99"]);
    assert!(seen.starts_with("exit: 2\n"), "{seen}");
    assert!(seen.contains("there is no device cuda:99") && seen.contains("\nhint: "), "{seen}");
    assert!(seen.lines().count() <= 5 && !workspace.path().join("out").exists(), "{seen}");
}

#[test]
fn a_value_that_a_plugin_does_not_take() {
    check!(refused(&method("[{ plugin = \"moelora\", r = 5, expert_num = 2 }]"), &LORA));
}

#[test]
fn two_adapters_at_one_site() {
    check!(refused(&method("[{ plugin = \"lora\", r = 4 }, { plugin = \"moelora\" }]"), &LORA));
}

#[test]
fn replay_that_nobody_granted() {
    check!(refused(&small_with("replay_samples_per_task = 12\n", ""), &[]));
}

#[test]
fn going_on_without_what_is_refused() {
    let workspace = small_with("replay_samples_per_task = 12\n", "");
    let selection = ["--methods", "lora,lora-replay", "--set", "references=[]", "--set", "training.steps=1"];
    let seen = seen(&workspace, &[&selection[..], &["--keep-going"]].concat());
    let results = Results::read(&workspace.path().join("out")).expect("results.json");
    let cells: Vec<_> = results.cells.iter().map(|cell| (cell.method.as_str(), cell.status)).collect();
    assert_eq!(cells, [("lora", Status::Done), ("lora-replay", Status::Failed)], "{seen}");
    let message = results.cells[1].error.clone().unwrap_or_default();
    assert!(message.contains("protocol.replay_samples_per_task"), "{message}");
    assert!(seen.starts_with("exit: 1\n") && seen.contains("after imagenet"), "{seen}");
}

#[test]
fn nothing_is_left_to_go_on_with() {
    let workspace = small_with("replay_samples_per_task = 12\n", "");
    let seen = refused(&workspace, &["--methods", "lora-replay", "--set", "references=[]", "--keep-going"]);
    assert!(seen.starts_with("exit: 3\n") && seen.contains("protocol.replay_samples_per_task"), "{seen}");
}

#[test]
fn a_model_command_refuses_before_it_loads_or_fetches() {
    let workspace = Workspace::new();
    let logits = ["model", "logits", "--model", "nowhere", "--data", "a.json", "--images", ".", "--out"];
    let shown = workspace.run(&[&logits[..], &["none/out.safetensors"]].concat());
    let expected = "error: there is no folder none for none/out.safetensors\nhint: make it first\n";
    assert!(shown.starts_with("exit: 2\n") && shown.ends_with(expected), "{shown}");
    let shown = workspace.run(&["model", "fetch", "smollm2", "--packages", "nowhere"]);
    let expected = "----- stderr -----\nerror: there is no folder nowhere\nhint: --packages names the folder";
    assert!(shown.starts_with("exit: 2\n") && shown.contains(expected), "{shown}");
    let shown = workspace.run(&[&logits[..], &["out.safetensors", "--dtype", "bf16"]].concat());
    assert!(shown.starts_with("exit: 2\n") && shown.contains("did you mean `bfloat16`?"), "{shown}");
}

#[test]
fn certificates_that_are_not_there_stop_what_needs_them_alone() {
    let workspace = Workspace::new();
    let outcome = |address: &str| {
        let mut command = workspace.command(&["plugin", "add", address]);
        let output = command.env("SSL_CERT_FILE", "absent.pem").output().expect("coin-host starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = outcome("https://127.0.0.1:1/a.coinplugin.tar.zst");
    assert!(
        code == Some(2) && said.contains("SSL_CERT_FILE `absent.pem` cannot be read"),
        "{code:?}: {said}"
    );
    let (_, said) = outcome("http://127.0.0.1:1/a.coinplugin.tar.zst");
    assert!(said.contains("cannot be fetched") && !said.contains("SSL_CERT_FILE"), "{said}");
}
