//! Rules on all text files.

use super::Faults;
use super::source::{files, read, repository};

const TEXT: &[&str] =
    &[".rs", ".toml", ".md", ".py", ".cff", ".txt", ".html", "Makefile", ".gitignore", "run"];

fn texts() -> Vec<(String, String)> {
    let paths = files().into_iter().filter(|path| TEXT.iter().any(|ending| path.ends_with(ending)));
    paths
        .map(|path| {
            read(&path).map(|text| (path.clone(), text)).unwrap_or_else(|| panic!("{path}: not UTF-8"))
        })
        .collect()
}

#[test]
fn lines_end_cleanly() {
    let mut faults = Faults::default();
    for (path, text) in texts() {
        for (index, line) in text.split('\n').enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                faults.add(&path, index + 1, "white space at the end of the line");
            }
        }
        if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
            faults.add(&path, text.lines().count(), "a file ends with one line feed");
        }
    }
    faults.expect_none("let the editor trim lines on saving; `cargo fmt` does it for Rust");
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    let folders = ["work", "root", "home", "Users"].map(|name| format!("/{name}/"));
    let mut faults = Faults::default();
    for (path, text) in texts() {
        for (index, line) in text.lines().enumerate() {
            for folder in &folders {
                if absolute(line, folder) {
                    faults.add(&path, index + 1, format!("the path `{folder}..` exists on one machine only"));
                }
            }
        }
    }
    faults.expect_none("write a path from the repository's root, or a temporary folder in tests");
}

/// Whether `folder` stands in the line as the start of a path.
fn absolute(line: &str, folder: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || ['.', '_', '-', '}', ')', '$', '*', '/'].contains(&c);
    line.match_indices(folder).any(|(at, _)| !line[..at].ends_with(inside))
}

#[test]
fn links_between_documents_resolve() {
    let mut faults = Faults::default();
    for (path, text) in texts().into_iter().filter(|(path, _)| path.ends_with(".md")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (line, target) in links(&text) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !repository().join(folder).join(file).exists() {
                faults.add(&path, line, format!("the link `{target}` leads nowhere"));
            }
        }
    }
    faults.expect_none("a link is a path from the folder of its own file");
}

/// The targets of `[..](..)` that are files, with their lines; code blocks are skipped.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        for (at, _) in line.match_indices("](").filter(|_| !code) {
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push((index + 1, target));
            }
        }
    }
    found
}

#[test]
fn quoted_code_stands_in_its_file() {
    let mut faults = Faults::default();
    for (path, text) in texts().into_iter().filter(|(path, _)| path.ends_with(".md")) {
        for (line, source, code) in quotations(&text) {
            let held =
                repository().join(source).is_file().then(|| read(source)).flatten().unwrap_or_default();
            if !code.split("\n// ..\n").all(|part| stands_in(part, &held)) {
                faults.add(&path, line, format!("this is not what stands in {source}"));
            }
        }
    }
    faults.expect_none(
        "a block that begins with ```LANGUAGE FILE is quoted from that file; `// ..` leaves lines out",
    );
}

/// Line, file and code of the blocks that begin with ```` ```LANGUAGE FILE ````.
fn quotations(text: &str) -> Vec<(usize, &str, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(opening) = line.strip_prefix("```") else { continue };
        let code: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        if let Some((_, source)) = opening.split_once(' ') {
            found.push((index + 1, source, code.join("\n")));
        }
    }
    found
}

/// Whether these lines stand together in a text, indented or not.
fn stands_in(part: &str, text: &str) -> bool {
    let [part, text] = [part, text].map(|text| text.lines().map(str::trim).collect::<Vec<_>>());
    !part.is_empty() && text.windows(part.len()).any(|lines| lines == part)
}

#[test]
fn quotations_are_recognised() {
    let text = "```\nplain\n```\n```rust a.rs\nfn a() {\n    b();\n```\n";
    assert_eq!(quotations(text), [(4, "a.rs", String::from("fn a() {\n    b();"))]);
    assert!(stands_in("fn a() {\n    b();", "mod c {\n    fn a() {\n        b();\n    }\n}\n"));
    assert!(!stands_in("fn a() {\n    b();", "fn a() {\n    c();\n    b();\n}\n") && !stands_in("", "a\n"));
}

#[test]
fn links_and_absolute_paths_are_recognised() {
    let text = "[a](b.md#c) [d](https://e.f/g)\n```\n[h](i)\n```\n![j](k/l.png \"m\")\n";
    assert_eq!(links(text), [(1, "b.md#c"), (5, "k/l.png")]);
    let folder = format!("/{}/", "work");
    assert!(absolute(&format!("see {folder}x"), &folder) && absolute(&format!("\"{folder}x\""), &folder));
    assert!(
        !absolute(&format!("https://a.b{folder}x"), &folder)
            && !absolute(&format!("{{dir}}{folder}"), &folder)
    );
}
