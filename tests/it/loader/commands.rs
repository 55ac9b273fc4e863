//! `coin-host plugin` as a user sees it.

use std::fs;

use coin_host::plugin::discover::library_file;
use coin_host::plugin::lock;
use serde_json::Value;

use super::sandbox::{Sandbox, harmless, plugin, text};
use crate::built;

fn list(sandbox: &Sandbox) -> Vec<Value> {
    let output = plugin(sandbox, &["list", "--json", "--plugin-dir", "../plugins"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let Value::Array(states) = serde_json::from_slice(&output.stdout).expect("JSON") else {
        panic!("no list")
    };
    states
}

#[test]
fn the_list_says_what_is_there_and_why_it_is_not_usable() {
    let sandbox = Sandbox::new();
    let lora = fs::read(built::plugin("lora")).expect("readable");
    sandbox.put("broken", &lora[..4096]);
    sandbox.put("mine", &lora);
    sandbox.put("ewc", b"text");
    let states = list(&sandbox);
    let find = |name: &str, hidden: bool| {
        let same = |state: &&Value| state["name"] == name && state["hidden_by"].is_null() != hidden;
        states.iter().find(same).unwrap_or_else(|| panic!("{name} is not in {states:?}"))
    };
    assert_eq!(find("broken", false)["verdict"], "refused");
    assert!(find("broken", false)["reason"].as_str().is_some_and(|reason| reason.contains("truncated")));
    assert_eq!(find("mine", false)["verdict"], "unlocked");
    assert_eq!(find("ewc", false)["verdict"], "refused");
    assert!(["locked", "dev"].contains(&find("ewc", true)["verdict"].as_str().unwrap_or_default()));
    let lora = find("lora", false);
    assert_eq!((lora["version"].as_str(), lora["kinds"][0].as_str()), (Some("0.1.0"), Some("method")));
    assert_eq!(lora["sha256"].as_str().map(str::len), Some(64));

    let table = text(&plugin(&sandbox, &["list", "--plugin-dir", "../plugins"]).stdout);
    assert!(table.starts_with("NAME") && table.contains("hidden") && table.contains("    hint: "), "{table}");
    assert!(table.lines().all(|line| line == line.trim_end()), "{table}");
}

#[test]
fn a_library_is_locked_used_changed_and_refused() {
    let sandbox = Sandbox::new();
    let path = sandbox.put("lora", &fs::read(built::plugin("lora")).expect("readable"));
    let info = |sandbox: &Sandbox| plugin(sandbox, &["info", "lora", "--plugin-dir", "../plugins"]);
    let from = path.display().to_string();
    let file = library_file("lora");

    // The bytes may stand in the lock beside the program already; others do not.
    let mut own = fs::read(&path).expect("readable");
    let end = harmless(&own);
    own[end] ^= 1;
    fs::write(&path, &own).expect("written");
    let output = info(&sandbox);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).starts_with("error: plugin `lora` refused: "), "{}", text(&output.stderr));

    let locked = plugin(&sandbox, &["lock", &from]);
    assert!(locked.status.success(), "{}", text(&locked.stderr));
    let lock = fs::read_to_string(sandbox.path().join("project").join(lock::FILE)).expect("written");
    assert!(lock.contains("name = \"lora\"") && lock.contains(&file), "{lock}");
    let output = info(&sandbox);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for part in ["plugin      lora 0.1.0", "trust       locked", "r = 16", "lora_alpha = 32.0", "hides"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }

    own[end] ^= 2;
    fs::write(&path, &own).expect("written");
    let output = info(&sandbox);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("the file was changed"), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains("r = 16"), "what is refused must not be loaded");
    // Locked again, the new bytes stand in the place of the old ones.
    assert!(plugin(&sandbox, &["lock", &from]).status.success());
    assert!(info(&sandbox).status.success());
    let lock = fs::read_to_string(sandbox.path().join("project").join(lock::FILE)).expect("written");
    assert_eq!(lock.matches("[[plugin]]").count(), 1, "{lock}");
}

#[test]
fn an_unknown_plugin_and_a_library_that_is_none_are_no_plugins() {
    let sandbox = Sandbox::new();
    let output = plugin(&sandbox, &["info", "lorra"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("did you mean `lora`?"), "{}", text(&output.stderr));
    let path = sandbox.put("text", b"text");
    let output = plugin(&sandbox, &["lock", &path.display().to_string()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("a text file"), "{}", text(&output.stderr));
    assert!(!sandbox.path().join("project").join(lock::FILE).exists());
}

#[test]
fn the_doctor_shows_the_shipped_plugins() {
    let sandbox = Sandbox::new();
    let mut command = built::coin_host();
    let output = command.current_dir(sandbox.path()).args(["doctor", "--json"]).output().expect("it starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let plugins = report["plugins"].as_array().expect("a list");
    for name in ["lora", "moelora", "replay", "ewc", "coin-datasets"] {
        let state =
            plugins.iter().find(|state| state["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"));
        assert_eq!(state["verdict"], "ready", "{state}");
    }
}
