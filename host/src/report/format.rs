//! Numbers and tables as people read them; every report writes them the same way.

use super::results::{CellResult, Flips, Handover, Results, Status};
use super::summary::{self, COLUMNS, MatrixView, Row, Statistic};
use crate::eval::measure;

/// What stands for a value that is not there.
pub const NONE: &str = "-";

/// A table of ready strings; the first column holds names, the others numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    /// One entry per column.
    pub header: Vec<String>,
    /// As many entries each.
    pub rows: Vec<Vec<String>>,
}

/// The comparison table: a row per method and reference.
pub fn comparison(results: &Results, scorer: &str) -> Grid {
    let mut header = vec!["method".to_owned(), "n".to_owned()];
    header.extend(COLUMNS.iter().map(|column| column.name.to_owned()));
    header.extend(["params", "stored", "time", "memory"].map(str::to_owned));
    let rows = summary::rows(results, scorer);
    Grid { header, rows: rows.iter().map(|row| comparison_row(results, row)).collect() }
}

/// The metrics that need zero-shot scores or joint training; without rows where none is known.
pub fn further(results: &Results, scorer: &str) -> Grid {
    let mut header = vec!["method".to_owned()];
    header.extend(summary::further_columns(results).iter().map(|column| column.name.to_owned()));
    let shown = |metric: &Option<Statistic>| metric.map_or(NONE.to_owned(), |metric| statistic(&metric));
    let rows = summary::further(results, scorer).into_iter();
    let rows = rows.map(|(name, metrics)| std::iter::once(name).chain(metrics.iter().map(shown)).collect());
    Grid { header, rows: rows.collect() }
}

/// The heading of [`measures`].
pub const MEASURES: &str = "Beside truth alignment: general knowledge (GK) and loss of form (percent)";

/// What each measure of [`measures`] is, in words; who judged where a language model did.
pub fn measure_notes(results: &Results) -> Vec<String> {
    let mut notes: Vec<String> =
        results.measures().into_iter().map(|name| format!("{name}: {}", measure::title(name))).collect();
    if let Some(judge) = &results.judge {
        let votes = match judge.agreement {
            Some(agreement) => format!(", {} votes each, agreement {agreement:.1}%", judge.votes),
            None => String::new(),
        };
        notes.push(format!(
            "judge: {}, temperature {}, {} answers{votes}",
            judge.model, judge.temperature, judge.items
        ));
    }
    notes
}

/// General knowledge and format failure in one table: a row per measure and method.
pub fn measures(results: &Results) -> Grid {
    let mut header: Vec<String> = ["measure", "method"].map(str::to_owned).to_vec();
    let further = summary::further_columns(results);
    header.extend(COLUMNS.iter().chain(&further).map(|column| column.name.to_owned()));
    let shown = |metric: &Option<Statistic>| metric.map_or(NONE.to_owned(), |metric| statistic(&metric));
    let rows = summary::measures(results).into_iter().map(|(method, measure, _, metrics)| {
        [measure.to_owned(), method].into_iter().chain(metrics.iter().map(shown)).collect()
    });
    Grid { header, rows: rows.collect() }
}

fn comparison_row(results: &Results, row: &Row) -> Vec<String> {
    let runs = match (row.done, row.total) {
        (_, 0) => NONE.to_owned(),
        (done, total) if done == total => done.to_string(),
        (done, total) => format!("{done}/{total}"),
    };
    let mut line = vec![row.name.clone(), runs];
    line.extend(row.metrics.iter().map(|metric| metric.map_or(NONE.to_owned(), |metric| statistic(&metric))));
    match &row.cost {
        Some(cost) => line.extend([
            count(cost.trainable_parameters),
            bytes(cost.stored_bytes),
            duration(cost.seconds),
            if cost.peak_memory_bytes == 0 { NONE.to_owned() } else { bytes(cost.peak_memory_bytes as f64) },
        ]),
        None => line.extend([NONE; 4].map(str::to_owned)),
    }
    if row.is_method && row.done == 0 {
        line[2] = state(results, &row.name).to_owned();
    }
    line
}

/// The state of a method none of whose runs has finished.
fn state(results: &Results, method: &str) -> &'static str {
    let states: Vec<Status> =
        results.cells.iter().filter(|cell| cell.method == method).map(|cell| cell.status).collect();
    if states.contains(&Status::Running) {
        "running"
    } else if states.contains(&Status::Pending) {
        "pending"
    } else {
        "failed"
    }
}

/// An accuracy matrix with its reference rows.
pub fn matrix(view: &MatrixView) -> Grid {
    let scores = |name: String, scores: &[Option<f64>]| {
        std::iter::once(name).chain(scores.iter().map(|&value| score(value))).collect::<Vec<String>>()
    };
    let mut rows = vec![scores("zero-shot".to_owned(), &view.zero_shot)];
    rows.extend(view.tasks.iter().zip(&view.rows).map(|(task, row)| scores(format!("after {task}"), row)));
    for (name, values) in [("joint", &view.joint), ("blind", &view.blind)] {
        if values.iter().any(Option::is_some) {
            rows.push(scores(name.to_owned(), values));
        }
    }
    if view.items.iter().any(|items| *items > 0) {
        rows.push(std::iter::once("items".to_owned()).chain(view.items.iter().map(u64::to_string)).collect());
    }
    Grid { header: std::iter::once(String::new()).chain(view.tasks.iter().cloned()).collect(), rows }
}

/// The heading of an accuracy matrix.
pub fn matrix_title(view: &MatrixView) -> String {
    let seeds = match (view.partial, view.seeds) {
        (true, _) => ", unfinished".to_owned(),
        (false, 1) => String::new(),
        (false, seeds) => format!(", mean of {seeds} seeds"),
    };
    format!("{}, order {}{seeds}", view.method, view.order)
}

/// `1 of 32 (3.1%)`.
pub fn flips(flips: Option<Flips>) -> String {
    let Some(Flips { compared, flipped }) = flips else { return NONE.to_owned() };
    match compared {
        0 => format!("{flipped} of {compared}"),
        _ => format!("{flipped} of {compared} ({:.1}%)", 100.0 * flipped as f64 / compared as f64),
    }
}

/// How often the plugins of each run used what they were granted.
pub fn granted(results: &Results) -> Grid {
    let header = ["run", "plugin", "capability", "calls"].map(str::to_owned).to_vec();
    let mut rows = Vec::new();
    for cell in &results.cells {
        let run = format!("{}, {}, seed {}", cell.method, cell.order, cell.seed);
        for (plugin, uses) in &cell.granted {
            let row = |(capability, calls): (&String, &u64)| {
                vec![run.clone(), plugin.clone(), capability.clone(), calls.to_string()]
            };
            rows.extend(uses.iter().map(row));
        }
    }
    Grid { header, rows }
}

/// What runs under a strict protocol say of their methods, a line for each cell.
pub fn handovers(results: &Results) -> Vec<String> {
    let of_cell = |cell: &CellResult| {
        let place = format!("{}, order {}, seed {}", cell.method, cell.order, cell.seed);
        let most = cell.handovers.iter().map(Handover::bytes).max()?;
        let began = format!("each stage began in a new process with at most {}", bytes(most as f64));
        let of = |alike: Option<bool>| {
            let stages = cell.handovers.iter().filter(|handover| handover.alike == alike);
            let stages: Vec<String> = stages.map(|handover| (handover.stage + 1).to_string()).collect();
            (!stages.is_empty()).then(|| stages.join(", "))
        };
        let mut line = format!("strict protocol: {place}: {began}");
        if let Some(stages) = of(Some(false)) {
            line.push_str(&format!(
                "; with what its plugins remember beyond that it would have begun otherwise: stage {stages}. The scores are those without"
            ));
        }
        if let Some(stages) = of(None) {
            line.push_str(&format!("; not compared with a process that remembers more: stage {stages}"));
        }
        Some(line)
    };
    results.cells.iter().filter_map(of_cell).collect()
}

/// A percentage with one decimal.
pub fn score(value: Option<f64>) -> String {
    value.map_or(NONE.to_owned(), |value| fixed(value, 1))
}

/// `12.34` for one run, `12.3±0.5` for several.
pub fn statistic(value: &Statistic) -> String {
    match value.deviation {
        None => fixed(value.mean, 2),
        Some(deviation) => format!("{}±{}", fixed(value.mean, 1), fixed(deviation, 1)),
    }
}

/// A number with `places` decimals, and no `-0.00`.
fn fixed(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    if text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.')) { text.replace('-', "") } else { text }
}

/// A count with a decimal suffix: `312`, `4.1K`, `7.2M`, `1.3B`.
pub fn count(value: f64) -> String {
    scaled(value, 1000.0, &["", "K", "M", "B", "T"])
}

/// A size with a binary suffix: `312 B`, `4.1 KiB`, `7.2 MiB`.
pub fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(mut value: f64, base: f64, suffixes: &[&str]) -> String {
    let mut at = 0;
    // What would round to a whole unit of the next suffix is shown as one.
    while value >= base - 0.5 && at + 1 < suffixes.len() {
        value /= base;
        at += 1;
    }
    let places = if at == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.places$}{}", suffixes[at])
}

/// A time span: `4.2s`, `3m 05s`, `2h 07m`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 59.95 => format!("{seconds:.1}s"),
        0..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_round_cleanly() {
        assert_eq!(
            [0.0, 312.0, 4_096.0, 7_249_999.0, 999_900.0].map(count),
            ["0", "312", "4.1K", "7.2M", "1.0M"]
        );
        assert_eq!([12.0, 1024.0, 1.5e6].map(bytes), ["12 B", "1.0 KiB", "1.4 MiB"]);
        assert_eq!([4.24, 59.96, 185.0, 7620.0].map(duration), ["4.2s", "1m 00s", "3m 05s", "2h 07m"]);
        assert_eq!(fixed(-0.001, 2), "0.00");
        assert_eq!(statistic(&Statistic { mean: -32.62, deviation: Some(1.26), count: 3 }), "-32.6±1.3");
        assert_eq!(score(None), "-");
    }
}
