//! What the reports show, computed from [`Results`] alone: one row per method over its seeds and orders, and the accuracy
//! matrices averaged over seeds.

use super::results::{CellResult, Cost, Metrics, Results, Status};
use crate::eval::measure;

/// Mean and spread of a value over repeated runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistic {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation (divisor n - 1); `None` for one run.
    pub deviation: Option<f64>,
    /// The number of runs.
    pub count: usize,
}

impl Statistic {
    /// `None` for no runs.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = if count > 1 { Some((squares / (count - 1) as f64).sqrt()) } else { None };
        Some(Statistic { mean, deviation, count })
    }
}

/// A summary metric as a report column: its heading and where it is found.
#[derive(Clone, Copy)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// Its value in a cell.
    pub value: fn(&Metrics) -> Option<f64>,
    /// Whether more is better, else less.
    pub higher_is_better: bool,
}

/// The columns of the comparison.
pub const COLUMNS: [Column; 5] = [
    Column { name: "AP", value: |metrics| metrics.ap, higher_is_better: true },
    Column { name: "MAA", value: |metrics| metrics.maa, higher_is_better: true },
    Column { name: "BWT/T", value: |metrics| metrics.bwt_t, higher_is_better: true },
    Column { name: "BWT/(T-1)", value: |metrics| metrics.bwt_t1, higher_is_better: true },
    Column { name: "forgetting", value: |metrics| metrics.forgetting, higher_is_better: false },
];

/// Metrics that need zero-shot scores or joint training.
pub const FURTHER: [Column; 3] = [
    Column { name: "FWT", value: |metrics| metrics.fwt, higher_is_better: true },
    Column { name: "intransigence", value: |metrics| metrics.intransigence, higher_is_better: false },
    Column { name: "plasticity", value: |metrics| metrics.plasticity, higher_is_better: true },
];

/// Beside [`FURTHER`], where single-task references were trained.
const SINGLE: Column = Column {
    name: "intransigence (single)",
    value: |metrics| metrics.intransigence_single,
    higher_is_better: false,
};

/// [`FURTHER`], and what the run has beyond it.
pub fn further_columns(results: &Results) -> Vec<Column> {
    let has_single = results.references.values().any(|reference| !reference.single.is_empty());
    FURTHER.into_iter().chain(has_single.then_some(SINGLE)).collect()
}

/// One row of the comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The method's or reference's name.
    pub name: String,
    /// Whether this is a method, not a reference.
    pub is_method: bool,
    /// How many runs entered the row.
    pub done: usize,
    /// How many there are; 0 for a reference that is not repeated.
    pub total: usize,
    /// One entry per column of [`COLUMNS`].
    pub metrics: Vec<Option<Statistic>>,
    /// `None` where nothing finished.
    pub cost: Option<RowCost>,
}

/// The cost of a method: means over its finished runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowCost {
    /// Parameters trained.
    pub trainable_parameters: f64,
    /// Bytes carried from stage to stage.
    pub stored_bytes: f64,
    /// Training and evaluation.
    pub seconds: f64,
    /// The greatest peak of all runs.
    pub peak_memory_bytes: u64,
}

/// The rows of the comparison under one scorer: methods in the order of the file, then joint training, zero-shot and blind.
pub fn rows(results: &Results, scorer: &str) -> Vec<Row> {
    let mut rows: Vec<Row> =
        results.methods().into_iter().map(|method| method_row(results, scorer, method)).collect();
    let reference = |name: &str, scores: Vec<f64>, total: usize| Row {
        name: name.to_owned(),
        is_method: false,
        done: scores.len().min(total),
        total,
        metrics: std::iter::once(Statistic::of(&scores)).chain(COLUMNS[1..].iter().map(|_| None)).collect(),
        cost: None,
    };
    if let Some(references) = results.references.get(scorer) {
        let joint: Vec<f64> =
            references.joint.iter().filter_map(|joint| mean_of_all(&joint.scores)).collect();
        if !references.joint.is_empty() {
            rows.push(reference("joint", joint, references.joint.len()));
        }
        let single: Vec<f64> = references.single.iter().filter_map(|run| mean_of_all(&run.scores)).collect();
        if !references.single.is_empty() {
            rows.push(reference("single", single, references.single.len()));
        }
    }
    for (name, scores) in [("zero-shot", zero_shot(results, scorer)), ("blind", blind(results, scorer))] {
        if scores.iter().any(Option::is_some) {
            rows.push(reference(name, mean_of_all(&scores).into_iter().collect(), 0));
        }
    }
    rows
}

fn method_row(results: &Results, scorer: &str, method: &str) -> Row {
    let cells: Vec<&CellResult> = results.cells.iter().filter(|cell| cell.method == method).collect();
    let done: Vec<&CellResult> = cells.iter().copied().filter(|cell| cell.status == Status::Done).collect();
    let metrics = COLUMNS.iter().map(|column| statistic(&done, scorer, column));
    Row {
        name: method.to_owned(),
        is_method: true,
        done: done.len(),
        total: cells.len(),
        metrics: metrics.collect(),
        cost: cost(&done),
    }
}

fn statistic(done: &[&CellResult], scorer: &str, column: &Column) -> Option<Statistic> {
    let values = done.iter().filter_map(|cell| (column.value)(&cell.scorers.get(scorer)?.metrics));
    Statistic::of(&values.collect::<Vec<_>>())
}

/// Every metric of each method under each measure beside truth alignment, as `(method, measure, n, metrics)`.
pub fn measures(results: &Results) -> Vec<(String, &'static str, usize, Vec<Option<Statistic>>)> {
    let columns = further_columns(results);
    let mut rows = Vec::new();
    for measure in results.measures() {
        for method in results.methods() {
            let has = |cell: &&CellResult| {
                cell.method == method && cell.status == Status::Done && cell.scorers.contains_key(measure)
            };
            let done: Vec<&CellResult> = results.cells.iter().filter(has).collect();
            let metrics = |column: &Column| {
                // What a model forgets or could have learned is said of scores, not of failures.
                let said = measure::higher_is_better(measure) || column.higher_is_better;
                if said { statistic(&done, measure, column) } else { None }
            };
            let metrics: Vec<_> = COLUMNS.iter().chain(&columns).map(metrics).collect();
            if !done.is_empty() {
                rows.push((method.to_owned(), measure, done.len(), metrics));
            }
        }
    }
    rows
}

/// [`FURTHER`] of each method of which at least one is known.
pub fn further(results: &Results, scorer: &str) -> Vec<(String, Vec<Option<Statistic>>)> {
    let columns = further_columns(results);
    let of = |method: &str| -> Vec<Option<Statistic>> {
        let done: Vec<&CellResult> = results
            .cells
            .iter()
            .filter(|cell| cell.method == method && cell.status == Status::Done)
            .collect();
        columns.iter().map(|column| statistic(&done, scorer, column)).collect()
    };
    let rows = results.methods().into_iter().map(|method| (method.to_owned(), of(method)));
    rows.filter(|(_, metrics)| metrics.iter().any(Option::is_some)).collect()
}

fn cost(done: &[&CellResult]) -> Option<RowCost> {
    if done.iter().all(|cell| cell.cost == Cost::default()) {
        // Published figures come without it.
        return None;
    }
    let mean = |value: fn(&CellResult) -> f64| {
        Statistic::of(&done.iter().map(|cell| value(cell)).collect::<Vec<_>>()).map(|all| all.mean)
    };
    Some(RowCost {
        trainable_parameters: mean(|cell| cell.cost.trainable_parameters as f64)?,
        stored_bytes: mean(|cell| cell.cost.stored_bytes as f64)?,
        seconds: mean(|cell| cell.cost.train_seconds + cell.cost.eval_seconds)?,
        peak_memory_bytes: done.iter().map(|cell| cell.cost.peak_memory_bytes).max()?,
    })
}

/// An accuracy matrix averaged over the seeds of one method and order, with the rows it is compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixView {
    /// The method.
    pub method: String,
    /// The order.
    pub order: String,
    /// The tasks in the order of training.
    pub tasks: Vec<String>,
    /// How many seeds were averaged.
    pub seeds: usize,
    /// Whether no run has finished, so that this is the state of an unfinished or failed one.
    pub partial: bool,
    /// Before any training.
    pub zero_shot: Vec<Option<f64>>,
    /// `[T][T]`, row = after stage.
    pub rows: Vec<Vec<Option<f64>>>,
    /// The blind baseline, in this order of tasks.
    pub blind: Vec<Option<f64>>,
    /// The mean of joint training, in this order of tasks.
    pub joint: Vec<Option<f64>>,
    /// Items scored per task.
    pub items: Vec<u64>,
}

/// The matrices under one scorer, by method and order in the order of the file. Finished runs are averaged; where none has
/// finished, the first that has any scores is shown as it stands.
pub fn matrices(results: &Results, scorer: &str) -> Vec<MatrixView> {
    let mut keys: Vec<(&str, &str)> = Vec::new();
    for cell in &results.cells {
        let key = (cell.method.as_str(), cell.order.as_str());
        if cell.scorers.contains_key(scorer) && !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys.sort_by_key(|(method, _)| results.methods().iter().position(|name| name == method));
    keys.into_iter().filter_map(|(method, order)| matrix_view(results, scorer, method, order)).collect()
}

fn matrix_view(results: &Results, scorer: &str, method: &str, order: &str) -> Option<MatrixView> {
    let of_pair = |cell: &&CellResult| cell.method == method && cell.order == order;
    let mut cells: Vec<&CellResult> =
        results.cells.iter().filter(of_pair).filter(|cell| cell.scorers.contains_key(scorer)).collect();
    let partial = cells.iter().all(|cell| cell.status != Status::Done);
    if partial {
        cells.truncate(1);
    } else {
        cells.retain(|cell| cell.status == Status::Done);
    }
    let tasks = results.tasks_of(cells.first()?).to_vec();
    let matrices: Vec<_> = cells.iter().filter_map(|cell| Some(&cell.scorers.get(scorer)?.matrix)).collect();
    let average = |value: &dyn Fn(usize) -> Option<f64>| -> Option<f64> {
        let values: Option<Vec<f64>> = (0..matrices.len()).map(value).collect();
        Statistic::of(&values?).map(|all| all.mean)
    };
    let count = tasks.len();
    let zero_shot = (0..count).map(|task| average(&|seed| matrices[seed].zero_shot(task))).collect();
    let rows = (0..count)
        .map(|stage| (0..count).map(|task| average(&|seed| matrices[seed].get(stage, task))).collect())
        .collect();
    Some(MatrixView {
        method: method.to_owned(),
        order: order.to_owned(),
        seeds: matrices.len(),
        partial,
        zero_shot,
        rows,
        blind: in_order(results, &tasks, &blind(results, scorer)),
        joint: in_order(results, &tasks, &joint(results, scorer)),
        items: matrices.first()?.items.clone(),
        tasks,
    })
}

/// Cells that failed: `method, order, seed` and why.
pub fn failures(results: &Results) -> Vec<(String, String)> {
    let failed = results.cells.iter().filter(|cell| cell.status == Status::Failed);
    failed
        .map(|cell| {
            let place = format!("{}, order {}, seed {}", cell.method, cell.order, cell.seed);
            (place, cell.error.clone().unwrap_or_else(|| "no reason was recorded".to_owned()))
        })
        .collect()
}

/// The zero-shot scores by `Results::tasks`: the reference's, else those of the first cell that has them all.
pub fn zero_shot(results: &Results, scorer: &str) -> Vec<Option<f64>> {
    if let Some(references) =
        results.references.get(scorer).filter(|references| !references.zero_shot.is_empty())
    {
        return references.zero_shot.clone();
    }
    let complete = results.cells.iter().find_map(|cell| {
        let matrix = &cell.scorers.get(scorer)?.matrix;
        matrix.zero_shot.iter().all(Option::is_some).then_some((results.tasks_of(cell), matrix))
    });
    let Some((tasks, matrix)) = complete else {
        return vec![None; results.tasks.len()];
    };
    let place = |name: &String| tasks.iter().position(|task| task == name);
    results.tasks.iter().map(|name| matrix.zero_shot(place(name)?)).collect()
}

/// The blind scores by `Results::tasks`.
pub fn blind(results: &Results, scorer: &str) -> Vec<Option<f64>> {
    let references = results.references.get(scorer).filter(|references| !references.blind.is_empty());
    references.map_or_else(|| vec![None; results.tasks.len()], |references| references.blind.clone())
}

/// The mean scores of joint training by `Results::tasks`, over the seeds; `None` where one of them lacks the task.
pub fn joint(results: &Results, scorer: &str) -> Vec<Option<f64>> {
    let runs = results.references.get(scorer).map_or(&[][..], |references| &references.joint);
    (0..results.tasks.len())
        .map(|task| {
            let scores: Option<Vec<f64>> = runs.iter().map(|run| *run.scores.get(task)?).collect();
            Statistic::of(&scores?).map(|all| all.mean)
        })
        .collect()
}

fn in_order(results: &Results, tasks: &[String], scores: &[Option<f64>]) -> Vec<Option<f64>> {
    let place = |name: &String| results.tasks.iter().position(|task| task == name);
    tasks.iter().map(|name| *scores.get(place(name)?)?).collect()
}

fn mean_of_all(scores: &[Option<f64>]) -> Option<f64> {
    let scores: Option<Vec<f64>> = scores.iter().copied().collect();
    Statistic::of(&scores?).map(|all| all.mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        let two = Statistic::of(&[1.0, 3.0]).expect("two values");
        assert_eq!((two.mean, two.count), (2.0, 2));
        assert!((two.deviation.expect("two values") - 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(Statistic::of(&[5.0]), Some(Statistic { mean: 5.0, deviation: None, count: 1 }));
        assert_eq!(Statistic::of(&[]), None);
    }
}
