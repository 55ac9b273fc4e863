//! A comparison from its first check to its results: the parent's side.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::compare::agreement::{self, ALL};
use crate::compare::arguments::{CompareArguments, Outcome};
use crate::compare::check::{Refused, check, hang};
use crate::compare::environment;
use crate::compare::event::{CellEvent, Line};
use crate::compare::gather::Gathered;
use crate::compare::manifest::{self, Manifest};
use crate::compare::plan::{Cell, Plan};
use crate::compare::process::{Message, Worker};
use crate::compare::progress::Progress;
use crate::compare::protocol::{Reply, Work};
use crate::compare::sums;
use crate::compare::work_units;
use crate::compare::world;
use crate::config::{Location, ReferenceKind, RunConfig};
use crate::files;
use crate::report::results::FILE_NAME;
use crate::stop::{LOOK, Stop, Stopped};

/// Between two looks at silent workers.
const WATCH: Duration = Duration::from_secs(1);

/// Runs a comparison and writes its results into the run's folder.
///
/// # Errors
/// What keeps the run from starting. A cell that fails is part of the outcome.
pub fn run(arguments: &CompareArguments) -> Result<Outcome> {
    let out = &arguments.out;
    usable(out)?;
    let began = Manifest::read(out)?;
    let whole = agreement::grown(out, began.as_ref(), &arguments.config)?;
    for (_, task) in &arguments.config.tasks {
        if matches!(task.root, Location::Builtin(_)) {
            world::root(&task.root)?;
        }
    }
    let checked = check(arguments)?;
    let mut redo = agreement::to_redo(out, began.as_ref(), &arguments.config, &checked, &arguments.redo)?;
    // What is refused is not done again either: its earlier cells stay.
    redo.retain(|method| checked.refusals.iter().all(|refusal| refusal.method.as_ref() != Some(method)));
    world::writable(out)?;
    let _lock = manifest::lock(out)?;
    files::forget_unfinished(out).with_context(|| format!("{} cannot be tidied", out.display()))?;
    let hash = |manifest: Option<Manifest>| manifest.map(|manifest| manifest.config_sha256);
    if hash(Manifest::read(out)?) != began.as_ref().map(|began| began.config_sha256.clone()) {
        let message = format!(
            "another comparison began in {} meanwhile\nhint: start this one again, or name another folder with --out",
            out.display()
        );
        return Err(Refused::configuration(message).into());
    }
    sums::forget(out)?;
    // Before the manifest names other plugins, nothing that the old ones made is left.
    let environment = environment::of(&whole);
    let mut gathered = Gathered::begin(out, &whole, &arguments.config, &checked.refusals, &redo)?;
    gathered.on(environment.clone())?;
    let mut manifest = Manifest::new(&whole, &checked.refusals, checked.plugins, checked.inputs);
    manifest.environment = Some(environment);
    if let Some(began) = &began {
        manifest.keep(began);
    }
    manifest.write(out)?;
    let (config, features, notes) = (checked.config, checked.features, checked.notes);
    let queue: VecDeque<Work> = works(&config).into_iter().filter(|work| !gathered.has(work)).collect();
    let jobs = jobs(arguments.jobs, &config, queue.len());
    let units = work_units::of(&config, queue.iter());
    let mut pool = Pool {
        config: &config,
        out,
        scratch: tempfile::tempdir().context("no temporary folder can be made")?,
        progress: Progress::on_stderr(&units, jobs, arguments.quiet),
        queue,
        beginnings: BTreeMap::new(),
        workers: Vec::new(),
        started: 0,
        stop: &arguments.stop,
    };
    if pool.queue.is_empty() {
        pool.progress.note(&nothing_to_do(&config));
        return finish(gathered, out);
    }
    notes.iter().for_each(|note| pool.progress.note(note));
    if let Some(features) = features {
        pool.progress.note(&features.to_string());
    }
    if began.is_some() {
        let (kept, of) = gathered.stages();
        let stages = if of == 1 { "stage is" } else { "stages are" };
        pool.progress.note(&format!("going on in {}: {kept} of {of} {stages} there", out.display()));
    }
    for method in redo.iter().filter(|method| *method != ALL) {
        pool.progress.note(&format!("method {method} is trained again from its beginning"));
    }
    let finished = pool.work(jobs, &mut gathered);
    if finished.is_ok() && arguments.stop.is_asked() && !pool.is_done() {
        let (kept, of) = gathered.stages();
        pool.progress.clear();
        return Err(Stopped::after(kept, of).into());
    }
    pool.progress.finish();
    finished?;
    finish(gathered, out)
}

/// Writes the page, and notes down what the run consists of.
fn finish(gathered: Gathered, out: &Path) -> Result<Outcome> {
    let outcome = gathered.finish()?;
    sums::write(out)?;
    Ok(outcome)
}

/// What a run says that finds everything done.
fn nothing_to_do(config: &RunConfig) -> String {
    match Plan::new(config).cells.len() {
        1 => String::from("the cell is there, nothing to do"),
        cells => format!("all {cells} cells are there, nothing to do"),
    }
}

/// Refuses a folder with something else in it than a run.
fn usable(out: &Path) -> Result<()> {
    let refuse = |what: &str| {
        let message = format!("{} {what}\nhint: name a new folder with --out", out.display());
        Err(Refused::configuration(message).into())
    };
    if out.exists() && !out.is_dir() {
        return refuse("is a file, not the folder of a run");
    }
    let Ok(mut entries) = std::fs::read_dir(out) else { return Ok(()) };
    if out.join(FILE_NAME).is_file() && !out.join(manifest::FILE_NAME).is_file() {
        return refuse("holds results without the manifest.json that says what they are of");
    }
    // The lock comes first, and stays.
    if entries.next().is_some()
        && !out.join(manifest::LOCK).is_file()
        && !out.join(manifest::FILE_NAME).is_file()
    {
        return refuse("is not empty and holds no run");
    }
    Ok(())
}

/// All that is to be done: cells first, since they take longest, then references.
pub(super) fn works(config: &RunConfig) -> Vec<Work> {
    let plan = Plan::new(config);
    let cells = plan.cells.into_iter().map(|cell: Cell| Work::Cell { cell });
    let work = |(number, seed): (usize, u64)| match config.references[number].kind {
        ReferenceKind::Joint => vec![Work::Joint { reference: number, seed }],
        ReferenceKind::Single => {
            let single =
                |(task, _): &(String, _)| Work::Single { reference: number, seed, task: task.clone() };
            config.tasks.iter().map(single).collect()
        }
    };
    let numbers = |&seed: &u64| (0..config.references.len()).map(move |number| (number, seed));
    let references = config.seeds.iter().flat_map(numbers).flat_map(work);
    cells.chain(references).chain([Work::ZeroShot]).collect()
}

/// Workers at a time of a run that begins.
pub fn workers(arguments: &CompareArguments) -> usize {
    jobs(arguments.jobs, &arguments.config, works(&arguments.config).len())
}

fn jobs(asked: Option<usize>, config: &RunConfig, works: usize) -> usize {
    asked.unwrap_or_else(|| default_jobs(config)).clamp(1, works.max(1))
}

/// One on a GPU; on CPU as many as the cores carry.
fn default_jobs(config: &RunConfig) -> usize {
    if world::device(config.backbone.device).is_cuda() {
        return 1;
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / config.training.threads.max(1)).max(1)
}

struct Pool<'p> {
    config: &'p RunConfig,
    out: &'p Path,
    scratch: tempfile::TempDir,
    progress: Progress,
    queue: VecDeque<Work>,
    /// By the name of a cell: how the process of its last stage would have begun the next one.
    beginnings: BTreeMap<String, String>,
    workers: Vec<Worker>,
    started: usize,
    stop: &'p Stop,
}

impl Pool<'_> {
    fn work(&mut self, jobs: usize, gathered: &mut Gathered) -> Result<()> {
        let (sender, receiver) = channel();
        for _ in 0..jobs {
            self.start(&sender)?;
        }
        let mut watched = Instant::now();
        while !self.workers.is_empty() && !self.stop.is_asked() {
            // A busy worker must not keep a hanging one from being noticed.
            if watched.elapsed() >= WATCH {
                self.watch(gathered)?;
                watched = Instant::now();
            }
            match receiver.recv_timeout(LOOK) {
                Ok(Message::Reply(number, reply)) => self.reply(number, *reply, gathered)?,
                Ok(Message::Gone(number)) => self.gone(number, &sender, gathered)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the workers' channel closed"),
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.queue.is_empty() && self.workers.is_empty()
    }

    /// Starts a worker if there is something for it.
    fn start(&mut self, sender: &Sender<Message>) -> Result<()> {
        let Some(work) = self.queue.pop_front() else { return Ok(()) };
        self.started += 1;
        let mut worker =
            Worker::start(self.started, self.config, self.out, self.scratch.path(), sender.clone())?;
        // A worker that is gone by now says so itself, and its work is settled there.
        let beginning = self.beginnings.remove(&work.name());
        let _unsent = worker.run(work, beginning);
        self.workers.push(worker);
        Ok(())
    }

    fn reply(&mut self, number: usize, reply: Reply, gathered: &mut Gathered) -> Result<()> {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.number == number) else {
            return Ok(());
        };
        if worker.killed {
            return Ok(());
        }
        worker.heard = Instant::now();
        match reply {
            Reply::Event(line) => {
                self.progress.handle(&line);
                return Ok(());
            }
            Reply::Measured(result) => {
                if let Some(Work::Cell { cell }) = &worker.work {
                    gathered.measured(cell, *result)?;
                }
                return Ok(());
            }
            Reply::Checked(_) | Reply::Counted { .. } => return Ok(()),
            Reply::Stage { beginning } => {
                if let Some(work) = worker.work.take() {
                    match beginning {
                        Some(Ok(beginning)) => drop(self.beginnings.insert(work.name(), beginning)),
                        Some(Err(reason)) => self.progress.note(&format!(
                            "{}: its next stage is not compared with a process that remembers more, which fails in it: {reason}",
                            work.name()
                        )),
                        None => {}
                    }
                    self.queue.push_front(work);
                }
            }
            Reply::Cell(result) => {
                if let Some(work) = worker.work.take() {
                    gathered.cell(&work, *result)?;
                }
            }
            Reply::ZeroShot { references, notes } => {
                worker.work = None;
                gathered.zero_shot(references)?;
                notes.iter().for_each(|note| self.progress.note(note));
            }
            Reply::Failed { message } => {
                if let Some(work) = worker.work.take() {
                    self.progress.handle(&Line {
                        cell: work.name(),
                        event: CellEvent::Failed { message: message.clone() },
                    });
                    gathered.failed(&work, &message)?;
                }
            }
        }
        // Under a strict protocol nothing is done by a process that has done something before.
        let next = if self.config.protocol.strict { None } else { self.queue.pop_front() };
        match next {
            // A worker that is gone by now says so itself; its work is then counted as failed there.
            Some(work) => drop(worker.run(work, None)),
            None => worker.close(),
        }
        Ok(())
    }

    /// A worker ended: after its last work, or in the middle of one.
    fn gone(&mut self, number: usize, sender: &Sender<Message>, gathered: &mut Gathered) -> Result<()> {
        let Some(place) = self.workers.iter().position(|worker| worker.number == number) else {
            return Ok(());
        };
        let mut worker = self.workers.remove(place);
        if let Some(work) = worker.work.take() {
            let message = worker.obituary();
            self.fail(&work, &message, gathered)?;
        }
        self.start(sender)
    }

    /// Ends workers that have been silent for too long.
    fn watch(&mut self, gathered: &mut Gathered) -> Result<()> {
        let mut failed = Vec::new();
        for worker in &mut self.workers {
            if worker.heard.elapsed() > hang()
                && let Some(work) = worker.work.clone()
            {
                let message = format!(
                    "no progress for {} s{}: the worker was ended\nhint: COIN_HOST_HANG_SECONDS sets another limit",
                    hang().as_secs(),
                    worker.whereabouts()
                );
                worker.kill();
                failed.push((worker.number, work, message));
            }
        }
        for (number, work, message) in failed {
            // The worker's end follows as a message of its own; the work is settled here.
            if let Some(worker) = self.workers.iter_mut().find(|worker| worker.number == number) {
                worker.work = None;
            }
            self.fail(&work, &message, gathered)?;
        }
        Ok(())
    }

    fn fail(&mut self, work: &Work, message: &str, gathered: &mut Gathered) -> Result<()> {
        self.progress
            .handle(&Line { cell: work.name(), event: CellEvent::Failed { message: message.to_string() } });
        gathered.failed(work, message)
    }
}
