//! The wall time of a cell, what its pictures take apart.

use std::time::Instant;

use crate::data::task::Task;

/// Runs from where it is started or was last read.
pub(super) struct Clock<'a> {
    tasks: &'a [Task],
    since: Instant,
    pictures: f64,
}

/// Seconds between two readings.
pub(super) struct Lap {
    /// Without those on pictures.
    pub own: f64,
    /// Waiting for pictures and computing their frozen vision features: what a method pays for that depends on what was seen before it.
    pub pictures: f64,
}

impl<'a> Clock<'a> {
    pub(super) fn start(tasks: &'a [Task]) -> Clock<'a> {
        Clock { tasks, since: Instant::now(), pictures: pictures(tasks) }
    }

    pub(super) fn lap(&mut self) -> Lap {
        let now = Clock::start(self.tasks);
        let pictures = now.pictures - self.pictures;
        let all = (now.since - self.since).as_secs_f64();
        *self = now;
        Lap { own: (all - pictures).max(0.0), pictures }
    }
}

fn pictures(tasks: &[Task]) -> f64 {
    tasks.iter().map(Task::picture_seconds).sum()
}
