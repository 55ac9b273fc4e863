//! Data in the layout of CoIN's release, sound and damaged, through the binary.

use std::fs;
use std::path::{Path, PathBuf};

use insta::Settings;
use serde_json::Value;

use crate::support::{Workspace, settings};

#[path = "../../host/examples/fabricate_coin/layout.rs"]
mod layout;

const RECORDS: usize = 2_000;
const PICTURES: usize = 5;

const ALL: [&str; 6] = ["data", "verify", "--dataset", "coin-datasets", "--root", "data"];

/// A small made-up set of all eight tasks.
fn set() -> Workspace {
    let workspace = Workspace::new();
    layout::fabricate(&workspace.path().join("data"), RECORDS, PICTURES).expect("the set is written");
    workspace
}

fn verify_gqa(workspace: &Workspace) -> String {
    workspace.run(&["data", "verify", "--dataset", "coin-datasets/gqa", "--root", "data"])
}

fn json(workspace: &Workspace, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = workspace.command(arguments).output().expect("coin-host starts");
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), value)
}

fn gqa(workspace: &Workspace, split: &str) -> PathBuf {
    workspace.path().join(format!("data/Instructions_Original/GQA/{split}.json"))
}

/// Changes the text of a file.
fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    fs::write(path, change(fs::read_to_string(path).expect("a text"))).expect("written");
}

/// Sizes of the set follow from its scale alone; those of pictures and hashes do not matter.
fn shown() -> Settings {
    let mut settings = settings();
    settings.add_filter(r"\d+ bytes", "[SIZE] bytes");
    // The column is as wide as the folder's path.
    settings.add_filter(r"(\[FOLDER\]/data) +(\d)", "$1  $2");
    settings.add_filter(r"ROOT +", "ROOT  ");
    settings
}

macro_rules! check {
    ($text:expr $(,)?) => {
        shown().bind(|| insta::assert_snapshot!($text))
    };
}

#[test]
fn all_eight_tasks_are_found_sound_and_later_checks_hold_them_to_it() {
    let workspace = set();
    check!(workspace.run(&ALL));
    let (code, again) = json(&workspace, &[&ALL[..], &["--json"]].concat());
    assert_eq!((code, &again["sound"]), (Some(0), &Value::Bool(true)));
    let tasks = again["tasks"].as_array().expect("tasks");
    assert_eq!(tasks.len(), 8);
    for task in tasks {
        assert_eq!(task["manifest"], "agrees", "{task}");
    }
    assert_eq!(tasks[1]["files"][2]["path"], "cl_dataset/TextVQA/TextVQA_0.5.1_val.json");

    edit(&gqa(&workspace, "test"), |text| text.replacen("kettle", "teapot", 1));
    let changed = workspace.run(&ALL);
    assert!(changed.starts_with("exit: 2\n"), "{changed}");
    assert!(
        changed.contains(
            "gqa: other than the manifest: Instructions_Original/GQA/test.json has other content: sha256"
        ),
        "{changed}"
    );
    assert!(changed.contains("1 of 8 tasks have faults") && changed.contains("`--update`"), "{changed}");
    let run = "[backbone]\npath = \"builtin:tiny\"\n[tasks.gqa]\ndataset = \"coin-datasets/gqa\"\nroot = \"data\"\n\
        [methods.lora]\nstack = [{ plugin = \"lora\", r = 4 }]\n";
    let workspace = workspace.file("run.toml", run);
    let refused = workspace.run(&["compare", "run.toml", "--out", "out", "-q"]);
    assert!(refused.starts_with("exit: 2\n") && refused.contains("is not what"), "{refused}");
    assert!(workspace.run(&[&ALL[..], &["--update"]].concat()).starts_with("exit: 0\n"));
    // A file that was read then and is gone, without which the score is another one.
    let side = workspace.path().join("data/cl_dataset/GQA/testdev_balanced_questions.json");
    let whole = fs::read(&side).expect("there");
    fs::remove_file(&side).expect("removed");
    let gone = workspace.run(&["compare", "run.toml", "--out", "out", "-q"]);
    assert!(gone.starts_with("exit: 2\n") && gone.contains("is not there any more"), "{gone}");
    fs::write(&side, whole).expect("written");
    assert!(workspace.run(&ALL).starts_with("exit: 0\n"));
}

#[test]
fn a_picture_that_changed_is_noticed_in_full() {
    let workspace = set();
    let arguments = ["data", "verify", "--dataset", "coin-datasets/vizwiz", "--root", "data", "--full", "-q"];
    assert!(workspace.run(&arguments).starts_with("exit: 0\n"));
    let picture = workspace.path().join("data/cl_dataset/VizWiz/val/VizWiz_val_00000001.jpg");
    let mut bytes = fs::read(&picture).expect("a picture");
    // A byte of the entropy-coded part, so that size and header stay.
    let place = bytes.len() - 40;
    bytes[place] ^= 1;
    fs::write(&picture, bytes).expect("written");
    assert!(workspace.run(&arguments[..6]).starts_with("exit: 0\n"), "sizes are the same");
    let full = workspace.run(&arguments);
    assert!(full.starts_with("exit: 2\n") && full.contains("the content of a picture is other"), "{full}");
}

#[test]
fn records_with_faults() {
    let workspace = set();
    edit(&gqa(&workspace, "test"), |text| {
        text.replacen("\"question_id\":\"3\"", "\"question_id\":\"2\"", 1)
            .replacen("./GQA/images/test1.jpg", "../../secret.jpg", 1)
            .replacen("./GQA/images/test2.jpg", "/etc/hostname", 1)
            .replacen("\"answer\":\"pumpkin\"", "\"answer\":\" \"", 1)
            .replacen("\"question_id\":\"9\"", "\"question_id\":\"unknown\"", 1)
    });
    check!(verify_gqa(&workspace));
}

#[test]
fn pictures_that_are_missing_or_damaged() {
    let workspace = set();
    let images = workspace.path().join("data/cl_dataset/GQA/images");
    fs::remove_file(images.join("train1.jpg")).expect("removed");
    let whole = fs::read(images.join("train2.jpg")).expect("a picture");
    fs::write(images.join("train2.jpg"), &whole[..whole.len() / 2]).expect("written");
    fs::write(images.join("train3.jpg"), "<html>404</html>").expect("written");
    fs::write(images.join("train4.jpg"), "").expect("written");
    check!(verify_gqa(&workspace));
}

#[test]
fn a_file_that_is_cut_off() {
    let workspace = set();
    edit(&gqa(&workspace, "train"), |text| text[..1000].to_string());
    check!(verify_gqa(&workspace));
}

#[test]
fn invalid_utf8() {
    let workspace = set();
    let mut bytes = fs::read(gqa(&workspace, "test")).expect("the file");
    let place = bytes.windows(6).position(|word| word == b"kettle").expect("a word");
    bytes[place + 1] = 0xe9;
    fs::write(gqa(&workspace, "test"), bytes).expect("written");
    check!(verify_gqa(&workspace));
}

#[test]
fn files_that_are_not_there() {
    let workspace = set();
    fs::remove_file(gqa(&workspace, "test")).expect("removed");
    let seen = verify_gqa(&workspace);
    assert!(seen.starts_with("exit: 2\n") && seen.contains("test.json` cannot be opened"), "{seen}");
    check!(workspace.run(&["data", "verify", "--dataset", "coin-datasets/gqa", "--root", "elsewhere"]));
    let seen = workspace.run(&["data", "verify", "--dataset", "coin-datasets/gqaa", "--root", "data"]);
    assert!(seen.starts_with("exit: 2\n") && seen.contains("gqaa"), "{seen}");
    let seen = workspace.run(&["data", "verify", "--dataset", "coin-datasets/gqa"]);
    assert!(seen.starts_with("exit: 2\n") && seen.contains("--root"), "{seen}");
}

#[test]
fn datasets_are_listed_with_the_sizes_of_the_release() {
    let (code, known) = json(&Workspace::new(), &["data", "list", "--json"]);
    assert_eq!(code, Some(0));
    let one = |name: &str| {
        known.as_array().into_iter().flatten().find(|one| one["dataset"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(one("coin-datasets/imagenet")["train"], "129833");
    assert_eq!(one("coin-datasets/vizwiz")["train"], "about 20000");
    assert_eq!(one("coin-datasets/instructions")["test"], Value::Null);
    let workspace = set();
    check!(workspace.run(&["data", "list", "--dataset", "coin-datasets", "--root", "data"]));
}

#[test]
fn a_preview_is_one_file_and_the_same_for_a_seed() {
    let workspace = set();
    let page = |out: &str, seed: &str| {
        let of = ["data", "preview", "--dataset", "coin-datasets", "--root", "data", "--out", out];
        let seen = workspace.run(&[&of[..], &["--seed", seed, "-n", "3"]].concat());
        assert!(seen.starts_with("exit: 0\n"), "{seen}");
        fs::read_to_string(workspace.path().join(out)).expect("a page")
    };
    let first = page("a.html", "1");
    assert_eq!(first.matches("<article>").count(), 8 * 3);
    assert!(first.contains("data:image/jpeg;base64,") && first.contains("<rect") && first.contains("→ "));
    assert!(!first.contains("http"));
    assert_eq!(first, page("b.html", "1"));
    assert_ne!(first, page("c.html", "2"));
}

/// A task of one's own: conversations of several turns with and without pictures, as lines.
fn own() -> Workspace {
    let lines: Vec<String> = (0..24)
        .map(|number| {
            let color = if number % 2 == 0 { "red" } else { "blue" };
            let image = if number % 3 == 0 { r#""image": "a.png", "# } else { "" };
            let mark = if number % 3 == 0 { "<image>\\n" } else { "" };
            format!(
                "{{\"id\": {number}, {image}\"conversations\": [{{\"from\": \"human\", \"value\": \"{mark}what is this\"}}, \
                 {{\"from\": \"gpt\", \"value\": \"a cat\"}}, {{\"from\": \"human\", \"value\": \"what color is {number}\"}}, \
                 {{\"from\": \"gpt\", \"value\": \"{color}\"}}]}}"
            )
        })
        .collect();
    let run = "name = \"own\"\n[backbone]\npath = \"builtin:tiny\"\ndevice = \"cpu\"\n[training]\nbatch_size = 4\nsteps = 2\n\
        [tasks.colors]\ndataset = \"coin-datasets/instructions\"\nroot = \"own\"\nmetric = \"exact-match\"\n\
        instruction = [\"be brief\", { definition = \"a quiz\", constraint = \"one word\", prompt = \"{question}\" }]\n\
        config = { train = \"all.jsonl\", test = \"test.json\", images = \"pictures\", validation = 0.0 }\n\
        [methods.lora]\nstack = [{ plugin = \"lora\", r = 4 }]\n";
    let workspace = Workspace::new().file("run.toml", run).file("own/all.jsonl", &lines.join("\n")).file(
        "own/test.json",
        r#"[{"question_id": "t1", "text": "what color is 2", "answer": "red"}, {"question_id": "t2", "prompt": "what color is 3", "answer": "blue"}]"#,
    );
    fs::create_dir_all(workspace.path().join("own/pictures")).expect("a folder");
    image::RgbImage::new(20, 30).save(workspace.path().join("own/pictures/a.png")).expect("a picture");
    workspace
}

#[test]
fn a_task_of_ones_own_runs_without_a_line_of_rust() {
    let workspace = own();
    let seen = workspace.run(&["data", "verify", "--config", "run.toml"]);
    assert!(seen.starts_with("exit: 0\n"), "{seen}");
    let seen = workspace.run(&["compare", "run.toml", "--out", "out", "--jobs", "1", "-q"]);
    assert!(seen.starts_with("exit: 0\n"), "{seen}");
    let answers =
        fs::read_to_string(workspace.path().join("out/cells/lora/written/0/predictions/0/colors.jsonl"))
            .expect("answers");
    assert_eq!(answers.lines().count(), 2, "{answers}");
    for wording in ["what color is 2", "what color is 3"] {
        assert!(
            answers.contains(&format!("\"{wording}\\nbe brief\""))
                || answers.contains(&format!("\"a quiz\\none word\\n{wording}\"")),
            "{answers}"
        );
    }
}

#[test]
fn an_id_that_stands_twice_in_a_test_is_refused_before_anything_is_written() {
    let workspace = own();
    edit(&workspace.path().join("own/test.json"), |text| text.replace("\"t2\"", "\"t1\""));
    let seen = workspace.run(&["compare", "run.toml", "--out", "out", "-q"]);
    assert!(seen.starts_with("exit: 2\n") && seen.contains("two test records have the id `t1`"), "{seen}");
    assert!(!workspace.path().join("out").exists());
}

#[test]
fn a_soft_metric_without_ten_answers_is_told_of() {
    let workspace = own();
    edit(&workspace.path().join("run.toml"), |text| text.replace("exact-match", "vqa-soft"));
    let seen = workspace.run(&["compare", "run.toml", "--out", "out", "--jobs", "1"]);
    assert!(
        seen.starts_with("exit: 0\n")
            && seen.contains("task colors: 2 of 2 test questions have not the answers of 10"),
        "{seen}"
    );
}

#[test]
fn a_task_without_a_metric_is_told_to_name_one() {
    let workspace = own();
    edit(&workspace.path().join("run.toml"), |text| text.replace("metric = \"exact-match\"\n", ""));
    check!(workspace.run(&["compare", "run.toml", "--out", "out", "-q"]));
}

#[test]
fn instructions_that_are_none() {
    let workspace = own();
    let run = |value: &str| {
        let set = format!("tasks.colors.instruction={value}");
        workspace.run(&["compare", "run.toml", "--dry-run", "-q", "--set", &set])
    };
    let seen =
        ["[\"a\",\"diverse\"]", "{prompts=\"a\"}", "5", "[]", "Instructions_Diverse", "{questions} hi"]
            .map(run);
    check!(seen.join("\n"));
}

#[test]
fn variants_read_the_files_of_their_names() {
    let workspace = set();
    let own = workspace.path().join("data");
    fs::create_dir_all(own.join("Instructions_Diverse")).expect("a folder");
    fs::rename(own.join("Instructions_Original/GQA"), own.join("Instructions_Diverse/GQA")).expect("moved");
    let run = "[backbone]\npath = \"builtin:tiny\"\n[tasks.gqa]\ndataset = \"coin-datasets/gqa\"\nroot = \"data\"\ninstruction = \"diverse\"\n\
        [methods.lora]\nstack = [{ plugin = \"lora\", r = 4 }]\n";
    let workspace = workspace.file("run.toml", run);
    let seen = workspace.run(&["data", "verify", "--config", "run.toml"]);
    assert!(seen.starts_with("exit: 0\n"), "{seen}");
    let set = ["--set", "tasks.gqa.instruction=10type"];
    let seen = workspace.run(&[&["data", "verify", "--config", "run.toml"][..], &set].concat());
    assert!(seen.starts_with("exit: 2\n") && seen.contains("Instructions_10Type/GQA"), "{seen}");
}

/// Every block of the page that is a configuration is one.
#[test]
fn the_configurations_of_the_page_on_data_are_read() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/data.md"))
        .expect("docs/data.md");
    let blocks: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3, "{}", blocks.len());
    for block in blocks {
        let whole = "[backbone]\npath = \"builtin:tiny\"\n[methods.lora]\nstack = [{ plugin = \"lora\" }]\n";
        let workspace = Workspace::new().file("run.toml", &format!("{whole}{block}"));
        let request = coin_host::config::Request {
            path: Some(&workspace.path().join("run.toml")),
            ..coin_host::config::Request::default()
        };
        if let Err(error) = coin_host::config::load(&request) {
            panic!("{error}\n{block}");
        }
    }
}
