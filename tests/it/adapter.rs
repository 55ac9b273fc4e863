//! LoRA adapters that methods of a comparison start from (`methods.NAME.adapter`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use coin_host::model::weights;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::runs::{SMALL, compare, finish, reference, succeed, text, workspace};
use crate::support::{Workspace, settings};

type Tensors = BTreeMap<String, Tensor>;

const WEIGHTS: &str = "adapter/adapter_model.safetensors";

/// Two short stages of LoRA from the adapter of the first stage of the shared run, and a learning rate so low that it stays.
fn adapted(more: &str) -> Workspace {
    let config =
        SMALL.replace("steps = 6", "steps = 1").replace("learning_rate = 3e-3", "learning_rate = 1e-9");
    let methods = config.find("[methods.").expect("there");
    let stack = "stack = [{ plugin = \"lora\", r = 4 }]\n";
    let config = format!("{}[methods.lora]\nadapter = \"adapter\"\n{stack}{more}", &config[..methods]);
    let workspace = workspace(&config);
    let stage = reference().0.join("cells/lora/written/0/stages/0");
    let stage = stage.to_str().expect("text");
    let shown = workspace.run(&["--quiet", "model", "export-adapter", stage, "--out", "adapter"]);
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
    workspace
}

fn change(workspace: &Workspace, change: impl FnOnce(&mut Tensors)) {
    let path = workspace.path().join(WEIGHTS);
    let mut tensors = weights::load_all(&path).expect("an adapter");
    change(&mut tensors);
    weights::save(&path, &tensors, None).expect("saved");
}

fn manifest(workspace: &Workspace) -> Value {
    let text = fs::read_to_string(workspace.path().join("out/manifest.json")).expect("there");
    serde_json::from_str(&text).expect("JSON")
}

fn stage(run: &Path, stage: &str) -> Tensors {
    let path = run.join("cells/lora/written/0/stages").join(stage).join("parameters.safetensors");
    weights::load_all(&path).expect("a stage")
}

#[test]
fn a_method_starts_from_an_adapter_that_counts_as_part_of_the_run() {
    let workspace = adapted("\n[methods.plain]\nstack = [{ plugin = \"lora\", r = 4 }]\n");
    succeed(compare(&workspace, &["--methods", "lora"]));
    let (given, kept) = (stage(&reference().0, "0"), stage(&workspace.path().join("out"), "0"));
    assert_eq!(given.len(), kept.len());
    for (name, given) in &given {
        let apart = (given - &kept[name]).abs().max().double_value(&[]);
        assert!(apart < 1e-6, "{name}: {apart}");
    }
    assert!(
        given
            .iter()
            .any(|(name, tensor)| name.ends_with("lora_B.weight")
                && tensor.abs().max().double_value(&[]) > 1e-4)
    );
    let content = manifest(&workspace)["content"].to_string();
    assert!(content.contains("adapter_model.safetensors of method lora"), "{content}");
    // A method more is no other run.
    succeed(compare(&workspace, &[]));
    succeed(compare(&workspace, &["--methods", "plain"]));
    assert_eq!(manifest(&workspace)["content"].to_string(), content);
    // Another adapter is.
    change(&workspace, |tensors| {
        let tensor = tensors.values_mut().next().expect("one");
        *tensor = &*tensor + 1.0;
    });
    let output = finish(compare(&workspace, &["--seeds", "0,1"]));
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("began with other content of adapter_model.safetensors of method lora"),
        "{stderr}"
    );
}

/// What is told of an adapter, before anything is written.
macro_rules! refused {
    ($workspace:expr) => {{
        let workspace = $workspace;
        let output = finish(compare(&workspace, &["--quiet"]));
        assert!(!workspace.path().join("out").exists());
        let folder = workspace.path().canonicalize().expect("there");
        let stderr = text(&output.stderr).replace(&*folder.to_string_lossy(), "[FOLDER]");
        let stderr = stderr.replace(&*workspace.path().to_string_lossy(), "[FOLDER]");
        settings().bind(|| insta::assert_snapshot!(format!("exit: {:?}\n{stderr}", output.status.code())));
    }};
}

#[test]
fn tensors_that_are_not_the_methods_are_listed() {
    let workspace = adapted("");
    change(&workspace, |tensors| {
        let module = "base_model.model.model.language_model.layers";
        tensors.remove(&format!("{module}.0.mlp.up_proj.lora_A.weight"));
        let zeros = |size: [i64; 2]| Tensor::zeros(size, (Kind::Float, tch::Device::Cpu));
        tensors.insert(format!("{module}.7.mlp.up_proj.lora_A.weight"), zeros([4, 128]));
        tensors.insert(format!("{module}.1.self_attn.q_proj.lora_B.weight"), zeros([127, 4]));
    });
    let path = workspace.path().join("adapter/adapter_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("there")).expect("JSON");
    config["target_modules"] = json!("all-linear");
    fs::write(&path, config.to_string()).expect("written");
    refused!(workspace);
}

#[test]
fn an_adapter_of_another_rank() {
    let workspace = adapted("");
    let path = workspace.path().join("run.toml");
    let config = fs::read_to_string(&path).expect("there").replace("r = 4", "r = 8");
    fs::write(path, config).expect("written");
    refused!(workspace);
}

#[test]
fn an_adapter_for_a_method_without_lora() {
    refused!(adapted(
        "\n[methods.moelora]\nadapter = \"adapter\"\nstack = [{ plugin = \"moelora\", r = 4, expert_num = 2 }]\n"
    ));
}

#[test]
fn an_adapter_that_is_not_there() {
    let workspace = adapted("");
    fs::remove_file(workspace.path().join("adapter/adapter_config.json")).expect("removed");
    refused!(workspace);
}

fn export(arguments: &[&str]) -> (Workspace, String) {
    let workspace = Workspace::new();
    let shown =
        workspace.run(&[&["--quiet", "model", "export-adapter", "--out", "adapter"], arguments].concat());
    let run = reference().0.to_str().expect("text");
    (workspace, shown.replace(run, "[RUN]"))
}

#[test]
fn a_stage_is_exported_by_the_names_of_its_cell_and_task() {
    let run = reference().0.to_str().expect("text");
    let read = |arguments: &[&str]| {
        let (workspace, shown) = export(arguments);
        assert!(shown.starts_with("exit: 0\n"), "{shown}");
        ["adapter_config.json", "adapter_model.safetensors"]
            .map(|name| fs::read(workspace.path().join("adapter").join(name)).expect("written"))
    };
    let folder = |stage: &str| format!("{run}/cells/lora/written/0/stages/{stage}");
    let cell = ["--run", run, "--cell", "lora/written/0"];
    let (first, last) = (read(&[&folder("0")]), read(&[&folder("1")]));
    assert!(first != last);
    assert!(read(&[&cell[..], &["--after", "imagenet"]].concat()) == first);
    assert!(read(&cell) == last);
    // What the joint reference has learnt, and nothing else.
    let joint = read(&["--run", run, "--cell", "joint/0"]);
    assert!(joint[0] == last[0] && joint[1] != last[1]);
    let kept = weights::load_all(&reference().0.join("references/joint/0/stages/0/parameters.safetensors"));
    let adapter = tempfile::NamedTempFile::new().expect("a file");
    fs::write(adapter.path(), &joint[1]).expect("written");
    let (kept, adapter) = (kept.expect("there"), weights::load_all(adapter.path()).expect("tensors"));
    let sums = |tensors: &Tensors| {
        let of = |(name, tensor): (&String, &Tensor)| {
            name.ends_with("lora_B.weight").then(|| tensor.abs().sum(Kind::Double).double_value(&[]))
        };
        let mut sums: Vec<f64> = tensors.iter().filter_map(of).collect();
        sums.sort_by(f64::total_cmp);
        sums
    };
    assert_eq!(sums(&kept), sums(&adapter));
    assert!(sums(&kept).iter().all(|sum| *sum > 0.0) && !sums(&kept).is_empty());
}

/// A run trains the projector too.
#[test]
fn bench_answers_with_what_a_run_has_trained() {
    let run = reference().0.to_str().expect("text");
    let (workspace, shown) = export(&["--run", run, "--cell", "lora/written/0"]);
    assert!(shown.starts_with("exit: 0\n"), "{shown}");
    let place = workspace.path();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/llava");
    let (data, images) = (fixtures.join("single.json"), fixtures.join("images"));
    let bench = |what: &str, more: &[&str]| -> Value {
        let mut command =
            workspace.command(&["--quiet", "bench", what, "--threads", "1", "--batch-size", "2"]);
        command
            .args(["--model", "builtin:tiny"])
            .arg("--data")
            .arg(&data)
            .arg("--images")
            .arg(&images)
            .args(more);
        let output = command.output().expect("coin-host starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let (plain, adapted) = (bench("generate", &[]), bench("generate", &["--adapter", "adapter"]));
    assert_ne!(plain["answers"], adapted["answers"]);
    let more = ["--adapter", "adapter", "--steps", "1", "--out", "again"];
    let trained = bench("train", &more);
    assert!(trained["losses"][0].as_f64().expect("a loss") > 0.0);
    let names = |folder: &str| -> Vec<String> {
        let tensors = weights::load_all(&place.join(folder).join("adapter_model.safetensors"));
        tensors.expect("tensors").into_keys().collect()
    };
    assert_eq!(names("again"), names("adapter"));
    assert!(names("again").iter().any(|name| name.contains("multi_modal_projector")));
    // One LoRA has one rank.
    let path = place.join("adapter/adapter_config.json");
    let text = fs::read_to_string(&path).expect("there");
    for (key, value, said) in [
        ("alpha_pattern", json!({"layers.0.self_attn.q_proj": 3.0}), "and there is one LoRA here"),
        // peft would take it for an adapter of q_proj alone.
        ("target_modules", json!(["q_proj"]), "does not have `model.language_model.layers.0."),
    ] {
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config[key] = value;
        fs::write(&path, config.to_string()).expect("written");
        let mut command =
            workspace.command(&["bench", "generate", "--model", "builtin:tiny", "--adapter", "adapter"]);
        let output = command.arg("--data").arg(&data).arg("--images").arg(&images).output().expect("started");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(said) && stderr.contains("hint: "), "{stderr}");
    }
    let unknown = ["--model", "builtin:tinny", "--adapter", "adapter", "--out", "merged"];
    let shown = workspace.run(&[&["model", "merge"][..], &unknown].concat());
    assert!(shown.starts_with("exit: 2\n"), "{shown}");
}

#[test]
fn a_cell_that_is_not_exported_says_what_there_is() {
    let run = reference().0.to_str().expect("text");
    let refused = |arguments: &[&str], said: &str| {
        let (workspace, shown) = export(arguments);
        assert!(shown.starts_with("exit: 2\n") && shown.contains(said), "{shown}");
        assert!(!workspace.path().join("adapter").exists());
    };
    refused(
        &["--run", run, "--cell", "lora/writen/0"],
        "[RUN] has no cell `lora/writen/0`\nhint: did you mean `lora/written/0`?",
    );
    refused(
        &["--run", run, "--cell", "lora/written/0", "--after", "imagenets"],
        "has no stage of a task `imagenets`\nhint: did you mean `imagenet`?",
    );
    refused(
        &["--run", run, "--cell", "joint/0", "--after", "imagenet"],
        "joint/0 trains on all tasks at once, and keeps one stage\nhint: leave out --after",
    );
    refused(&["--run", run, "--cell", "moelora/written/0"], "of moelora is no LoRA");
    refused(&["--run", run], "--cell <CELL>");
    refused(&["cells", "--run", run, "--cell", "joint/0"], "cannot be used with");
    refused(&[&format!("{run}/cells/lora/written/0/stages/7")], "here 0 to 1, in the order of the tasks");
}
