//! One's own results beside somebody else's.

use super::format::{self, Grid, NONE};
use super::published::Published;
use super::results::{CellResult, Results, Status};
use super::summary::{COLUMNS, Column, FURTHER, Statistic};
use crate::eval::measure;

/// Their figures beside ours: a table of metrics, one of tasks, and what a reader has to know before comparing.
pub struct Comparison {
    pub metrics: Grid,
    pub tasks: Grid,
    pub notes: Vec<String>,
}

/// Ours under the scorer of theirs where it was applied, else under the official one.
pub fn compare(ours: &Results, theirs: &Published) -> Comparison {
    let published = theirs.results();
    let scorer = theirs.scorer.name();
    let own = if ours.scorers().contains(&scorer) { scorer } else { "official" };
    let mut notes = vec![format!("{}: {} ({})", theirs.name, theirs.title, theirs.paper)];
    if own != scorer {
        notes.push(format!(
            "theirs are scored by `{scorer}`, ours by `{own}`: not the same measure; `coin-host score --run RUN --scorer {own},{scorer}` adds it"
        ));
    }
    let methods = ours.methods();
    let same_tasks = |cell: &CellResult| ours.tasks_of(cell) == theirs.tasks;
    let comparable = ours.cells.iter().any(same_tasks);
    if !comparable {
        notes.push("tasks or their order differ from theirs: metrics over all tasks are left out, and no score depends on the same past".to_owned());
    }
    let mut header = vec![String::new(), theirs.name.clone()];
    header.extend(methods.iter().map(|method| (*method).to_owned()));
    let done = |method: &str| -> Vec<&CellResult> {
        ours.cells.iter().filter(|cell| cell.method == method && cell.status == Status::Done).collect()
    };
    // (Row, theirs, ours by method).
    let mut metrics = Vec::new();
    let measures = [(scorer, own, "")].into_iter().chain(knowledge(ours, &published));
    for (name, own, prefix) in measures {
        let Some(theirs_under) = published.cells[0].scorers.get(name) else { continue };
        for Column { name: column, value, .. } in COLUMNS.iter().chain(&FURTHER) {
            let them = value(&theirs_under.metrics);
            let given = if prefix.is_empty() { stated(theirs, column) } else { None };
            let them_shown = match (them, given) {
                (Some(value), _) => format!("{value:.2}"),
                (None, Some(value)) => format!("{value:.2} (stated)"),
                _ => NONE.to_owned(),
            };
            let mut row = vec![format!("{prefix}{column}"), them_shown];
            for method in &methods {
                let cells = done(method).into_iter().filter(|cell| same_tasks(cell));
                let values: Vec<f64> =
                    cells.filter_map(|cell| value(&cell.scorers.get(own)?.metrics)).collect();
                row.push(beside(Statistic::of(&values), them.or(given)));
            }
            metrics.push(row);
        }
    }
    if published.cells[0].scorers.contains_key(measure::KNOWLEDGE_JUDGE_COIN) {
        let judged = knowledge(ours, &published).next().map(|(_, own, _)| own);
        notes.push(match judged {
            Some(measure::KNOWLEDGE_OFFLINE) => format!(
                "GK: theirs by a language model, ours by the offline judge (`{}`): two measures of one thing, not one measure",
                measure::KNOWLEDGE_OFFLINE
            ),
            Some(own) => format!("GK: theirs by Qwen1.5-32B-Chat, ours `{own}`"),
            None => "GK: ours is not measured".to_owned(),
        });
    }
    notes.push("ours in brackets: minus theirs; `-` is unknown; `stated`: as printed, since the cells to compute it from are unknown".to_owned());
    let mut tasks = Vec::new();
    for task in &theirs.tasks {
        for (what, at_end) in [("right after", false), ("at the end", true)] {
            let them = score(&published, &published.cells[0], scorer, task, at_end);
            let mut row = vec![format!("{task}, {what}"), format::score(them)];
            for method in &methods {
                let values: Vec<f64> = done(method)
                    .into_iter()
                    .filter_map(|cell| score(ours, cell, own, task, at_end))
                    .collect();
                row.push(beside(Statistic::of(&values), them));
            }
            tasks.push(row);
        }
    }
    Comparison {
        metrics: Grid { header: header.clone(), rows: metrics },
        tasks: Grid { header, rows: tasks },
        notes,
    }
}

/// The measure of general knowledge that stands beside theirs: a language model's if there is one.
fn knowledge<'a>(ours: &Results, published: &Results) -> std::option::IntoIter<(&'a str, &'a str, &'a str)> {
    let theirs = measure::KNOWLEDGE_JUDGE_COIN;
    let own = [theirs, measure::KNOWLEDGE_JUDGE, measure::KNOWLEDGE_OFFLINE];
    let own = own.into_iter().find(|name| ours.measures().contains(name));
    let there = published.measures().contains(&theirs);
    own.filter(|_| there).map(|own| (theirs, own, "GK ")).into_iter()
}

/// A metric as they printed it.
fn stated(theirs: &Published, column: &str) -> Option<f64> {
    let key = match column {
        "AP" => "ap",
        "MAA" => "maa",
        "BWT/T" => "bwt_t",
        "BWT/(T-1)" => "bwt_t1",
        other => other,
    };
    theirs.published.get(key).map(|figure| figure.score)
}

fn score(results: &Results, cell: &CellResult, scorer: &str, task: &str, at_end: bool) -> Option<f64> {
    let place = results.tasks_of(cell).iter().position(|known| known == task)?;
    let matrix = &cell.scorers.get(scorer)?.matrix;
    matrix.get(if at_end { matrix.tasks() - 1 } else { place }, place)
}

fn beside(ours: Option<Statistic>, theirs: Option<f64>) -> String {
    match (ours, theirs) {
        (None, _) => NONE.to_owned(),
        (Some(ours), None) => format::statistic(&ours),
        (Some(ours), Some(theirs)) => format!("{} ({:+.1})", format::statistic(&ours), ours.mean - theirs),
    }
}

/// Computed metrics of a published file beside those that were printed.
pub fn own_figures(published: &Published) -> Grid {
    let results = published.results();
    let mut rows = Vec::new();
    for (name, result) in &results.cells[0].scorers {
        for Column { name: column, value, .. } in COLUMNS.iter().chain(&FURTHER) {
            let printed = if measure::is_measure(name) { None } else { stated(published, column) };
            let shown = |value: Option<f64>| value.map_or(NONE.to_owned(), |value| format!("{value:.2}"));
            rows.push(vec![format!("{name}, {column}"), shown(value(&result.metrics)), shown(printed)]);
        }
    }
    Grid { header: ["", "from the cells", "as printed"].map(str::to_owned).to_vec(), rows }
}
