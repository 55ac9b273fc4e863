//! The child as its parent sees it: asked, waited for, watched, ended.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::child::{Reply, Request, Setup};
use super::run::Limits;
use crate::compare::memory::resident;
use crate::compare::process::{cause, whereabouts};

/// Time between two looks at the child's memory.
const LOOK: Duration = Duration::from_millis(20);

/// A child that has been set up.
pub(super) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    replies: Receiver<Reply>,
    breadcrumb: PathBuf,
    complaints: PathBuf,
}

/// How a request ended.
pub(super) enum Ending {
    Answered(Reply),
    /// There is no child any more; why, and where it was.
    Lost(String),
}

impl Process {
    /// Starts this same program for checks below a folder.
    pub(super) fn start(setup: &Setup) -> Result<Process> {
        let program = std::env::current_exe().context("the path of this program cannot be told")?;
        let complaints = setup.scratch.join("stderr");
        let mut child = Command::new(&program)
            .args(["plugin", "check-child"])
            .arg(&setup.printed)
            // What it says last is shown where it crashes.
            .env("RUST_BACKTRACE", "0")
            .env("OMP_NUM_THREADS", "1")
            .env("MKL_NUM_THREADS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&complaints)?)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("a child without stdout")?;
        let (sender, replies) = channel();
        std::thread::Builder::new().name(String::from("check")).spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(reply) = serde_json::from_str(&line) else { continue };
                if sender.send(reply).is_err() {
                    return;
                }
            }
        })?;
        let mut process = Process { child, stdin, replies, breadcrumb: setup.breadcrumb.clone(), complaints };
        // A child that is gone by now is noticed when it is asked.
        let _unsent = process.send(&serde_json::to_vec(setup)?);
        Ok(process)
    }

    fn send(&mut self, line: &[u8]) -> std::io::Result<()> {
        let Some(stdin) = self.stdin.as_mut() else { return Ok(()) };
        stdin.write_all(line)?;
        stdin.write_all(b"\n")?;
        stdin.flush()
    }

    /// Has a check done within limits.
    pub(super) fn ask(&mut self, request: &Request, limits: Limits) -> Result<Ending> {
        let _unsent = self.send(&serde_json::to_vec(request)?);
        let deadline = Instant::now() + Duration::from_secs(limits.seconds);
        let id = self.child.id().to_string();
        loop {
            match self.replies.recv_timeout(LOOK) {
                Ok(reply) => return Ok(Ending::Answered(reply)),
                Err(RecvTimeoutError::Disconnected) => return Ok(Ending::Lost(self.obituary())),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if resident(&id) > limits.memory {
                let reason =
                    format!("it took more than {} MiB of memory{}", limits.memory >> 20, self.place());
                return Ok(Ending::Lost(reason));
            }
            if Instant::now() >= deadline {
                return Ok(Ending::Lost(format!("no answer for {} s{}", limits.seconds, self.place())));
            }
        }
    }

    fn place(&self) -> String {
        whereabouts(&self.breadcrumb)
    }

    /// What ended it, and what it said last.
    fn obituary(&mut self) -> String {
        self.stdin = None;
        let ended = match self.child.wait() {
            Ok(status) => cause(status),
            Err(error) => format!("was lost: {error}"),
        };
        let said = last_line(&self.complaints);
        let said = if said.is_empty() { said } else { format!(": {said}") };
        format!("the process {ended}{}{said}", self.place())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stdin = None;
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn last_line(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
    let mut lines = text.lines().rev().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with("note: ")).unwrap_or_default();
    line.chars().take(200).collect()
}
