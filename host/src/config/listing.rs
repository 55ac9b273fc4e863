//! The keys as documentation: Markdown for `docs/config.md`, a commented TOML file, JSON for programs.

use std::fmt::Write as _;

use crate::config::schema::{Fallback, KEYS, Key};

const INTRODUCTION: &str = "\
# Configuration

A run is described by a TOML file: `coin-host compare run.toml`. Without a file the quickstart runs
(`configs/quickstart.toml`, embedded in the program).

- A key that is not listed here is an error, and so is a value of the wrong type or out of range.
- `--set KEY=VALUE` writes over the file: `--set training.steps=40`, `--set methods.lora.stack.lora.r=8`.
- `coin-host config explain run.toml` shows every value with the file and line, or the option, it comes from.
- Paths in a file are relative to that file, paths on the command line to the current folder.
- `*` stands for a name of your own, made of letters, digits, `-` and `_`.

This page is written by `coin-host config schema --markdown`.
";

/// The page `docs/config.md`.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_string();
    let mut section = "";
    for key in KEYS {
        let (table, name) = split(key.path);
        if table != section || page.len() == INTRODUCTION.len() {
            section = table;
            let title = if table.is_empty() { "At the top".to_string() } else { format!("`[{table}]`") };
            let _ = write!(page, "\n## {title}\n\n| key | value | default | |\n| --- | --- | --- | --- |\n");
        }
        let fallback = match key.fallback {
            Fallback::Required => "required".to_string(),
            Fallback::Value(value) => format!("`{value}`"),
            Fallback::Words(words) => words.to_string(),
        };
        let _ = writeln!(page, "| `{name}` | {} | {fallback} | {} |", key.kind.words(), key.text);
    }
    page
}

/// A commented file with every key at its default.
pub fn toml() -> String {
    let mut file = String::new();
    let mut section = "";
    for key in KEYS {
        let (table, name) = split(key.path);
        if table != section {
            section = table;
            let _ = write!(file, "\n[{}]\n", table.replace('*', "NAME"));
        }
        let _ = writeln!(file, "# {}", key.text);
        let _ = match key.fallback {
            Fallback::Required => writeln!(file, "{name} = ..    # required; {}", key.kind.words()),
            Fallback::Value(value) => writeln!(file, "{name} = {value}    # {}", key.kind.words()),
            Fallback::Words(words) => {
                writeln!(file, "# {name} = ..    # {}; default: {words}", key.kind.words())
            }
        };
    }
    file
}

/// A list of `{key, value, required, default, text}`; `default` is TOML, or words where it depends on other keys.
pub fn json() -> serde_json::Value {
    let row = |key: &Key| {
        let default = match key.fallback {
            Fallback::Required => None,
            Fallback::Value(text) | Fallback::Words(text) => Some(text),
        };
        serde_json::json!({
            "key": key.path,
            "value": key.kind.words(),
            "required": key.fallback == Fallback::Required,
            "default": default,
            "text": key.text,
        })
    };
    KEYS.iter().map(row).collect()
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_current() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md"))
            .unwrap_or_default();
        assert!(
            page == markdown(),
            "docs/config.md is out of date: coin-host config schema --markdown > docs/config.md"
        );
    }

    #[test]
    fn the_listing_is_as_long_as_the_table() {
        assert_eq!(json().as_array().map(Vec::len), Some(KEYS.len()));
        let listed = toml();
        assert!(
            listed.contains("\n[tasks.NAME]\n") && listed.contains("batch_size = 32    # a whole number")
        );
    }
}
