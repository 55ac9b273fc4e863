//! The report as Markdown tables.

use super::difference;
use super::format::{self, Grid};
use super::results::Results;
use super::summary;

/// The comparison of every scorer, the failures and the accuracy matrices.
pub fn text(results: &Results) -> String {
    let mut out = String::new();
    for scorer in results.scorers() {
        out.push_str(&format!(
            "## Comparison, scorer {scorer}\n\n{}\n",
            table(&format::comparison(results, scorer))
        ));
    }
    if let Some(grid) = difference::grid(results) {
        out.push_str(&format!("## {}\n\n{}\n", difference::TITLE, table(&grid)));
    }
    let measures = format::measures(results);
    if !measures.rows.is_empty() {
        out.push_str(&format!("## {}\n\n{}\n", format::MEASURES, table(&measures)));
        let notes = format::measure_notes(results);
        out.push_str(&notes.iter().map(|note| format!("- {}\n", escape(note))).collect::<String>());
        out.push('\n');
    }
    let failures = summary::failures(results);
    if !failures.is_empty() {
        out.push_str("## Failed runs\n\n");
        for (place, reason) in failures {
            out.push_str(&format!("- {}: {}\n", escape(&place), escape(&reason)));
        }
        out.push('\n');
    }
    let granted = format::granted(results);
    if !granted.rows.is_empty() {
        out.push_str(&format!("## Granted and used\n\n{}\n", table(&granted)));
    }
    let handovers = format::handovers(results);
    if !handovers.is_empty() {
        out.push_str("## Strict protocol\n\n");
        out.push_str(&handovers.iter().map(|line| format!("- {}\n", escape(line))).collect::<String>());
        out.push('\n');
    }
    for scorer in results.scorers() {
        for view in summary::matrices(results, scorer) {
            let title = escape(&format::matrix_title(&view));
            out.push_str(&format!("## {title}, scorer {scorer}\n\n{}\n", table(&format::matrix(&view))));
        }
    }
    out
}

/// A grid as a Markdown table, numbers to the right.
pub fn table(grid: &Grid) -> String {
    let row = |cells: &[String]| {
        format!("| {} |\n", cells.iter().map(|cell| escape(cell)).collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<&str> = (0..grid.header.len()).map(|at| if at == 0 { "---" } else { "---:" }).collect();
    let mut out = row(&grid.header);
    out.push_str(&format!("| {} |\n", rule.join(" | ")));
    out.extend(grid.rows.iter().map(|cells| row(cells)));
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | '|' | '*' | '_' | '`' | '[' | ']' | '#' => out.extend(['\\', letter]),
            '<' => out.push_str("&lt;"),
            '\n' => out.push(' '),
            _ => out.push(letter),
        }
    }
    out
}
