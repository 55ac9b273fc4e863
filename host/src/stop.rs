//! A program that is asked to end: by Ctrl-C, or by SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Between two looks at the wish to stop.
pub const LOOK: Duration = Duration::from_millis(100);

/// The exit code of a program that was asked to end, as shells have it for Ctrl-C.
pub const EXIT_CODE: i32 = 130;

/// Whether somebody asked for an end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on a first signal is a wish, and a second one ends the process at once.
    pub fn on_signals() -> Result<Stop> {
        let stop = Stop::default();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag still down.
            flag::register_conditional_shutdown(signal, EXIT_CODE, Arc::clone(&stop.0))?;
            flag::register(signal, Arc::clone(&stop.0))?;
        }
        Ok(stop)
    }

    /// Asks for an end, as a signal does.
    pub fn ask(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The time until the next look, no longer than until `deadline`.
    pub fn next_look(deadline: Instant) -> Duration {
        deadline.saturating_duration_since(Instant::now()).min(LOOK)
    }
}

/// What was going on ended because somebody asked for it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(String);

impl Stopped {
    /// Nothing was written yet.
    pub fn before_the_first_cell() -> Stopped {
        Stopped(String::from("stopped before the first cell; nothing was changed"))
    }

    /// `kept` of `of` stages are answered.
    pub fn after(kept: usize, of: usize) -> Stopped {
        let stages = if of == 1 { "stage" } else { "stages" };
        Stopped(format!("stopped; {kept} of {of} {stages} kept; the same command goes on"))
    }

    /// A stage of pre-training has `step` of its `of` steps behind it, all of them kept.
    pub fn at_step(step: usize, of: usize, stage: &str) -> Stopped {
        Stopped(format!("stopped at step {step} of {of} of the stage {stage}; the same command goes on"))
    }
}
