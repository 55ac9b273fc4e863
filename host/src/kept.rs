//! A finished run's folder, scored again from what is kept in it: the questions and the answers. No data set, no plugin and no GPU is
//! needed, and answers are never written to.

mod answers;
pub mod change;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::compare::{manifest, sums};
use crate::data::bad_input::BadInput;
use crate::eval::matrix::Matrix;
use crate::eval::metrics::Metrics;
use crate::eval::questions::{self, KeptQuestion};
use crate::eval::scorer::{Scorer, score};
use crate::eval::{measure, metrics};
use crate::files;
use crate::report::html;
use crate::report::results::{FILE_NAME, Joint, Results, ScorerResult, Status};
pub use answers::KeptAnswer;

/// One task's questions and answers at one place of a run.
pub struct Answered<'a> {
    pub questions: &'a [KeptQuestion],
    /// One for each question, in their order.
    pub answers: &'a [KeptAnswer],
}

/// A score in percent and the number of items that it is the mean of.
pub type Scored = (f64, u64);

/// Scores a task's answers.
pub type Score<'a> = Box<dyn Fn(&Answered) -> Result<Scored> + 'a>;

/// What is computed from answers, under the name that it has in the results.
pub struct Column<'a> {
    pub name: &'static str,
    pub score: Score<'a>,
}

impl Column<'_> {
    /// The mean under a scorer or a computed measure.
    pub fn mean(name: &'static str) -> Self {
        Column { name, score: Box::new(move |answered| mean(name, answered)) }
    }
}

/// A run's folder, locked against other programs that would write to it.
pub struct KeptRun {
    folder: PathBuf,
    pub results: Results,
    /// By task.
    questions: BTreeMap<String, Vec<KeptQuestion>>,
    /// Seeds of joint trainings that the results have as read.
    known_joint: Vec<u64>,
    _lock: File,
}

/// Where answers stand in a run.
enum Place {
    ZeroShot,
    /// A row of `References::joint`.
    Joint(u64),
    /// A row of `References::single`, and the task by number.
    Single(u64, usize),
    /// A cell by number, and its stage.
    Stage(usize, usize),
}

impl KeptRun {
    /// Opens the folder of a run.
    ///
    /// # Errors
    /// That it is none, that a comparison is at work in it, or that it does not hold the questions.
    pub fn open(folder: &Path) -> Result<KeptRun> {
        if !folder.join(FILE_NAME).is_file() {
            let message = format!(
                "{} is no run: it has no {FILE_NAME}\nhint: name the folder of a run, its `--out`",
                folder.display()
            );
            return Err(bad(message));
        }
        let lock = manifest::lock(folder)?;
        let results = Results::read(folder).map_err(|error| bad(error.to_string()))?;
        let mut questions = BTreeMap::new();
        for task in &results.tasks {
            let path = questions::path(folder, task);
            let of_task = answers::questions(&path).map_err(|error| match path.is_file() {
                true => error,
                false => bad(format!(
                    "{} does not hold the questions of task {task}: {} is not there\nhint: the run was made before questions were \
                     kept, or is unfinished; `coin-host compare {} --out {}` adds them",
                    folder.display(),
                    path.display(),
                    folder.join(manifest::CONFIG_FILE).display(),
                    folder.display()
                )),
            })?;
            questions.insert(task.clone(), of_task);
        }
        let joint = results.references.values().flat_map(|known| &known.joint);
        let known_joint = joint.map(|joint| joint.seed).collect();
        Ok(KeptRun { folder: folder.to_path_buf(), results, questions, known_joint, _lock: lock })
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Goes through all answers of the run, task by task.
    ///
    /// # Errors
    /// Answers that cannot be read or do not fit the questions, and whatever `see` returns.
    pub fn each(&self, mut see: impl FnMut(&Answered) -> Result<()>) -> Result<()> {
        for (place, folder) in self.places() {
            for task in self.tasks_of(&place) {
                if let Some(answers) = self.answers(&place, &folder, task)? {
                    see(&Answered { questions: &self.questions[task], answers: &answers })?;
                }
            }
        }
        Ok(())
    }

    /// Computes columns from all answers and puts them into the results, in memory.
    ///
    /// # Errors
    /// As [`Self::each`].
    pub fn fill(&mut self, columns: &[Column]) -> Result<()> {
        for column in columns {
            self.clear(column.name);
        }
        for (place, folder) in self.places() {
            let tasks: Vec<String> = self.tasks_of(&place).to_vec();
            for (number, task) in tasks.iter().enumerate() {
                let Some(answers) = self.answers(&place, &folder, task)? else { continue };
                for column in columns {
                    let answered = Answered { questions: &self.questions[task], answers: &answers };
                    let scored = (column.score)(&answered).with_context(|| format!("task {task}"))?;
                    self.put(&place, column.name, number, scored)?;
                }
            }
        }
        self.results.settle();
        for cell in &mut self.results.cells {
            // Those without references.
            for result in cell.scorers.values_mut().filter(|result| result.metrics == Metrics::default()) {
                result.metrics = metrics::Metrics::of(&result.matrix, None);
            }
        }
        Ok(())
    }

    /// The blind baselines under a scorer or a computed measure.
    pub fn fill_blind(&mut self, name: &str) {
        let blind = |task: &String| {
            let questions = &self.questions[task];
            let own = questions.iter().any(|question| question.scored_by_dataset);
            let sum: f64 =
                questions.iter().map(|question| value(name, question, &question.blind).unwrap_or(0.0)).sum();
            (!own && !questions.is_empty()).then(|| 100.0 * sum / questions.len() as f64)
        };
        let blind: Vec<Option<f64>> = self.results.tasks.iter().map(blind).collect();
        let known = self.results.references.entry(name.to_owned()).or_default();
        if known.blind.is_empty() || blind.iter().all(Option::is_some) {
            known.blind = blind;
        }
    }

    /// Writes `results.json` and `report.html` anew, each in one move.
    ///
    /// # Errors
    /// That they cannot be written.
    pub fn write(&self) -> Result<()> {
        self.results.write(&self.folder.join(FILE_NAME))?;
        let page = self.folder.join("report.html");
        files::replace(&page, html::page(&self.results).as_bytes())
            .with_context(|| format!("{} cannot be written", page.display()))?;
        sums::update(&self.folder)
    }

    /// Takes away what was known under a name, so that nothing old stands beside what is computed now. Blind baselines stay.
    fn clear(&mut self, name: &str) {
        for cell in &mut self.results.cells {
            cell.scorers.remove(name);
        }
        if let Some(reference) = self.results.references.get_mut(name) {
            reference.zero_shot.clear();
            reference.joint.clear();
            reference.single.clear();
        }
    }

    fn places(&self) -> Vec<(Place, PathBuf)> {
        let references = self.folder.join("references");
        let mut places = vec![(Place::ZeroShot, references.join("zero-shot/predictions"))];
        let mut seeds = seeds(&references.join("joint"));
        seeds.extend(&self.known_joint);
        seeds.sort_unstable();
        seeds.dedup();
        places.extend(
            seeds
                .iter()
                .map(|&seed| (Place::Joint(seed), references.join(format!("joint/{seed}/predictions/0")))),
        );
        places.extend(self.singles(&references));
        for (number, cell) in
            self.results.cells.iter().enumerate().filter(|(_, cell)| cell.status != Status::Pending)
        {
            let folder =
                self.folder.join(format!("cells/{}/{}/{}/predictions", cell.method, cell.order, cell.seed));
            let stages = 0..self.results.tasks_of(cell).len();
            places.extend(stages.map(|stage| (Place::Stage(number, stage), folder.join(stage.to_string()))));
        }
        places
    }

    fn tasks_of(&self, place: &Place) -> &[String] {
        match place {
            Place::Stage(cell, _) => self.results.tasks_of(&self.results.cells[*cell]),
            Place::Single(_, task) => &self.results.tasks[*task..=*task],
            _ => &self.results.tasks,
        }
    }

    fn singles(&self, references: &Path) -> Vec<(Place, PathBuf)> {
        let mut places = Vec::new();
        for seed in seeds(&references.join("single")) {
            for (number, task) in self.results.tasks.iter().enumerate() {
                let folder = references.join(format!("single/{seed}/{task}/predictions/0"));
                places.push((Place::Single(seed, number), folder));
            }
        }
        places
    }

    /// The answers to a task's questions; none where the stage is not answered yet.
    fn answers(&self, place: &Place, folder: &Path, task: &str) -> Result<Option<Vec<KeptAnswer>>> {
        let all_there =
            self.tasks_of(place).iter().all(|task| folder.join(format!("{task}.jsonl")).is_file());
        let path = folder.join(format!("{task}.jsonl"));
        if all_there {
            return Ok(Some(answers::read(&path, &self.questions[task])?));
        }
        let expected = match place {
            Place::ZeroShot => true,
            Place::Joint(seed) => self.known_joint.contains(seed),
            Place::Single(..) => false,
            Place::Stage(cell, _) => self.results.cells[*cell].status == Status::Done,
        };
        match expected && !path.is_file() {
            true => Err(bad(format!(
                "{} is not there: the answers of a finished stage are missing\nhint: without them the run cannot be scored again; \
                 bring the file back, or train the method again with `compare --redo`",
                path.display()
            ))),
            false => Ok(None),
        }
    }

    fn put(&mut self, place: &Place, name: &str, task: usize, (percent, items): Scored) -> Result<()> {
        let tasks = self.results.tasks.len();
        match place {
            Place::ZeroShot => {
                let known = &mut self.results.references.entry(name.to_owned()).or_default().zero_shot;
                known.resize(tasks, None);
                known[task] = Some(percent);
            }
            Place::Joint(seed) => {
                let known = &mut self.results.references.entry(name.to_owned()).or_default().joint;
                Joint::put(known, *seed, Some(task), Some(percent), tasks);
            }
            Place::Single(seed, task) => {
                let known = &mut self.results.references.entry(name.to_owned()).or_default().single;
                Joint::put(known, *seed, Some(*task), Some(percent), tasks);
            }
            Place::Stage(cell, stage) => {
                let cell = &mut self.results.cells[*cell];
                let fresh = || ScorerResult { matrix: Matrix::new(tasks), metrics: Metrics::default() };
                let matrix = &mut cell.scorers.entry(name.to_owned()).or_insert_with(fresh).matrix;
                matrix.set(*stage, task, percent)?;
                matrix.set_items(task, items)?;
            }
        }
        Ok(())
    }
}

/// The mean in percent of what a scorer or a computed measure gives the answers.
///
/// # Errors
/// Answers of a dataset with a rule of its own that carry no score of it.
fn mean(name: &str, answered: &Answered) -> Result<Scored> {
    let mut sum = 0.0;
    for (question, answer) in answered.questions.iter().zip(answered.answers) {
        let own = question.scored_by_dataset && !measure::is_measure(name);
        sum += match own {
            true => answer.own_score().with_context(|| {
                format!(
                    "the dataset scores `{}` by its own rule, and the answer has no score of it",
                    answer.question_id
                )
            })?,
            false => value(name, question, &answer.text).with_context(|| format!("`{name}` is no scorer"))?,
        };
    }
    let items = answered.questions.len();
    Ok((100.0 * sum / items.max(1) as f64, items as u64))
}

/// The score of a text in 0..1.
fn value(name: &str, question: &KeptQuestion, text: &str) -> Option<f64> {
    if let Ok(scorer) = name.parse::<Scorer>() {
        return Some(score(scorer, question.metric, text, &question.reference));
    }
    let computed = measure::of(question.metric, text, &question.reference);
    computed.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The seeds that name folders in a folder, in order.
fn seeds(folder: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut seeds: Vec<u64> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    seeds.sort_unstable();
    seeds
}

fn bad(message: String) -> anyhow::Error {
    BadInput::from(anyhow::anyhow!(message)).into()
}
