//! What the choice of the scorer changes: CoIN's scorer minus the official one, in percentage points.

use super::format::{self, Grid, NONE};
use super::results::{CellResult, Results, Status};
use super::summary::{self, COLUMNS, Row, Statistic};

/// The heading.
pub const TITLE: &str = "Difference, scorer coin minus official (percentage points)";

const COIN: &str = "coin";
const OFFICIAL: &str = "official";

/// A row per method, over the finished runs that both have scored, and per reference; `None` where one scorer is missing.
pub fn grid(results: &Results) -> Option<Grid> {
    if ![COIN, OFFICIAL].iter().all(|scorer| results.scorers().contains(scorer)) {
        return None;
    }
    let header = ["method", "n"].into_iter().chain(COLUMNS.iter().map(|column| column.name));
    let mut rows: Vec<Vec<String>> =
        results.methods().into_iter().map(|method| method_row(results, method)).collect();
    let official = summary::rows(results, OFFICIAL);
    for row in summary::rows(results, COIN).iter().filter(|row| !row.is_method) {
        let other = official.iter().find(|other| !other.is_method && other.name == row.name);
        rows.extend(other.and_then(|other| reference_row(row, other)));
    }
    Some(Grid { header: header.map(str::to_owned).collect(), rows })
}

fn method_row(results: &Results, method: &str) -> Vec<String> {
    let done = |cell: &&CellResult| cell.method == method && cell.status == Status::Done;
    let pairs: Vec<_> = results
        .cells
        .iter()
        .filter(done)
        .filter_map(|cell| Some((&cell.scorers.get(COIN)?.metrics, &cell.scorers.get(OFFICIAL)?.metrics)))
        .collect();
    let values = COLUMNS.iter().map(|column| {
        let less =
            pairs.iter().filter_map(|(one, other)| Some((column.value)(one)? - (column.value)(other)?));
        shown(Statistic::of(&less.collect::<Vec<_>>()))
    });
    [method.to_owned(), pairs.len().to_string()].into_iter().chain(values).collect()
}

/// References have a final average only.
fn reference_row(row: &Row, other: &Row) -> Option<Vec<String>> {
    let (one, other) = (row.metrics.first().copied()??, other.metrics.first().copied()??);
    let less = Statistic { mean: one.mean - other.mean, deviation: None, count: 1 };
    let mut cells = vec![row.name.clone(), NONE.to_owned(), shown(Some(less))];
    cells.resize(2 + COLUMNS.len(), NONE.to_owned());
    Some(cells)
}

fn shown(value: Option<Statistic>) -> String {
    value.map_or(NONE.to_owned(), |value| format::statistic(&value))
}
