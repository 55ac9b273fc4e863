//! The files of the repository, and Rust sources with comments and literals blanked out.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders with files of ours; what a build or a run writes lies elsewhere.
const FOLDERS: &[&str] = &["plugin-api", "host", "plugins", "configs", "tests", "docs", ".ci", ".cargo"];

pub(super) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Paths from the repository's root, with `/`, sorted.
pub(super) fn files() -> Vec<String> {
    let root = repository();
    let mut found = Vec::new();
    for entry in fs::read_dir(&root).expect("the repository's root is readable").flatten() {
        if entry.path().is_file() {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    for folder in FOLDERS {
        walk(&root, folder, &mut found);
    }
    found.retain(|path| path != ".git"); // a file in a linked worktree
    // What was released is as it was.
    found.retain(|path| !path.starts_with("tests/frozen/plugin-api-"));
    found.sort();
    assert!(
        found.iter().any(|path| path == "host/src/lib.rs"),
        "the repository was not found in {}",
        root.display()
    );
    found
}

fn walk(root: &Path, folder: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if path.ends_with("/target") || path.ends_with("/__pycache__") {
            continue;
        }
        if entry.path().is_dir() {
            walk(root, &path, found);
        } else {
            found.push(path);
        }
    }
}

/// The content of a file, by its path from the root; `None` where it is not UTF-8.
pub(super) fn read(path: &str) -> Option<String> {
    let bytes = fs::read(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8(bytes).ok()
}

pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
    /// As `text`, line by line, with comments and the contents of literals blanked out.
    pub(super) code: String,
    /// The line (from 1) of `#[cfg(test)]` above a test module; `usize::MAX` without one, 0 where the whole file is a test.
    pub(super) tests_from: usize,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let whole = path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/");
        let tests_from = if whole { 0 } else { test_module(&code).unwrap_or(usize::MAX) };
        Source { path: path.to_owned(), text: text.to_owned(), code, tests_from }
    }

    /// The lines of code with their numbers from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// As `lines`, without the test module.
    pub(super) fn lines_outside_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().take_while(|(line, _)| *line < self.tests_from)
    }
}

pub(super) fn rust_sources() -> Vec<Source> {
    let paths = files().into_iter().filter(|path| path.ends_with(".rs"));
    paths
        .map(|path| Source::new(&path, &read(&path).unwrap_or_else(|| panic!("{path}: not UTF-8"))))
        .collect()
}

fn test_module(code: &str) -> Option<usize> {
    let lines: Vec<&str> = code.lines().collect();
    lines.iter().enumerate().find_map(|(index, line)| {
        let next = lines[index + 1..].iter().find(|line| !line.starts_with("#["))?;
        (*line == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{')).then_some(index + 1)
    })
}

/// Replaces comments and the contents of string and character literals by spaces; lines stay where they are.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_or_comment_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        let quote = chars[at..end].contains(&'"') && chars[at] != '/';
        for (offset, &c) in chars[at..end].iter().enumerate() {
            let keep = c == '\n' || quote && c == '"' && (offset == 0 || at + offset + 1 == end);
            out.push(if keep { c } else { ' ' });
        }
        at = end;
    }
    out
}

/// Where the comment or literal that starts at `at` ends; `at` itself where none starts.
fn literal_or_comment_end(chars: &[char], at: usize) -> usize {
    let starts = |text: &str| text.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let after_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if starts("//") {
        return chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |length| at + length);
    }
    if starts("/*") {
        let (mut depth, mut end) = (0, at);
        while end < chars.len() {
            match (chars[end], chars.get(end + 1)) {
                ('/', Some('*')) => (depth, end) = (depth + 1, end + 2),
                ('*', Some('/')) => (depth, end) = (depth - 1, end + 2),
                _ => end += 1,
            }
            if depth == 0 {
                break;
            }
        }
        return end;
    }
    if chars[at] == 'r' && (!after_word || chars[at - 1] == 'b' || chars[at - 1] == 'c') {
        let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
        if chars.get(at + 1 + hashes) == Some(&'"') {
            let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let body = at + 2 + hashes;
            let rest: String = chars[body..].iter().collect();
            return rest
                .find(&close)
                .map_or(chars.len(), |to| body + rest[..to].chars().count() + close.len());
        }
    }
    if chars[at] == '"' {
        return closing(chars, at, '"');
    }
    // A lifetime has no closing quote right after one character.
    let escaped = chars.get(at + 1) == Some(&'\\');
    if chars[at] == '\'' && (escaped || chars.get(at + 2) == Some(&'\'')) {
        return closing(chars, at, '\'');
    }
    at
}

fn closing(chars: &[char], at: usize, quote: char) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len())
}

#[test]
fn comments_and_literals_are_blanked_and_code_stays() {
    let text =
        "let a = \"x // y\"; // b\nlet c = '\"'; /* d\n/* e */ f */ g::<'a>(r#\"h\" i\"#, '\\'', b\"j\")";
    let code = blank(text);
    assert_eq!(code.lines().count(), 3);
    for word in ["x", "y", "b\n", "d", "e */", "f", "h\"", " i", "j"] {
        assert!(!code.contains(word), "{word:?} is still in {code:?}");
    }
    assert!(code.contains("let a = \"") && code.contains("g::<'a>("), "{code:?}");
}

#[test]
fn a_test_module_is_found_by_its_attribute() {
    let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n";
    assert_eq!(Source::new("host/src/a.rs", text).tests_from, 3);
    assert_eq!(Source::new("host/src/a.rs", "#[cfg(test)]\nfn helper() {}\n").tests_from, usize::MAX);
    assert_eq!(Source::new("tests/it/a.rs", "fn a() {}\n").tests_from, 0);
}
