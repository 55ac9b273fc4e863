//! The report as comma-separated values (RFC 4180), unrounded: one file for the cells, one for their matrices.

use super::results::{Metrics, Results, Status};

/// One line per cell and scorer: metrics in percent, costs in the units their headings name. Metrics that need rows which a cell
/// has not measured are empty.
pub fn cells(results: &Results) -> String {
    let mut out = line(&[
        "method",
        "order",
        "seed",
        "status",
        "scorer",
        "ap",
        "maa",
        "bwt_t",
        "bwt_t1",
        "forgetting",
        "fwt",
        "intransigence",
        "plasticity",
        "intransigence_single",
        "trainable_parameters",
        "stored_bytes",
        "train_seconds",
        "eval_seconds",
        "picture_seconds",
        "peak_memory_bytes",
        "error",
    ]);
    for cell in &results.cells {
        let mut scorers: Vec<(&str, Metrics)> =
            cell.scorers.iter().map(|(name, result)| (name.as_str(), result.metrics.clone())).collect();
        if scorers.is_empty() {
            scorers.push(("", Metrics::default()));
        }
        for (scorer, metrics) in scorers {
            let status = match cell.status {
                Status::Pending => "pending",
                Status::Running => "running",
                Status::Done => "done",
                Status::Failed => "failed",
            };
            let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
            let Metrics { ap, maa, bwt_t, bwt_t1, forgetting, fwt, intransigence, .. } = metrics;
            let Metrics { plasticity, intransigence_single, .. } = metrics;
            let mut fields = vec![cell.method.clone(), cell.order.clone(), cell.seed.to_string()];
            fields.extend([status.to_owned(), scorer.to_owned()]);
            fields.extend([ap, maa, bwt_t, bwt_t1, forgetting, fwt, intransigence, plasticity].map(number));
            fields.push(number(intransigence_single));
            fields.push(cell.cost.trainable_parameters.to_string());
            fields.push(cell.cost.stored_bytes.to_string());
            fields.push(cell.cost.train_seconds.to_string());
            fields.push(cell.cost.eval_seconds.to_string());
            fields.push(cell.cost.picture_seconds.to_string());
            fields.push(cell.cost.peak_memory_bytes.to_string());
            fields.push(cell.error.clone().unwrap_or_default());
            out.push_str(&line(&fields));
        }
    }
    out
}

/// One line per entry of every accuracy matrix. Stage `0` is zero-shot, stage `i` follows training on the i-th task of the order.
pub fn matrices(results: &Results) -> String {
    let mut out =
        line(&["method", "order", "seed", "scorer", "stage", "trained_task", "task", "items", "score"]);
    for cell in &results.cells {
        let tasks = results.tasks_of(cell);
        for (scorer, result) in &cell.scorers {
            let stages = std::iter::once(&result.matrix.zero_shot).chain(&result.matrix.rows).enumerate();
            for (stage, row) in stages {
                let trained = stage.checked_sub(1).and_then(|at| tasks.get(at)).map_or("", String::as_str);
                for ((task, score), items) in tasks.iter().zip(row).zip(&result.matrix.items) {
                    out.push_str(&line(&[
                        cell.method.clone(),
                        cell.order.clone(),
                        cell.seed.to_string(),
                        scorer.clone(),
                        stage.to_string(),
                        trained.to_owned(),
                        task.clone(),
                        items.to_string(),
                        score.map_or(String::new(), |score| score.to_string()),
                    ]));
                }
            }
        }
    }
    out
}

fn line<T: AsRef<str>>(fields: &[T]) -> String {
    let quoted: Vec<String> = fields.iter().map(|field| quote(field.as_ref())).collect();
    format!("{}\r\n", quoted.join(","))
}

fn quote(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}
