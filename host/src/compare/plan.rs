//! The cells of a run.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{Reference, ReferenceKind, RunConfig};
use crate::report::results::{CellResult, Results};

/// One method on one order with one seed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    pub method: String,
    pub order: String,
    pub seed: u64,
}

impl Cell {
    /// Whether a result is that of this cell.
    pub fn is(&self, result: &CellResult) -> bool {
        (&self.method, &self.order, self.seed) == (&result.method, &result.order, result.seed)
    }
}

impl fmt::Display for Cell {
    /// As the cell's folder is named: `METHOD/ORDER/SEED`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.method, self.order, self.seed)
    }
}

/// All that a run does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub name: String,
    /// Columns of the accuracy matrix.
    pub tasks: Vec<String>,
    pub cells: Vec<Cell>,
    /// Reference runs with the seed of each.
    pub references: Vec<(String, u64)>,
    /// Optimizer steps of all cells and references; none where the length of the data decides.
    pub steps: Option<usize>,
    /// Answers of all cells and references; none where the length of the test sets decides, and they were not counted.
    pub answers: Option<usize>,
    /// sha256 of the configuration.
    pub config: String,
}

impl Plan {
    /// The cells of a configuration: the first seed of every method comes before the second of any.
    pub fn new(config: &RunConfig) -> Plan {
        let mut cells = Vec::new();
        for &seed in &config.seeds {
            for order in &config.orders {
                for (method, _) in &config.methods {
                    cells.push(Cell { method: method.clone(), order: order.name.clone(), seed });
                }
            }
        }
        let kind = |reference: &Reference| match reference.kind {
            ReferenceKind::Joint => "joint",
            ReferenceKind::Single => "single tasks",
        };
        let reference =
            |reference: &Reference, seed| (format!("{} of {}", kind(reference), reference.method), seed);
        let references =
            config.seeds.iter().flat_map(|&seed| config.references.iter().map(move |r| reference(r, seed)));
        let references: Vec<(String, u64)> = references.collect();
        let tasks = config.tasks.len();
        // A cell answers every task after each stage; a reference answers every task once, and so does zero-shot.
        let trained = cells.len() + references.len();
        Plan {
            name: config.name.clone(),
            tasks: config.tasks.iter().map(|(name, _)| name.clone()).collect(),
            steps: config.training.steps.map(|steps| steps * tasks * trained),
            answers: config
                .evaluation
                .limit
                .map(|items| items * tasks * (cells.len() * tasks + references.len() + 1)),
            cells,
            references,
            config: config.content_hash(),
        }
    }
}

impl Plan {
    /// The part of a run's results that this plan asks for.
    pub fn part(&self, mut results: Results) -> Results {
        let asked = |result: &CellResult| self.cells.iter().any(|cell| cell.is(result));
        results.cells.retain(asked);
        for reference in results.references.values_mut() {
            for (kind, runs) in [("joint", &mut reference.joint), ("single", &mut reference.single)] {
                let is_asked = |seed: u64| {
                    self.references.iter().any(|(name, of)| name.starts_with(kind) && *of == seed)
                };
                runs.retain(|run| is_asked(run.seed));
            }
        }
        results
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "run {} ({})", self.name, &self.config[..12])?;
        let count =
            |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
        writeln!(f, "{}: {}", count(self.tasks.len(), "task"), self.tasks.join(", "))?;
        writeln!(f, "{}:", count(self.cells.len(), "cell"))?;
        for cell in &self.cells {
            writeln!(f, "  {cell}")?;
        }
        match self.steps {
            Some(steps) => write!(f, "work: {steps} optimizer steps")?,
            None => f.write_str("work: optimizer steps by the size of the data")?,
        }
        match self.answers {
            Some(answers) => writeln!(f, ", about {answers} answers")?,
            None => writeln!(f, ", answers by the size of the test sets")?,
        }
        f.write_str("references: zero-shot, blind")?;
        for (reference, seed) in &self.references {
            write!(f, ", {reference} with seed {seed}")?;
        }
        writeln!(f)
    }
}
