//! What scoring a run again has changed in its results.

use crate::report::results::{CellResult, Results};

/// A line for each cell and name that is new or has other figures, then one for what stayed.
pub fn lines(before: &Results, after: &Results, names: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut same = 0;
    for cell in &after.cells {
        let then = before.cells.iter().find(|then| is_same(then, cell));
        for name in names {
            let Some(now) = cell.scorers.get(*name) else { continue };
            let place = format!("{}, order {}, seed {}, {name}", cell.method, cell.order, cell.seed);
            match then.and_then(|then| then.scorers.get(*name)) {
                None => lines.push(format!("{place}: new, AP {}", shown(now.metrics.ap))),
                Some(then) if then == now => same += 1,
                Some(then) => {
                    let pairs = then.matrix.rows.iter().flatten().zip(now.matrix.rows.iter().flatten());
                    let differ = pairs.filter(|(then, now)| then != now).count();
                    lines.push(format!(
                        "{place}: {differ} of {} scores changed, AP {} -> {}",
                        now.matrix.tasks().pow(2),
                        shown(then.metrics.ap),
                        shown(now.metrics.ap)
                    ));
                }
            }
        }
    }
    if same > 0 {
        lines.push(format!("{same} {} as before", if same == 1 { "matrix stays" } else { "matrices stay" }));
    }
    lines
}

fn is_same(one: &CellResult, other: &CellResult) -> bool {
    (&one.method, &one.order, one.seed) == (&other.method, &other.order, other.seed)
}

fn shown(value: Option<f64>) -> String {
    value.map_or(String::from("unknown"), |value| format!("{value:.2}"))
}
