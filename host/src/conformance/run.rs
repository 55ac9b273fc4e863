//! The suite from its parent: which checks there are for a plugin, in which order, and what comes of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::check::{Check, Outcome, Verdict};
use super::child::{self, Found, Request, Setup};
use super::process::{Ending, Process};
use super::resume::{self, Leg};
use super::subject::Subject;

/// What one check may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub seconds: u64,
    /// Resident bytes of its process.
    pub memory: u64,
}

/// What to check.
#[derive(Clone, Debug)]
pub struct Plan {
    pub subject: Subject,
    /// Keys of the method's stack entry, or of the datasets.
    pub keys: toml::Table,
    /// The folder of the datasets' files.
    pub root: Option<PathBuf>,
    /// Of the datasets only these; empty for all.
    pub datasets: Vec<String>,
    /// Whether its method is checked, if it has one.
    pub method: bool,
    /// Whether its datasets are checked.
    pub dataset: bool,
    pub limits: Limits,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub plugin: String,
    /// Unknown where it could not be loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub library: PathBuf,
    pub sha256: String,
    pub passed: bool,
    pub checks: Vec<Outcome>,
}

/// Runs the suite; `seen` hears of each check as it is done.
///
/// # Errors
/// No process can be started. What is wrong with the plugin is in the report.
pub fn run(plan: &Plan, seen: &mut dyn FnMut(&Outcome) -> Result<()>) -> Result<Report> {
    let scratch = tempfile::tempdir().context("no temporary folder can be made")?;
    let mut suite = Suite {
        plan,
        scratch: scratch.path().to_path_buf(),
        heard: Vec::new(),
        process: None,
        found: None,
        outcomes: Vec::new(),
        failed: BTreeMap::new(),
        seen,
    };
    for check in Check::PLUGIN {
        suite.check(check, None)?;
    }
    if let Some(found) = suite.found.clone() {
        if found.method && plan.method {
            for check in Check::METHOD {
                suite.check(check, None)?;
            }
        }
        for dataset in found.datasets.iter().filter(|_| plan.dataset) {
            if plan.datasets.is_empty() || plan.datasets.contains(dataset) {
                for check in Check::DATASET {
                    suite.check(check, Some(dataset))?;
                }
            }
        }
    }
    Ok(suite.report())
}

struct Suite<'s> {
    plan: &'s Plan,
    scratch: PathBuf,
    /// By process, in the order of their starts: how much of what it printed [`Check::Silence`] has seen.
    heard: Vec<usize>,
    process: Option<Process>,
    found: Option<Found>,
    outcomes: Vec<Outcome>,
    /// Checks that did not pass, by dataset: what builds on them is left out.
    failed: BTreeMap<(Option<String>, Check), ()>,
    seen: &'s mut dyn FnMut(&Outcome) -> Result<()>,
}

impl Suite<'_> {
    fn check(&mut self, check: Check, dataset: Option<&str>) -> Result<()> {
        let clock = Instant::now();
        let verdict = match self.missing(check, dataset) {
            Some(reason) => Verdict::Skip(reason),
            None => match check {
                Check::Silence => self.silence()?,
                Check::Resume => self.relay()?,
                Check::Errors => self.errors()?,
                _ => self.ask(check, dataset)?,
            },
        };
        let dataset = dataset.map(str::to_string);
        if matches!(verdict, Verdict::Fail(_)) || (verdict != Verdict::Pass && check == Check::Opens) {
            self.failed.insert((dataset.clone(), check), ());
        }
        let outcome = Outcome { check, dataset, verdict, seconds: clock.elapsed().as_secs_f64() };
        (self.seen)(&outcome)?;
        self.outcomes.push(outcome);
        Ok(())
    }

    /// Why a check would say nothing.
    fn missing(&self, check: Check, dataset: Option<&str>) -> Option<String> {
        let mut needed = check.needs();
        while let Some(check) = needed {
            for of in [None, dataset] {
                if self.failed.contains_key(&(of.map(str::to_string), check)) {
                    return Some(format!("not without `{}`", check.name()));
                }
            }
            needed = check.needs();
        }
        None
    }

    fn ask(&mut self, check: Check, dataset: Option<&str>) -> Result<Verdict> {
        let process = match self.process.take() {
            Some(process) => process,
            None => self.start()?,
        };
        let request = Request { check, dataset: dataset.map(str::to_string), leg: None };
        let (verdict, process) = self.put(process, &request, self.plan.limits)?;
        self.process = process;
        Ok(verdict)
    }

    /// Puts a request to a process, which is gone where it gave no answer: the next check then gets one of its own.
    fn put(
        &mut self,
        mut process: Process,
        request: &Request,
        limits: Limits,
    ) -> Result<(Verdict, Option<Process>)> {
        match process.ask(request, limits)? {
            Ending::Answered(reply) => {
                if reply.found.is_some() {
                    self.found = reply.found;
                }
                Ok((reply.verdict, Some(process)))
            }
            Ending::Lost(reason) => Ok((Verdict::Fail(reason), None)),
        }
    }

    /// Has each leg of a stopped run but the first done by a process that knows nothing of the others, and ends it behind it.
    fn relay(&mut self) -> Result<Verdict> {
        let (clock, folder) = (Instant::now(), self.scratch.join("relay"));
        std::fs::create_dir_all(&folder)?;
        for number in 0..resume::LEGS {
            // The first is of the process that ran in one go.
            let known = if number == 0 { self.process.take() } else { None };
            let process = match known {
                Some(process) => process,
                None => self.start()?,
            };
            let leg = Some(Leg { number, folder: folder.clone() });
            let request = Request { check: Check::Resume, dataset: None, leg };
            let seconds = self.plan.limits.seconds.saturating_sub(clock.elapsed().as_secs());
            let (verdict, process) = self.put(process, &request, Limits { seconds, ..self.plan.limits })?;
            if number == 0 {
                self.process = process;
            }
            if verdict != Verdict::Pass {
                return Ok(verdict);
            }
        }
        Ok(Verdict::Pass)
    }

    /// Looks back on the end of what every process made.
    fn errors(&mut self) -> Result<Verdict> {
        let mut verdict = self.ask(Check::Errors, None)?;
        for number in 0..self.heard.len() {
            if verdict == Verdict::Pass {
                verdict = child::ends(&folder_of(&self.scratch, number))?;
            }
        }
        Ok(verdict)
    }

    /// What was printed since the last look, by every process there was.
    fn silence(&mut self) -> Result<Verdict> {
        let mut printed = Vec::new();
        for (number, heard) in self.heard.iter_mut().enumerate() {
            let bytes = std::fs::read(printed_by(&self.scratch, number))?;
            printed.extend_from_slice(bytes.get(*heard..).unwrap_or_default());
            *heard = bytes.len();
        }
        let text = String::from_utf8_lossy(&printed);
        if text.is_empty() {
            return Ok(Verdict::Pass);
        }
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let line: String = line.chars().take(60).collect();
        Ok(Verdict::Fail(format!(
            "it prints to stdout: {line:?}\nhint: `coin_plugin_api::log` is for messages; a program that reads the host's output must not find others in it"
        )))
    }

    fn start(&mut self) -> Result<Process> {
        let scratch = folder_of(&self.scratch, self.heard.len());
        std::fs::create_dir_all(&scratch)?;
        let printed = printed_by(&self.scratch, self.heard.len());
        self.heard.push(0);
        std::fs::write(&printed, "")?;
        Process::start(&Setup {
            subject: self.plan.subject.clone(),
            breadcrumb: scratch.join("hook"),
            printed,
            keys: self.plan.keys.clone(),
            root: self.plan.root.clone(),
            scratch,
        })
    }

    fn report(self) -> Report {
        Report {
            plugin: self.plan.subject.name.clone(),
            version: self.found.as_ref().map(|found| found.version.clone()),
            library: self.plan.subject.library.clone(),
            sha256: self.plan.subject.sha256.clone(),
            passed: !self.outcomes.iter().any(|outcome| matches!(outcome.verdict, Verdict::Fail(_))),
            checks: self.outcomes,
        }
    }
}

/// The folder of a process.
fn folder_of(scratch: &Path, process: usize) -> PathBuf {
    scratch.join(process.to_string())
}

/// Where its stdout goes.
fn printed_by(scratch: &Path, process: usize) -> PathBuf {
    folder_of(scratch, process).join("stdout")
}

impl Report {
    /// `lora 0.1.0: 20 checks passed, 1 failed, 2 skipped`.
    pub fn summary(&self) -> String {
        let count = |word: &str| self.checks.iter().filter(|outcome| outcome.verdict.word() == word).count();
        let version = self.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        format!(
            "{}{version}: {} checks passed, {} failed, {} skipped",
            self.plugin,
            count("PASS"),
            count("FAIL"),
            count("SKIP")
        )
    }
}
