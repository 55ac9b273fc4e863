//! What can be refused is refused before anything is written: a worker of its own opens every task and builds every method.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::compare::arguments::CompareArguments;
use crate::compare::environment;
use crate::compare::outlook::tasks::{Count, Counts, is_here};
use crate::compare::process::{Message, Worker};
use crate::compare::protocol::{self, FeatureSize, Inputs, Refusal, Reply, Request};
use crate::config::RunConfig;
use crate::report::results::PluginUse;
use crate::stop::{Stop, Stopped};

/// How long a worker may be silent before it is taken to hang; `COIN_HOST_HANG_SECONDS` sets another time.
const HANG: Duration = Duration::from_secs(900);

/// What keeps a run from starting, with the exit code it asks for.
#[derive(Debug, thiserror::Error)]
#[error("{}", .refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Refused {
    pub refusals: Vec<Refusal>,
}

impl Refused {
    /// One reason that concerns the whole run: bad configuration.
    pub fn configuration(message: String) -> Refused {
        Refused { refusals: vec![Refusal { method: None, message, exit: 2 }] }
    }

    /// 3 where a plugin was refused, else 2.
    pub fn exit_code(&self) -> u8 {
        self.refusals.iter().map(|refusal| refusal.exit).max().unwrap_or(2)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.method {
            Some(method) => write!(f, "method {method}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// What a check found.
pub struct Checked {
    pub refusals: Vec<Refusal>,
    /// The configuration without the methods that were refused.
    pub config: RunConfig,
    /// The plugins of each method that was built.
    pub plugins: Vec<(String, Vec<PluginUse>)>,
    pub inputs: Inputs,
    /// Where picture features are kept on disk.
    pub features: Option<FeatureSize>,
    /// What a person should know of tasks and plugins.
    pub notes: Vec<String>,
}

/// Opens every task and builds every method. A method whose plugin crashes or hangs is refused like any other.
///
/// # Errors
/// [`Refused`], unless `keep_going` and something is left to run: then `config` has what is left.
pub fn check(arguments: &CompareArguments) -> Result<Checked> {
    environment::check_device(arguments.config.backbone.device)?;
    let mut config = arguments.config.clone();
    let mut checker = Checker::new(arguments)?;
    let protocol::Checked { mut refusals, mut plugins, inputs, features, mut notes } = checker.ask(None)?;
    notes.extend(environment::unused_gpu(config.backbone.device));
    if refusals.is_empty() {
        for method in methods(&config) {
            let found = checker.ask(Some(&method))?;
            refusals.extend(found.refusals);
            plugins.extend(found.plugins);
            notes.extend(found.notes.into_iter().filter(|note| !notes.contains(note)).collect::<Vec<_>>());
        }
    }
    if !refusals.is_empty() {
        let whole = refusals.iter().any(|refusal| refusal.method.is_none());
        let refused = |name: &str| refusals.iter().any(|refusal| refusal.method.as_deref() == Some(name));
        config.methods.retain(|(name, _)| !refused(name));
        config.references.retain(|reference| !refused(&reference.method));
        if whole || !arguments.keep_going || config.methods.is_empty() {
            return Err(Refused { refusals }.into());
        }
    }
    Ok(Checked { refusals, config, plugins, inputs, features, notes })
}

/// Weights and data as a run reads them now.
///
/// # Errors
/// [`Refused`] where they cannot be read.
pub fn inputs(arguments: &CompareArguments) -> Result<Inputs> {
    let found = Checker::new(arguments)?.ask(None)?;
    if found.refusals.is_empty() {
        Ok(found.inputs)
    } else {
        Err(Refused { refusals: found.refusals }.into())
    }
}

/// What counting found.
#[derive(Debug, Default)]
pub struct Counted {
    /// Of the tasks whose data is here.
    pub counts: Counts,
    /// Of plugins that crashed or hung, as a check would tell of them.
    pub refusals: Vec<Refusal>,
}

/// Counts the records of the tasks whose data is here. A plugin that crashes or hangs opens no further task.
///
/// # Errors
/// No worker can be started, or the user stopped it.
pub fn counts(arguments: &CompareArguments) -> Result<Counted> {
    let mut checker = Checker::new(arguments)?;
    let mut counted = Counted::default();
    // Plugins that were lost, and with which task.
    let mut lost: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, task) in arguments.config.tasks.iter().filter(|(_, task)| is_here(&task.root)) {
        let plugin = task.dataset.split('/').next().unwrap_or_default();
        let count = match lost.get(plugin) {
            Some(first) => Err(format!("plugin {plugin} is not asked again after task {first}")),
            None => checker.count(name)?.unwrap_or_else(|message| {
                lost.insert(plugin, name);
                let refusal = format!("task {name}: {message}");
                counted.refusals.push(Refusal { method: None, message: refusal, exit: 3 });
                Err(message)
            }),
        };
        counted.counts.insert(name.clone(), count);
    }
    Ok(counted)
}

/// Every method that a run builds, those of references too.
fn methods(config: &RunConfig) -> Vec<String> {
    let mut names: Vec<String> = config.methods.iter().map(|(name, _)| name.clone()).collect();
    for reference in &config.references {
        if !names.contains(&reference.method) {
            names.push(reference.method.clone());
        }
    }
    names
}

/// The time after which a silent worker is taken to hang.
pub fn hang() -> Duration {
    let seconds = std::env::var("COIN_HOST_HANG_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.map_or(HANG, Duration::from_secs)
}

struct Checker<'a> {
    arguments: &'a CompareArguments,
    scratch: tempfile::TempDir,
    worker: Option<Worker>,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    started: usize,
}

impl<'a> Checker<'a> {
    fn new(arguments: &'a CompareArguments) -> Result<Checker<'a>> {
        let (sender, receiver) = channel();
        let scratch = tempfile::tempdir().context("no temporary folder can be made")?;
        Ok(Checker { arguments, scratch, worker: None, sender, receiver, started: 0 })
    }

    /// Asks about the tasks, or about one method.
    fn ask(&mut self, method: Option<&str>) -> Result<protocol::Checked> {
        let method = method.map(str::to_string);
        let found = self.send(&Request::Check { method: method.clone() }, |reply| match reply {
            Reply::Checked(found) => Some(found),
            _ => None,
        })?;
        Ok(found.unwrap_or_else(|message| {
            let refusal = Refusal { method, message, exit: 3 };
            protocol::Checked { refusals: vec![refusal], ..protocol::Checked::default() }
        }))
    }

    /// Has a task counted; `Err`: how the worker was lost.
    fn count(&mut self, task: &str) -> Result<Result<Count, String>> {
        self.send(&Request::Count { task: task.to_owned() }, |reply| match reply {
            Reply::Counted { count } => Some(count),
            _ => None,
        })
    }

    /// Sends a request, to a new worker where the last one ended, and waits for its answer; `Err`: how the worker was lost.
    fn send<T>(
        &mut self,
        request: &Request,
        answer: impl Fn(Reply) -> Option<T>,
    ) -> Result<Result<T, String>> {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => {
                self.started += 1;
                let (config, out) = (&self.arguments.config, &self.arguments.out);
                Worker::start(self.started, config, out, self.scratch.path(), self.sender.clone())?
            }
        };
        // A worker that is gone by now is noticed below.
        let _unsent = worker.send(request);
        let deadline = Instant::now() + hang();
        loop {
            if self.arguments.stop.is_asked() {
                return Err(Stopped::before_the_first_cell().into());
            }
            match self.receiver.recv_timeout(Stop::next_look(deadline)) {
                Ok(Message::Reply(number, reply)) if number == worker.number => match *reply {
                    Reply::Failed { message } => return Ok(Err(message)),
                    reply => {
                        if let Some(found) = answer(reply) {
                            self.worker = Some(worker);
                            return Ok(Ok(found));
                        }
                    }
                },
                Ok(Message::Gone(number)) if number == worker.number => return Ok(Err(worker.obituary())),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Err(worker.obituary())),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout) => {
                    let message = format!("no answer for {} s{}", hang().as_secs(), worker.whereabouts());
                    worker.kill();
                    return Ok(Err(message));
                }
            }
        }
    }
}
