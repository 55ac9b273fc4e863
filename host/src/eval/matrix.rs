//! The accuracy matrix: what every model of a task stream scores on every task.

use serde::{Deserialize, Serialize};

/// `A[i][j]`: the score in percent on task j after stage i, both counted from 0 in the order of the stream, so that
/// `A[j][j]` is the score right after learning task j. A cell is `None` until it has been evaluated; a matrix is never NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// The scores before any training, `[T]`.
    pub zero_shot: Vec<Option<f64>>,
    /// `[T][T]`, row = after stage, column = task.
    #[serde(rename = "matrix")]
    pub rows: Vec<Vec<Option<f64>>>,
    /// How many items each task was scored on, `[T]`; 0 until known.
    pub items: Vec<u64>,
}

/// Why a score cannot enter a matrix.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum MatrixError {
    /// A row or column outside `0..T`.
    #[error("accuracy matrix of {tasks} tasks has no cell ({stage}, {task})")]
    Outside {
        /// T.
        tasks: usize,
        /// The row asked for.
        stage: usize,
        /// The column asked for.
        task: usize,
    },
    /// Not a percentage.
    #[error("{0} is no percentage")]
    NoPercentage(f64),
    /// The parts do not fit together.
    #[error("accuracy matrix is not square: {0}")]
    NotSquare(String),
}

impl Matrix {
    /// The empty matrix of a stream of `tasks` tasks.
    pub fn new(tasks: usize) -> Self {
        Matrix { zero_shot: vec![None; tasks], rows: vec![vec![None; tasks]; tasks], items: vec![0; tasks] }
    }

    /// T, the number of tasks and of stages.
    pub fn tasks(&self) -> usize {
        self.rows.len()
    }

    /// `A[stage][task]`, `None` outside the matrix or where nothing was evaluated.
    pub fn get(&self, stage: usize, task: usize) -> Option<f64> {
        *self.rows.get(stage)?.get(task)?
    }

    /// The score on `task` before training.
    pub fn zero_shot(&self, task: usize) -> Option<f64> {
        *self.zero_shot.get(task)?
    }

    /// Sets `A[stage][task]` to a percentage.
    pub fn set(&mut self, stage: usize, task: usize, percent: f64) -> Result<(), MatrixError> {
        let tasks = self.tasks();
        let cell = self.rows.get_mut(stage).and_then(|row| row.get_mut(task));
        *cell.ok_or(MatrixError::Outside { tasks, stage, task })? = Some(percentage(percent)?);
        Ok(())
    }

    /// Sets the score on `task` before training.
    pub fn set_zero_shot(&mut self, task: usize, percent: f64) -> Result<(), MatrixError> {
        let tasks = self.tasks();
        let cell = self.zero_shot.get_mut(task).ok_or(MatrixError::Outside { tasks, stage: 0, task })?;
        *cell = Some(percentage(percent)?);
        Ok(())
    }

    /// Sets how many items `task` is scored on.
    pub fn set_items(&mut self, task: usize, items: u64) -> Result<(), MatrixError> {
        let tasks = self.tasks();
        *self.items.get_mut(task).ok_or(MatrixError::Outside { tasks, stage: 0, task })? = items;
        Ok(())
    }

    /// All scores after `stage`, if all were evaluated.
    pub fn row(&self, stage: usize) -> Option<Vec<f64>> {
        self.rows.get(stage)?.iter().copied().collect()
    }

    /// `A[j][j]` of every task, if all were evaluated.
    pub fn diagonal(&self) -> Option<Vec<f64>> {
        (0..self.tasks()).map(|task| self.get(task, task)).collect()
    }

    /// Whether every cell and the zero-shot row are there.
    pub fn is_complete(&self) -> bool {
        self.zero_shot.iter().chain(self.rows.iter().flatten()).all(Option::is_some)
    }

    /// Checks what deserialisation cannot: T rows of T percentages each.
    pub fn validate(&self) -> Result<(), MatrixError> {
        let tasks = self.tasks();
        let fits = self.zero_shot.len() == tasks && self.items.len() == tasks;
        if !fits || self.rows.iter().any(|row| row.len() != tasks) {
            return Err(MatrixError::NotSquare(format!(
                "{tasks} rows of {:?} cells, {} zero-shot scores, {} item counts",
                self.rows.iter().map(Vec::len).collect::<Vec<_>>(),
                self.zero_shot.len(),
                self.items.len()
            )));
        }
        for percent in self.zero_shot.iter().chain(self.rows.iter().flatten()).flatten() {
            percentage(*percent)?;
        }
        Ok(())
    }
}

fn percentage(percent: f64) -> Result<f64, MatrixError> {
    if (0.0..=100.0).contains(&percent) { Ok(percent) } else { Err(MatrixError::NoPercentage(percent)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_fills_cell_by_cell() {
        let mut matrix = Matrix::new(2);
        matrix.set(0, 0, 50.0).expect("inside");
        matrix.set(0, 1, 0.0).expect("inside");
        assert_eq!(matrix.row(0), Some(vec![50.0, 0.0]));
        assert_eq!(matrix.row(1), None);
        assert_eq!(matrix.diagonal(), None);
        matrix.set(1, 0, 20.0).expect("inside");
        matrix.set(1, 1, 100.0).expect("inside");
        assert_eq!(matrix.diagonal(), Some(vec![50.0, 100.0]));
        assert!(!matrix.is_complete());
        matrix.set_zero_shot(0, 1.0).expect("inside");
        matrix.set_zero_shot(1, 2.0).expect("inside");
        assert!(matrix.is_complete());
    }

    #[test]
    fn what_is_no_percentage_or_no_cell_is_refused() {
        let mut matrix = Matrix::new(2);
        assert_eq!(matrix.set(2, 0, 1.0), Err(MatrixError::Outside { tasks: 2, stage: 2, task: 0 }));
        assert_eq!(matrix.set(0, 0, 101.0), Err(MatrixError::NoPercentage(101.0)));
        assert!(matrix.set(0, 0, f64::NAN).is_err());
        assert_eq!(matrix, Matrix::new(2));
    }

    #[test]
    fn json_keeps_missing_cells_as_null_and_is_checked() {
        let mut matrix = Matrix::new(1);
        matrix.set_items(0, 7).expect("inside");
        let json = serde_json::to_string(&matrix).expect("serialises");
        assert_eq!(json, r#"{"zero_shot":[null],"matrix":[[null]],"items":[7]}"#);
        assert_eq!(serde_json::from_str::<Matrix>(&json).expect("parses"), matrix);
        let ragged: Matrix =
            serde_json::from_str(r#"{"zero_shot":[1,2],"matrix":[[1,2],[3]],"items":[1,1]}"#)
                .expect("parses");
        assert!(matches!(ragged.validate(), Err(MatrixError::NotSquare(_))));
    }
}
