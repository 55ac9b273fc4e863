//! Worker processes as their parent sees them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::compare::protocol::{Reply, Request, Work};
use crate::config::RunConfig;
use crate::plugin::breadcrumb::Breadcrumb;

/// What a worker's parent hears.
pub enum Message {
    Reply(usize, Box<Reply>),
    /// The worker's output has ended.
    Gone(usize),
}

/// A worker process.
pub struct Worker {
    pub number: usize,
    child: Child,
    stdin: Option<ChildStdin>,
    breadcrumb: PathBuf,
    /// What it is doing.
    pub work: Option<Work>,
    /// When it was last heard of.
    pub heard: Instant,
    /// It was ended; what it still has to say does not count.
    pub killed: bool,
}

impl Worker {
    /// Starts a worker of this same binary and sets it up.
    pub fn start(
        number: usize,
        config: &RunConfig,
        out: &Path,
        scratch: &Path,
        messages: Sender<Message>,
    ) -> Result<Worker> {
        let program = std::env::current_exe().context("the path of this program cannot be told")?;
        let breadcrumb = scratch.join(format!("worker-{number}.hook"));
        let threads = config.training.threads.to_string();
        let mut child = Command::new(&program)
            .arg("worker")
            // Libraries that start threads of their own read these; a cell's threads are fixed by the configuration.
            .env("OMP_NUM_THREADS", &threads)
            .env("MKL_NUM_THREADS", &threads)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("a worker ({}) cannot be started", program.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("a worker without stdout")?;
        std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || listen(number, BufReader::new(stdout), &messages))?;
        let mut worker = Worker {
            number,
            child,
            stdin,
            breadcrumb: breadcrumb.clone(),
            work: None,
            heard: Instant::now(),
            killed: false,
        };
        worker.send(&Request::Setup {
            config: Box::new(config.clone()),
            out: out.to_path_buf(),
            breadcrumb,
        })?;
        Ok(worker)
    }

    /// Sends a request.
    pub fn send(&mut self, request: &Request) -> Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let stdin = self.stdin.as_mut().context("the worker's input is closed")?;
        // As text: a broken pipe to a worker is not the reader of this program's output going away.
        let sent = stdin.write_all(&line).and_then(|()| stdin.flush());
        sent.map_err(|error| anyhow::anyhow!("a worker does not take requests: {error}"))?;
        self.heard = Instant::now();
        Ok(())
    }

    /// Gives it work; `beginning` as in [`Request::Run`].
    pub fn run(&mut self, work: Work, beginning: Option<String>) -> Result<()> {
        self.work = Some(work.clone());
        self.send(&Request::Run { work, beginning })
    }

    /// Lets it end: there are no more requests.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.killed = true;
        let _gone_already = self.child.kill();
    }

    /// Waits for its end, and tells what ended it, with the hook that ran last.
    pub fn obituary(&mut self) -> String {
        self.stdin = None;
        let ended = match self.child.wait() {
            Ok(status) => cause(status),
            Err(error) => format!("was lost: {error}"),
        };
        format!("the worker {ended}{}", self.whereabouts())
    }

    /// ` in HOOK of plugin NAME`, where a hook was running.
    pub fn whereabouts(&self) -> String {
        whereabouts(&self.breadcrumb)
    }
}

/// ` in HOOK of plugin NAME` for the hooks that a breadcrumb's file shows.
pub(crate) fn whereabouts(breadcrumb: &Path) -> String {
    let running = Breadcrumb::read(breadcrumb).unwrap_or_default();
    let hooks: Vec<String> = running
        .iter()
        .map(|running| format!("{} of plugin {}", running.hook.name(), running.plugin))
        .collect();
    if hooks.is_empty() { String::new() } else { format!(" in {}", hooks.join(" and ")) }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stdin = None;
        self.kill();
        let _reaped = self.child.wait();
    }
}

/// What ended a process, after its name: `crashed (signal 11, segmentation fault)`.
pub(crate) fn cause(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => String::from("was killed (signal 9): out of memory, or by somebody"),
        (Some(11), _) => String::from("crashed (signal 11, segmentation fault)"),
        (Some(signal), _) => format!("crashed (signal {signal})"),
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => String::from("ended"),
    }
}

fn listen(number: usize, output: impl BufRead, messages: &Sender<Message>) {
    for line in output.split(b'\n') {
        let Ok(line) = line else { break };
        let message = match serde_json::from_slice::<Reply>(&line) {
            Ok(reply) => Message::Reply(number, Box::new(reply)),
            Err(_) => {
                // Not of this protocol: shown, for whoever looks for the reason.
                let _lost = std::io::stderr().write_all(&[&line[..], b"\n"].concat());
                continue;
            }
        };
        if messages.send(message).is_err() {
            return;
        }
    }
    let _nobody_listens = messages.send(Message::Gone(number));
}
