//! Asking for many verdicts: a few at a time, each tried again as configured, all of them kept as they come.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::endpoint::{Endpoint, Failure, wait};
use super::message::Request;
use super::price;
use super::verdicts::{Verdict, Verdicts};
use crate::config::Judge;

/// Between two notes on how far it is.
const NOTE: Duration = Duration::from_secs(10);

pub(super) struct Asking<'a> {
    config: &'a Judge,
    endpoint: &'a Endpoint,
    requests: &'a [Request],
    shared: Mutex<Shared>,
}

/// What the threads have in common.
#[derive(Default)]
struct Shared {
    /// The next request.
    next: usize,
    /// What was paid, and what requests under way may cost.
    spent: f64,
    /// Requests that failed for good, one after another and in all.
    in_a_row: usize,
    failed: usize,
    /// Why no more is asked.
    stopped: Option<String>,
    last_reason: String,
}

impl<'a> Asking<'a> {
    pub(super) fn new(config: &'a Judge, endpoint: &'a Endpoint, requests: &'a [Request]) -> Self {
        Asking { config, endpoint, requests, shared: Mutex::default() }
    }

    /// Asks until all is known or nothing more is to be had.
    ///
    /// # Errors
    /// Verdicts that are missing in the end.
    pub(super) fn run(self, verdicts: &mut Verdicts, note: &mut dyn FnMut(&str)) -> Result<()> {
        let (sender, receiver) = channel::<Verdict>();
        let threads = self.config.parallel.min(self.requests.len());
        let count = self.requests.len();
        let mut kept = 0;
        std::thread::scope(|scope| -> Result<()> {
            for _ in 0..threads {
                let (sender, asking) = (sender.clone(), &self);
                scope.spawn(move || asking.work(&sender));
            }
            drop(sender);
            let mut noted = Instant::now();
            for verdict in receiver {
                if let Err(error) = verdicts.keep(verdict) {
                    self.stop("verdicts can no longer be kept");
                    return Err(error);
                }
                kept += 1;
                if noted.elapsed() >= NOTE {
                    note(&format!("judge: {kept} of {count} verdicts"));
                    noted = Instant::now();
                }
            }
            Ok(())
        })?;
        if kept == count {
            return Ok(());
        }
        let shared = self.shared.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let why = shared
            .stopped
            .unwrap_or_else(|| format!("{} failed; the last one: {}", shared.failed, shared.last_reason));
        bail!(
            "the judge at {} gave {kept} of {count} verdicts: {why}\nhint: those that it gave are kept in {}; the same command again asks for \
             the others only. Results are as before",
            self.endpoint.url,
            verdicts.path().display()
        )
    }

    /// One thread: request after request.
    fn work(&self, sender: &Sender<Verdict>) {
        while let Some((request, reserved)) = self.take() {
            let outcome = self.persist(request, reserved);
            let mut shared = self.lock();
            let tokens =
                |verdict: &Verdict| price(self.config, verdict.prompt_tokens, verdict.completion_tokens);
            let cost = outcome.as_ref().ok().and_then(tokens).unwrap_or(0.0);
            shared.spent += cost - reserved;
            match outcome {
                Ok(verdict) => {
                    shared.in_a_row = 0;
                    if sender.send(verdict).is_err() {
                        return;
                    }
                }
                Err(failure) => {
                    shared.failed += 1;
                    shared.in_a_row += 1;
                    let (reason, fatal) = match failure {
                        Failure::Fatal(reason) => (reason, true),
                        Failure::Passing { reason, .. } => {
                            (format!("{reason} ({} tries)", self.config.retries + 1), false)
                        }
                        Failure::Refused(reason) => (reason, false),
                    };
                    // A server that is gone is not asked for each of thousands of verdicts.
                    if fatal || shared.in_a_row >= self.config.parallel.max(3) {
                        shared.stopped.get_or_insert(reason.clone());
                    }
                    shared.last_reason = reason;
                }
            }
        }
    }

    /// The next request, with what it may cost.
    fn take(&self) -> Option<(&'a Request, f64)> {
        let mut shared = self.lock();
        if shared.stopped.is_some() {
            return None;
        }
        let request = self.requests.get(shared.next)?;
        let reserved = price(self.config, request.tokens(), self.config.max_tokens as u64).unwrap_or(0.0);
        if let Some(cap) = self.config.max_cost.filter(|cap| shared.spent + reserved > *cap) {
            shared.stopped = Some(exceeds(cap));
            return None;
        }
        shared.next += 1;
        shared.spent += reserved;
        Some((request, reserved))
    }

    /// Tries a request as often as configured, and as the cost allows: a reply without a verdict counts with its estimate.
    fn persist(&self, request: &Request, estimate: f64) -> Result<Verdict, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = self.endpoint.ask(request);
            let Err(Failure::Passing { wait: server, answered, .. }) = &outcome else { return outcome };
            if *answered {
                let mut shared = self.lock();
                shared.spent += estimate;
                if let Some(cap) = self.config.max_cost.filter(|cap| shared.spent > *cap) {
                    shared.stopped.get_or_insert(exceeds(cap));
                }
            }
            if tries > self.config.retries || !self.goes_on() {
                return outcome;
            }
            self.sleep(wait(self.config.backoff_seconds, tries, *server));
            if !self.goes_on() {
                return outcome;
            }
        }
    }

    /// Sleeps, unless it is all over.
    fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while self.goes_on() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    fn goes_on(&self) -> bool {
        self.lock().stopped.is_none()
    }

    fn stop(&self, reason: &str) {
        self.lock().stopped.get_or_insert(reason.to_owned());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn exceeds(cap: f64) -> String {
    format!("the next one would exceed `judge.max_cost` of {cap}")
}
