//! Rules on single source files.

use super::Faults;
use super::source::{Source, rust_sources};

const LONGEST: usize = 600;

/// Files that may be longer, each with its reason.
const LONG: &[(&str, &str)] = &[];

/// Where `unsafe` may stand.
const UNSAFE: &[&str] = &[
    "plugin-api/src/abi.rs",
    "plugin-api/src/abi/",
    "host/src/ops/handle.rs",
    "host/src/ops/call_op.rs",
    "host/src/plugin/load.rs",
    "host/src/model/weights.rs",
    "host/src/model/floats.rs",
    "host/kernels/src/few_rows.rs",
    "plugins/stress/src/fault.rs", // the faults that no safe code makes
];

#[test]
fn files_are_short() {
    let mut faults = Faults::default();
    for source in rust_sources() {
        let lines = source.text.lines().count();
        let excepted = LONG.iter().any(|(path, _)| *path == source.path);
        if lines > LONGEST && !excepted {
            faults.add(&source.path, lines, format!("{lines} lines, at most {LONGEST} are allowed"));
        } else if lines <= LONGEST && excepted {
            faults.add(&source.path, 0, "is short again: take it off the list LONG in tests/it/tidy/code.rs");
        }
    }
    faults.expect_none(
        "split the file by subject; a generated table may be put on the list LONG with a reason",
    );
}

#[test]
fn unsafe_code_stands_in_few_files_and_is_explained() {
    let mut faults = Faults::default();
    for source in rust_sources() {
        check_unsafe(&source, &mut faults);
    }
    faults.expect_none(
        "use a safe function of those files instead; above an `unsafe` block write `// SAFETY:` and why it is sound",
    );
}

fn check_unsafe(source: &Source, faults: &mut Faults) {
    let allowed = UNSAFE.iter().any(|place| source.path.starts_with(place));
    for (line, code) in source.lines() {
        let Some(word) = find_word(code, "unsafe") else { continue };
        if !allowed {
            faults.add(&source.path, line, format!("`unsafe` is allowed in {} only", UNSAFE.join(", ")));
        }
        let after = code[word + "unsafe".len()..].trim_start();
        let block = after.is_empty() || after.starts_with('{') || after.starts_with("impl");
        if block && !explained(source, line) {
            faults.add(&source.path, line, "`unsafe` without a `// SAFETY:` comment above it");
        }
    }
}

/// Whether a `// SAFETY:` comment stands on the line or above its statement.
fn explained(source: &Source, line: usize) -> bool {
    let lines: Vec<&str> = source.text.lines().collect();
    if lines[line - 1].contains("// SAFETY:") {
        return true;
    }
    for above in lines[..line - 1].iter().rev().map(|text| text.trim()) {
        if above.starts_with("//") {
            if above.starts_with("// SAFETY:") {
                return true;
            }
        } else if above.is_empty() || !above.starts_with("#[") && above.ends_with([';', '{', '}']) {
            return false;
        }
    }
    false
}

#[test]
fn errors_are_handled_and_nothing_is_left_unfinished() {
    let mut faults = Faults::default();
    for source in rust_sources() {
        check_left_overs(&source, &mut faults);
    }
    faults.expect_none(
        "return the error with its context; finish what is unfinished; a wrong behaviour is asserted with a FIXME, not ignored",
    );
}

fn check_left_overs(source: &Source, faults: &mut Faults) {
    for (line, _) in source.lines_outside_tests().filter(|(_, code)| code.contains(".unwrap()")) {
        faults.add(&source.path, line, "`unwrap()` outside tests");
    }
    for (line, code) in source.lines() {
        for name in ["todo", "unimplemented", "dbg"] {
            if find_word(code, name).is_some_and(|at| code[at + name.len()..].starts_with('!')) {
                faults.add(&source.path, line, format!("`{name}!`"));
            }
        }
        if code.trim_start().starts_with("#[ignore") {
            faults.add(&source.path, line, "`#[ignore]`");
        }
    }
}

#[test]
fn test_modules_stand_at_the_end() {
    let mut faults = Faults::default();
    for source in rust_sources() {
        check_test_module(&source, &mut faults);
    }
    faults.expect_none("move the test module to the end of its file");
}

fn check_test_module(source: &Source, faults: &mut Faults) {
    let after =
        source.lines().skip_while(|(line, _)| *line < source.tests_from).skip_while(|(_, code)| *code != "}");
    if source.tests_from > 0
        && let Some((line, _)) = after.skip(1).find(|(_, code)| !code.trim().is_empty())
    {
        faults.add(&source.path, line, "code below the test module");
    }
}

/// Where a whole word starts in a line of code.
fn find_word(code: &str, word: &str) -> Option<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .map(|(at, _)| at)
        .find(|&at| !code[..at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

#[test]
fn each_rule_finds_what_it_forbids() {
    let faults = |path: &str, text: &str| {
        let (source, mut faults) = (Source::new(path, text), Faults::default());
        check_unsafe(&source, &mut faults);
        check_left_overs(&source, &mut faults);
        check_test_module(&source, &mut faults);
        faults
            .0
            .iter()
            .map(|fault| fault.rsplit(": ").next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let handle = "host/src/ops/handle.rs";
    assert_eq!(faults("host/src/a.rs", "// SAFETY: b\nunsafe { c() }\n").len(), 1);
    assert_eq!(faults(handle, "// SAFETY: b\nlet c =\n    unsafe { d() };\n"), [""; 0]);
    assert_eq!(faults(handle, "// SAFETY: b\nlet c = 1;\nlet d = unsafe { e() };\n").len(), 1);
    assert_eq!(faults(handle, "type A = unsafe extern \"C\" fn();\n"), [""; 0]);
    assert_eq!(faults("host/src/a.rs", "a.unwrap();\n"), ["`unwrap()` outside tests"]);
    assert_eq!(
        faults("host/src/a.rs", "// a.unwrap()\n#[cfg(test)]\nmod tests {\n    a.unwrap();\n}\n"),
        [""; 0]
    );
    assert_eq!(faults("tests/it/a.rs", "    todo!()\n    #[ignore]\n"), ["`todo!`", "`#[ignore]`"]);
    assert_eq!(
        faults("host/src/a.rs", "#[cfg(test)]\nmod tests {\n}\nfn a() {}\n"),
        ["code below the test module"]
    );
}
