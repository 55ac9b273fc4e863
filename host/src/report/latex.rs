//! The report as LaTeX tables for a paper (packages `booktabs` and, for wide matrices, `graphicx`).

use super::format::{self, Grid, NONE};
use super::results::Results;
use super::summary::{self, COLUMNS};

/// The comparison of every scorer, then the accuracy matrices.
pub fn text(results: &Results) -> String {
    let mut out = String::from("% needs \\usepackage{booktabs}\n");
    for scorer in results.scorers() {
        out.push_str(&comparison(results, scorer));
        for view in summary::matrices(results, scorer) {
            let caption =
                format!("Accuracy matrix of {}, scorer {scorer}, in percent.", format::matrix_title(&view));
            out.push_str(&table(&format::matrix(&view), &caption));
        }
    }
    let measures = format::measures(results);
    if !measures.rows.is_empty() {
        out.push_str(&table(
            &measures,
            &format!("{}.", format::MEASURES.replace(" (percent)", ", in percent")),
        ));
    }
    out
}

/// The comparison table of one scorer; the best method of each metric is bold.
pub fn comparison(results: &Results, scorer: &str) -> String {
    let rows = summary::rows(results, scorer);
    let mut grid = format::comparison(results, scorer);
    // What is a number and what is a name is decided before escaping, so mark the best cells in the grid itself.
    for (at, column) in COLUMNS.iter().enumerate() {
        let means =
            rows.iter().map(|row| if row.is_method { row.metrics[at].map(|value| value.mean) } else { None });
        let means: Vec<Option<f64>> = means.collect();
        let sign = if column.higher_is_better { 1.0 } else { -1.0 };
        let best = means.iter().flatten().map(|mean| mean * sign).fold(f64::MIN, f64::max);
        for (row, mean) in grid.rows.iter_mut().zip(&means) {
            if mean.is_some_and(|mean| mean * sign == best) {
                row[at + 2] = format!("{BOLD}{}", row[at + 2]);
            }
        }
    }
    table(&grid, &format!("Comparison, scorer {scorer}, in percent."))
}

/// Marks a bold cell; no printable text starts with it.
const BOLD: char = '\u{1}';

/// A grid as a floating table.
fn table(grid: &Grid, caption: &str) -> String {
    let columns: String = (0..grid.header.len()).map(|at| if at == 0 { 'l' } else { 'r' }).collect();
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|text| cell(text)).collect();
        format!("    {} \\\\\n", cells.join(" & "))
    };
    let mut out = format!(
        "\\begin{{table}}\n  \\centering\n  \\caption{{{}}}\n  \\begin{{tabular}}{{{columns}}}\n    \\toprule\n",
        escape(caption)
    );
    out.push_str(&row(&grid.header));
    out.push_str("    \\midrule\n");
    out.extend(grid.rows.iter().map(|cells| row(cells)));
    out.push_str("    \\bottomrule\n  \\end{tabular}\n\\end{table}\n");
    out
}

fn cell(text: &str) -> String {
    if text == NONE {
        return "--".to_owned();
    }
    let (bold, text) = text.strip_prefix(BOLD).map_or((false, text), |rest| (true, rest));
    let escaped = match text
        .strip_prefix('-')
        .filter(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
    {
        Some(rest) => format!("$-${}", escape(rest)),
        None => escape(text),
    };
    if bold { format!("\\textbf{{{escaped}}}") } else { escaped }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', letter]),
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '±' => out.push_str("$\\pm$"),
            '\n' => out.push(' '),
            _ => out.push(letter),
        }
    }
    out
}
