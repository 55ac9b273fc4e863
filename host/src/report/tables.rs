//! The report on the terminal: plain text of at most 100 columns, the same on every machine.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use super::difference;
use super::format::{self, Grid};
use super::results::Results;
use super::summary;

/// The greatest width of a line.
pub const WIDTH: usize = 100;

/// For each scorer the comparison table, then what failed, then flips, then the accuracy matrices of every method.
pub fn text(results: &Results) -> String {
    let mut out = String::new();
    for scorer in results.scorers() {
        section(&mut out, &comparison(results, scorer));
    }
    if let Some(grid) = difference::grid(results) {
        section(&mut out, &format!("{}{}", line(difference::TITLE), render(&grid)));
    }
    section(&mut out, &measures(results));
    let failures = failures(results);
    if !failures.is_empty() {
        section(&mut out, &failures);
    }
    section(&mut out, &flips(results));
    let mut handovers = String::new();
    for line in format::handovers(results) {
        wrap(&mut handovers, &line, "");
    }
    section(&mut out, &handovers);
    for scorer in results.scorers() {
        section(&mut out, &matrices(results, scorer));
    }
    out
}

/// How many answers differ from strict ones, a line for each run in which it was counted; empty if in none.
fn flips(results: &Results) -> String {
    let mut out = String::new();
    for cell in results.cells.iter().filter(|cell| cell.flips.is_some()) {
        let place = format!("{}, order {}, seed {}", cell.method, cell.order, cell.seed);
        let counted = format::flips(cell.flips);
        wrap(&mut out, &format!("flips: {place}: batches and folded weights changed {counted} answers"), "");
    }
    out
}

/// General knowledge and format failure of every method; empty where neither was measured.
pub fn measures(results: &Results) -> String {
    let grid = format::measures(results);
    if grid.rows.is_empty() {
        return String::new();
    }
    let mut out = format!("{}{}", line(format::MEASURES), render(&grid));
    for note in format::measure_notes(results) {
        wrap(&mut out, &note, "");
    }
    out
}

/// A table under a heading.
pub fn titled(title: &str, grid: &Grid) -> String {
    format!("{}{}", line(title), groups(grid).iter().map(render).collect::<Vec<_>>().join("\n"))
}

/// The comparison table of one scorer under its heading, with a line on how to read it.
pub fn comparison(results: &Results, scorer: &str) -> String {
    let grid = format::comparison(results, scorer);
    let repeated = grid.rows.iter().flatten().any(|text| text.contains('±'));
    let spread = if repeated { "; mean ± sample standard deviation over n runs" } else { "" };
    format!("{}{}", line(&format!("Comparison, scorer {scorer} (percent{spread})")), render(&grid))
}

/// The accuracy matrices of one scorer, each under its heading; matrices too wide for a line are cut into groups of tasks.
pub fn matrices(results: &Results, scorer: &str) -> String {
    let mut out = String::new();
    for view in summary::matrices(results, scorer) {
        let title = format!("Accuracy matrix, {}, scorer {scorer} (percent)", format::matrix_title(&view));
        let grid = format::matrix(&view);
        let body: Vec<String> = groups(&grid).iter().map(render).collect();
        section(&mut out, &format!("{}{}", line(&title), body.join("\n")));
    }
    out
}

/// The failed cells with their reasons, wrapped at spaces; empty if none failed.
pub fn failures(results: &Results) -> String {
    let mut out = String::new();
    for (place, reason) in summary::failures(results) {
        let text = format!("failed: {place}: {reason}");
        for (at, text) in text.lines().enumerate() {
            wrap(&mut out, text, if at == 0 { "" } else { "  " });
        }
    }
    out
}

/// Breaks a line at spaces so that it fits, the rest indented; a word longer than a line is cut.
fn wrap(out: &mut String, text: &str, indent: &str) {
    let mut current = indent.to_owned();
    for word in text.split_whitespace() {
        let is_fresh = current.trim().is_empty();
        if !is_fresh && current.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line(&current));
            current = format!("  {word}");
        } else {
            current = if is_fresh { format!("{current}{word}") } else { format!("{current} {word}") };
        }
    }
    out.push_str(&line(&current));
}

fn section(out: &mut String, text: &str) {
    if !out.is_empty() && !text.is_empty() {
        out.push('\n');
    }
    out.push_str(text);
}

/// One line, cut to the width.
fn line(text: &str) -> String {
    if text.chars().count() <= WIDTH {
        return format!("{text}\n");
    }
    format!("{}…\n", text.chars().take(WIDTH - 1).collect::<String>())
}

fn render(grid: &Grid) -> String {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─');
    table.load_style(TableStyle::new().header_separator(rule));
    table.force_no_tty().set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH as u16);
    table.set_header(&grid.header);
    table.add_rows(&grid.rows);
    let gap = u16::from(natural_width(grid) + grid.header.len() <= WIDTH) + 1;
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if at + 1 < grid.header.len() { gap } else { 0 }));
        column.set_cell_alignment(if at == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

fn widths(grid: &Grid) -> Vec<usize> {
    let width = |at: usize| {
        let cells = grid.rows.iter().filter_map(|row| row.get(at));
        cells.chain(grid.header.get(at)).map(|text| text.chars().count()).max().unwrap_or(0)
    };
    (0..grid.header.len()).map(width).collect()
}

/// The width with one space between columns.
fn natural_width(grid: &Grid) -> usize {
    widths(grid).iter().sum::<usize>() + grid.header.len().saturating_sub(1)
}

/// The grid cut by columns so that every part fits the width, each part with the first column.
fn groups(grid: &Grid) -> Vec<Grid> {
    let widths = widths(grid);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut used = WIDTH;
    for (at, width) in widths.iter().enumerate().skip(1) {
        if used + 1 + width > WIDTH || groups.is_empty() {
            groups.push(vec![0]);
            used = widths[0];
        }
        used += 1 + width;
        if let Some(group) = groups.last_mut() {
            group.push(at);
        }
    }
    let pick = |row: &Vec<String>, group: &[usize]| group.iter().map(|&at| row[at].clone()).collect();
    groups
        .iter()
        .map(|group| Grid {
            header: pick(&grid.header, group),
            rows: grid.rows.iter().map(|row| pick(row, group)).collect(),
        })
        .collect()
}
