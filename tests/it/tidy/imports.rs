//! Who may use whom inside the host, read from the paths in its sources.

use super::Faults;
use super::source::{Source, rust_sources};

/// What modules of the host must not use. A name that starts with `crate::` is a module of the host, another one a package.
struct Rule {
    modules: &'static [&'static str],
    never: &'static [&'static str],
    because: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        modules: &["ops"],
        never: &[
            "crate::plugin",
            "crate::train",
            "crate::eval",
            "crate::compare",
            "crate::conformance",
            "crate::cli",
        ],
        because: "`ops` is the lowest layer: it turns handles into tensors and knows nobody above it",
    },
    Rule {
        modules: &["plugin"],
        never: &["crate::train", "crate::eval", "crate::compare", "crate::cli"],
        because: "`plugin` stands below what drives plugins",
    },
    Rule {
        modules: &["train"],
        never: &["crate::eval", "crate::compare", "crate::cli"],
        because: "`train` and `eval` stand side by side below `compare`",
    },
    Rule {
        modules: &["eval"],
        never: &["crate::train", "crate::compare", "crate::cli"],
        because: "`train` and `eval` stand side by side below `compare`",
    },
    Rule {
        modules: &["compare", "bench", "doctor"],
        never: &["crate::conformance", "crate::cli"],
        because: "the conformance suite stands above what it checks; the library does not know its command line",
    },
    Rule {
        modules: &["conformance"],
        never: &["crate::cli"],
        because: "the library does not know its command line",
    },
    Rule {
        modules: &["model", "data", "stream", "quickstart"],
        never: &[
            "crate::ops",
            "crate::plugin",
            "crate::train",
            // The words of scoring, `eval::scorer`, are plain data.
            "crate::eval::answering",
            "crate::eval::blind",
            "crate::eval::matrix",
            "crate::eval::metrics",
            "crate::compare",
            "crate::cli",
            "abi_stable",
        ],
        because: "the model, the data and the stream know no plugin code",
    },
    Rule {
        modules: &["config", "report"],
        never: &[
            "crate::ops",
            "crate::plugin",
            "crate::model",
            "crate::train",
            "crate::compare",
            "crate::cli",
        ],
        because: "config and report are pure: data in, data out",
    },
    Rule {
        modules: &[
            "config",
            "report",
            "stream",
            "eval::summary",
            "eval::metrics",
            "eval::matrix",
            "eval::scorer",
            "eval::file",
            "eval::python",
        ],
        never: &["tch", "torch_sys", "crate::ops", "crate::plugin", "crate::model"],
        because: "these use no tensor, so that their tests are fast",
    },
];

/// Packages that only some modules of the host may use.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("clap", &["cli", "main"], "only the command line parses arguments"),
    ("libloading", &["plugin"], "only `plugin` opens libraries"),
];

#[test]
fn modules_of_the_host_keep_to_their_layer() {
    let mut faults = Faults::default();
    for source in rust_sources().iter().filter(|source| source.path.starts_with("host/src/")) {
        check(source, &mut faults);
    }
    faults.expect_none("move the code to the layer that may use it, or pass in what it needs as a value");
}

fn check(source: &Source, faults: &mut Faults) {
    let module = module_of(&source.path);
    let code: Vec<&str> = source.lines_outside_tests().map(|(_, line)| line).collect();
    for (line, path) in paths(&code.join("\n")) {
        let used = resolve(&module, &path);
        for rule in RULES.iter().filter(|rule| rule.modules.iter().any(|name| within(&module, name))) {
            if let Some(name) = rule.never.iter().find(|name| within(&used, name)) {
                faults.add(&source.path, line, format!("`{module}` must not use `{name}`: {}", rule.because));
            }
        }
        for (package, modules, because) in ONLY_IN {
            if within(&used, package) && !modules.iter().any(|name| within(&module, name)) {
                faults.add(&source.path, line, format!("`{module}` must not use `{package}`: {because}"));
            }
        }
    }
}

/// `host/src/eval/metrics.rs` is `eval::metrics`.
fn module_of(path: &str) -> String {
    let path = path.trim_start_matches("host/src/").trim_end_matches(".rs").trim_end_matches("/mod");
    path.replace('/', "::")
}

/// Whether a path is `name` or lies inside it.
fn within(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// A path as written in `module`, from the root: `crate::..` for a module of the host, else a package's name.
fn resolve(module: &str, path: &[String]) -> String {
    let mut base: Vec<&str> = module.split("::").collect();
    let mut rest = path.iter().map(String::as_str).peekable();
    match rest.peek() {
        Some(&"crate" | &"coin_host") => {
            rest.next();
            base.clear();
        }
        Some(&"self") => {
            rest.next();
        }
        Some(&"super") => {
            while rest.next_if_eq(&"super").is_some() {
                base.pop();
            }
        }
        _ => return path.join("::"),
    }
    std::iter::once("crate").chain(base).chain(rest).collect::<Vec<_>>().join("::")
}

/// Every path of two or more names, and every `use`, with its line; groups are spelt out.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].1 == "use" {
            at = use_tree(&tokens, at + 1, &[], &mut found);
        } else if is_name(&tokens[at].1) {
            let line = tokens[at].0;
            let mut path = vec![tokens[at].1.clone()];
            at += 1;
            while at + 1 < tokens.len() && tokens[at].1 == "::" && is_name(&tokens[at + 1].1) {
                path.push(tokens[at + 1].1.clone());
                at += 2;
            }
            if path.len() > 1 {
                found.push((line, path));
            }
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one tree of a `use` and returns where it ends: at a `,`, `}` or `;`, which is left.
fn use_tree(
    tokens: &[(usize, String)],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut path = prefix.to_vec();
    let mut grouped = false;
    let line = tokens.get(at).map_or(0, |token| token.0);
    while at < tokens.len() && !matches!(tokens[at].1.as_str(), "," | "}" | ";") {
        match tokens[at].1.as_str() {
            "{" => {
                grouped = true;
                while at < tokens.len() && tokens[at].1 != "}" {
                    at = use_tree(tokens, at + 1, &path, found);
                }
            }
            "as" => at += 1,
            name if is_name(name) => path.push(name.to_owned()),
            _ => {}
        }
        at += 1;
    }
    if !grouped && path.len() > prefix.len() {
        found.push((line, path));
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = if word > 0 {
                word
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            found.push((index + 1, rest[..length].to_owned()));
            rest = rest[length..].trim_start();
        }
    }
    found
}

#[test]
fn paths_are_read_from_uses_and_from_expressions() {
    let code = "use crate::{ops::handle, plugin::{self, load as l}};\nfn a() { super::b(); tch::Tensor::new(); x.y() }";
    let found: Vec<String> =
        paths(code).iter().map(|(line, path)| format!("{line} {}", resolve("train::step", path))).collect();
    assert_eq!(
        found,
        [
            "1 crate::ops::handle",
            "1 crate::plugin::self",
            "1 crate::plugin::load",
            "2 crate::train::b",
            "2 tch::Tensor::new"
        ]
    );
}

#[test]
fn a_forbidden_use_is_reported_with_its_line() {
    for (path, text, expected) in [
        (
            "host/src/ops/cast.rs",
            "use crate::{model, plugin::Loaded};\n",
            Some("host/src/ops/cast.rs:1: `ops::cast`"),
        ),
        (
            "host/src/eval/metrics.rs",
            "\nfn a(t: &tch::Tensor) {}\n",
            Some("host/src/eval/metrics.rs:2: `eval::metrics`"),
        ),
        ("host/src/data/loader.rs", "use clap::Parser;\n", Some("host/src/data/loader.rs:1: `data::loader`")),
        (
            "host/src/data/loader.rs",
            "// crate::plugin\n#[cfg(test)]\nmod tests {\n    use crate::plugin::x;\n}\n",
            None,
        ),
        ("host/src/train/loop.rs", "use crate::plugin::Stack;\nuse tch::Tensor;\n", None),
    ] {
        let mut faults = Faults::default();
        check(&Source::new(path, text), &mut faults);
        let first = faults.0.first().map(String::as_str);
        assert_eq!(
            first.map(|f| expected.is_some_and(|e| f.starts_with(e))),
            expected.map(|_| true),
            "{first:?}"
        );
    }
}
