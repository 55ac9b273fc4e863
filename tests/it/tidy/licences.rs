//! Every dependency's licence is on the list of `deny.toml`; `cargo deny` need not be installed for it.

use std::process::Command;

use serde_json::Value;
use toml::Table;

use super::Faults;
use super::source::{read, repository};

#[test]
fn dependencies_have_licences_of_the_list() {
    let policy: Table = read("deny.toml").and_then(|text| text.parse().ok()).expect("deny.toml is TOML");
    let licenses = &policy["licenses"];
    let allowed = strings(&licenses["allow"]);
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &target])
        .current_dir(repository())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");

    let mut faults = Faults::default();
    for package in metadata["packages"].as_array().expect("cargo metadata lists packages") {
        let name = package["name"].as_str().unwrap_or_default();
        let exceptions = licenses["exceptions"].as_array().into_iter().flatten();
        let mut accepted = allowed.clone();
        accepted.extend(
            exceptions.filter(|e| e["crate"].as_str() == Some(name)).flat_map(|e| strings(&e["allow"])),
        );
        match package["license"].as_str() {
            Some(expression) if satisfied(expression, &accepted) => {}
            other => faults.add("Cargo.lock", 0, format!("`{name}` has the licence {other:?}")),
        }
    }
    faults.expect_none("do without the package, or add the licence to deny.toml with a reason");
}

fn strings(list: &toml::Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|item| item.as_str()).map(str::to_owned).collect()
}

/// An SPDX expression (`AND` binds tighter than `OR`; `/` is an old `OR`) against a list of licences.
fn satisfied(expression: &str, accepted: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (value, rest) = alternatives(&words, accepted);
    value && rest.is_empty()
}

fn alternatives<'a, 'b>(words: &'a [&'b str], accepted: &[String]) -> (bool, &'a [&'b str]) {
    let (mut value, mut rest) = conjunction(words, accepted);
    while rest.first() == Some(&"OR") {
        let (next, after) = conjunction(&rest[1..], accepted);
        (value, rest) = (value || next, after);
    }
    (value, rest)
}

fn conjunction<'a, 'b>(words: &'a [&'b str], accepted: &[String]) -> (bool, &'a [&'b str]) {
    let (mut value, mut rest) = term(words, accepted);
    while rest.first() == Some(&"AND") {
        let (next, after) = term(&rest[1..], accepted);
        (value, rest) = (value && next, after);
    }
    (value, rest)
}

fn term<'a, 'b>(words: &'a [&'b str], accepted: &[String]) -> (bool, &'a [&'b str]) {
    match words {
        ["(", inner @ ..] => {
            let (value, rest) = alternatives(inner, accepted);
            (value, rest.strip_prefix(&[")"]).unwrap_or(rest))
        }
        [name, "WITH", exception, rest @ ..] => {
            (accepted.contains(&format!("{name} WITH {exception}")), rest)
        }
        [name, rest @ ..] => (accepted.iter().any(|licence| licence == name), rest),
        [] => (false, words),
    }
}

#[test]
fn licence_expressions_are_read() {
    let accepted = ["MIT".to_owned(), "Zlib".to_owned(), "Unicode-3.0".to_owned()];
    for (expression, expected) in [
        ("MIT OR Apache-2.0", true),
        ("Apache-2.0/MIT", true),
        ("(GPL-3.0 OR MIT) AND Unicode-3.0", true),
        ("GPL-3.0 OR MIT AND Unicode-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception OR MIT", true),
        ("Apache-2.0 WITH LLVM-exception", false),
        ("", false),
    ] {
        assert_eq!(satisfied(expression, &accepted), expected, "{expression}");
    }
}
