//! Summary metrics of an accuracy matrix. Each is `None` where a cell that its formula reads is missing, or where the formula
//! is undefined (T = 1); none is ever NaN. Formulas use `A[i][j]`, score on task j after stage i, from 0; T tasks.

use serde::{Deserialize, Serialize};

use super::matrix::Matrix;

/// All summary metrics of one run, in percent or percentage points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// [`average_performance`].
    pub ap: Option<f64>,
    /// [`mean_average_accuracy`].
    pub maa: Option<f64>,
    /// [`backward_transfer_coin`].
    pub bwt_t: Option<f64>,
    /// [`backward_transfer`].
    pub bwt_t1: Option<f64>,
    /// [`forgetting`].
    pub forgetting: Option<f64>,
    /// [`forward_transfer`].
    pub fwt: Option<f64>,
    /// [`intransigence`].
    pub intransigence: Option<f64>,
    /// [`plasticity`].
    pub plasticity: Option<f64>,
    /// [`intransigence`] against training on each task alone; only where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intransigence_single: Option<f64>,
}

impl Metrics {
    /// Everything that `matrix` allows; `joint` are the scores of joint training in the same task order, where there is one.
    pub fn of(matrix: &Matrix, joint: Option<&[Option<f64>]>) -> Self {
        Metrics {
            ap: average_performance(matrix),
            maa: mean_average_accuracy(matrix),
            bwt_t: backward_transfer_coin(matrix),
            bwt_t1: backward_transfer(matrix),
            forgetting: forgetting(matrix),
            fwt: forward_transfer(matrix),
            intransigence: joint.and_then(|joint| intransigence(matrix, joint)),
            plasticity: plasticity(matrix),
            intransigence_single: None,
        }
    }
}

/// AP, average performance: `1/T sum_j A[T-1][j]`, the mean over all tasks after the last stage. "Average accuracy" in
/// Lopez-Paz & Ranzato 2017 (GEM); MFN in later work on CoIN.
pub fn average_performance(matrix: &Matrix) -> Option<f64> {
    mean(&matrix.row(matrix.tasks().checked_sub(1)?)?)
}

/// MAA, mean average accuracy: `1/T sum_i 1/(i+1) sum_{j<=i} A[i][j]`, the average over the tasks seen so far, averaged over
/// the stages. Chen et al. 2024 (CoIN).
pub fn mean_average_accuracy(matrix: &Matrix) -> Option<f64> {
    let averages: Option<Vec<f64>> = (0..matrix.tasks())
        .map(|stage| {
            let seen: Option<Vec<f64>> = (0..=stage).map(|task| matrix.get(stage, task)).collect();
            mean(&seen?)
        })
        .collect();
    mean(&averages?)
}

/// BWT as CoIN prints it: `1/T sum_j (A[T-1][j] - A[j][j])`. The last term is always 0 and still counted. 0 for T = 1.
/// Chen et al. 2024 (CoIN): its tables divide by T, though its text says T - 1.
pub fn backward_transfer_coin(matrix: &Matrix) -> Option<f64> {
    mean(&changes(matrix)?)
}

/// BWT, backward transfer: `1/(T-1) sum_{j<T-1} (A[T-1][j] - A[j][j])`. Negative = forgetting. `None` for T = 1.
/// Lopez-Paz & Ranzato 2017 (GEM).
pub fn backward_transfer(matrix: &Matrix) -> Option<f64> {
    let changes = changes(matrix)?;
    let (_, earlier) = changes.split_last()?;
    mean(earlier)
}

/// F, forgetting: `1/(T-1) sum_{j<T-1} (max_{i<T-1} A[i][j] - A[T-1][j])`, from the best score the task ever had. `None` for
/// T = 1. Chaudhry et al. 2018 (Riemannian walk), the forgetting measure after the last task; the maximum runs over all earlier stages, those before
/// the task was learned included, so the full matrix is needed.
pub fn forgetting(matrix: &Matrix) -> Option<f64> {
    let last = matrix.tasks().checked_sub(1)?;
    let drops: Option<Vec<f64>> = (0..last)
        .map(|task| {
            let earlier: Option<Vec<f64>> = (0..last).map(|stage| matrix.get(stage, task)).collect();
            let best = earlier?.into_iter().fold(f64::MIN, f64::max);
            Some(best - matrix.get(last, task)?)
        })
        .collect();
    mean(&drops?)
}

/// FWT, forward transfer: `1/(T-1) sum_{j>=1} (A[j-1][j] - z[j])`, how much the stages before task j changed its score from the
/// zero-shot score `z[j]`. `None` for T = 1. Lopez-Paz & Ranzato 2017 (GEM), with the model before any training
/// as the baseline.
pub fn forward_transfer(matrix: &Matrix) -> Option<f64> {
    let gains: Option<Vec<f64>> =
        (1..matrix.tasks()).map(|task| Some(matrix.get(task - 1, task)? - matrix.zero_shot(task)?)).collect();
    mean(&gains?)
}

/// I, intransigence: `1/T sum_j (joint[j] - A[j][j])`, what joint training on all tasks learns and the stream does not.
/// Chaudhry et al. 2018, averaged over the tasks. Their reference model for task j is trained on tasks up to j; here
/// it is one model trained on all T tasks.
pub fn intransigence(matrix: &Matrix, joint: &[Option<f64>]) -> Option<f64> {
    let diagonal = matrix.diagonal()?;
    if joint.len() != diagonal.len() {
        return None;
    }
    let gaps: Option<Vec<f64>> =
        joint.iter().zip(diagonal).map(|(joint, own)| Some((*joint)? - own)).collect();
    mean(&gaps?)
}

/// Plasticity: `1/T sum_j A[j][j]`, the mean score right after learning each task. MFT in later work on CoIN.
pub fn plasticity(matrix: &Matrix) -> Option<f64> {
    mean(&matrix.diagonal()?)
}

/// `A[T-1][j] - A[j][j]` for every task.
fn changes(matrix: &Matrix) -> Option<Vec<f64>> {
    let last = matrix.row(matrix.tasks().checked_sub(1)?)?;
    Some(last.iter().zip(matrix.diagonal()?).map(|(end, start)| end - start).collect())
}

fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrix(zero_shot: &[f64], rows: &[&[f64]]) -> Matrix {
        Matrix {
            zero_shot: zero_shot.iter().copied().map(Some).collect(),
            rows: rows.iter().map(|row| row.iter().copied().map(Some).collect()).collect(),
            items: vec![10; rows.len()],
        }
    }

    fn close(got: Option<f64>, expected: f64) {
        assert!(got.is_some_and(|got| (got - expected).abs() < 1e-9), "{got:?}, not {expected}");
    }

    #[test]
    fn three_tasks_by_hand() {
        let matrix =
            matrix(&[10.0, 20.0, 30.0], &[&[80.0, 25.0, 31.0], &[60.0, 90.0, 35.0], &[90.0, 50.0, 70.0]]);
        close(average_performance(&matrix), 70.0);
        close(mean_average_accuracy(&matrix), (80.0 + 75.0 + 70.0) / 3.0);
        close(backward_transfer_coin(&matrix), (10.0 - 40.0) / 3.0);
        close(backward_transfer(&matrix), -15.0);
        // Task 0 rose above its best, so its forgetting is negative.
        close(forgetting(&matrix), (80.0 - 90.0 + 90.0 - 50.0) / 2.0);
        close(forward_transfer(&matrix), (5.0 + 5.0) / 2.0);
        close(intransigence(&matrix, &[Some(80.0), Some(99.0), Some(70.0)]), 3.0);
        close(plasticity(&matrix), 80.0);
    }

    #[test]
    fn forgetting_counts_from_the_best_stage_even_before_learning() {
        let matrix = matrix(&[0.0; 3], &[&[50.0, 95.0, 0.0], &[70.0, 60.0, 0.0], &[40.0, 60.0, 0.0]]);
        close(forgetting(&matrix), (30.0 + 35.0) / 2.0);
    }

    #[test]
    fn the_published_lora_row_of_coin_is_reproduced() {
        let immediate = [82.45, 49.99, 96.05, 56.40, 55.45, 31.27, 62.20, 57.08];
        let last = [21.26, 28.74, 10.25, 36.78, 32.45, 0.83, 42.50, 57.08];
        let mut matrix = Matrix::new(8);
        for task in 0..8 {
            matrix.set(task, task, immediate[task]).expect("a percentage");
            matrix.set(7, task, last[task]).expect("a percentage");
        }
        let metrics = Metrics::of(&matrix, None);
        let two_places = |value: Option<f64>| value.map(|value| format!("{value:.2}"));
        assert_eq!(two_places(metrics.bwt_t).as_deref(), Some("-32.62"));
        assert_eq!(two_places(metrics.bwt_t1).as_deref(), Some("-37.29"));
        assert_eq!(two_places(metrics.plasticity).as_deref(), Some("61.36"));
        assert_eq!(two_places(metrics.ap).as_deref(), Some("28.74"));
        // Its matrix was published with holes.
        assert_eq!((metrics.maa, metrics.forgetting, metrics.fwt), (None, None, None));
    }

    #[test]
    fn one_task_has_no_transfer() {
        let metrics = Metrics::of(&matrix(&[10.0], &[&[60.0]]), Some(&[Some(70.0)]));
        let expected = Metrics {
            ap: Some(60.0),
            maa: Some(60.0),
            bwt_t: Some(0.0),
            intransigence: Some(10.0),
            plasticity: Some(60.0),
            ..Metrics::default()
        };
        assert_eq!(metrics, expected);
        assert_eq!(Metrics::of(&Matrix::new(0), None), Metrics::default());
    }

    #[test]
    fn a_running_stream_has_no_final_metrics_yet() {
        let mut partial = matrix(&[1.0, 2.0], &[&[50.0, 20.0], &[40.0, 60.0]]);
        partial.rows[1] = vec![Some(40.0), None];
        assert_eq!(
            Metrics::of(&partial, None),
            Metrics { forgetting: Some(10.0), fwt: Some(18.0), ..Metrics::default() }
        );
    }

    fn filled(tasks: usize) -> impl Strategy<Value = Matrix> {
        let percent = || 0.0f64..=100.0;
        let row = move || prop::collection::vec(percent(), tasks);
        (row(), prop::collection::vec(row(), tasks)).prop_map(|(zero_shot, rows)| {
            let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
            matrix(&zero_shot, &rows)
        })
    }

    fn values(metrics: &Metrics) -> [Option<f64>; 8] {
        let Metrics { ap, maa, bwt_t, bwt_t1, forgetting, fwt, intransigence, plasticity, .. } = *metrics;
        [ap, maa, bwt_t, bwt_t1, forgetting, fwt, intransigence, plasticity]
    }

    proptest! {
        #[test]
        fn metrics_keep_their_relations(matrix in (2usize..7).prop_flat_map(filled)) {
            let tasks = matrix.tasks() as f64;
            let metrics = Metrics::of(&matrix, Some(&matrix.rows[0]));
            let [ap, maa, bwt_t, bwt_t1, forgetting, fwt, _, plasticity] =
                values(&metrics).map(|value| value.expect("a full matrix has every metric"));
            prop_assert!((ap - plasticity - bwt_t).abs() < 1e-9, "AP = plasticity + BWT/T");
            prop_assert!((bwt_t1 - bwt_t * tasks / (tasks - 1.0)).abs() < 1e-9);
            prop_assert!(forgetting >= -bwt_t1 - 1e-9, "the best is at least the score right after learning");
            prop_assert!((0.0..=100.0).contains(&maa));
            prop_assert!(fwt.abs() <= 100.0);
        }

        #[test]
        fn a_constant_model_neither_forgets_nor_transfers(column in prop::collection::vec(0.0f64..=100.0, 2..7)) {
            let rows = vec![column.as_slice(); column.len()];
            let metrics = Metrics::of(&matrix(&column, &rows), None);
            for zero in [metrics.bwt_t, metrics.bwt_t1, metrics.forgetting, metrics.fwt] {
                prop_assert_eq!(zero, Some(0.0));
            }
            prop_assert_eq!(metrics.ap, metrics.plasticity);
        }

        #[test]
        fn missing_cells_never_become_numbers_that_are_none(
            (mut matrix, holes) in (1usize..6).prop_flat_map(|tasks| {
                (filled(tasks), prop::collection::vec(any::<bool>(), tasks * (tasks + 1)))
            })
        ) {
            let full = Metrics::of(&matrix, None);
            let cells = matrix.zero_shot.iter_mut().chain(matrix.rows.iter_mut().flatten());
            for (cell, hole) in cells.zip(holes) {
                if hole {
                    *cell = None;
                }
            }
            let partial = Metrics::of(&matrix, None);
            for (some, all) in values(&partial).iter().zip(values(&full)) {
                prop_assert!(some.is_none() || *some == all, "a metric reads only cells that are there");
            }
        }
    }
}
