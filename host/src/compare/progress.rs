//! One display for the whole grid: bars on a terminal, a few lines elsewhere.

mod grid;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::compare::estimate::CellWork;
use crate::compare::event::Line;
use grid::Grid;

const PARTS: u64 = 1000;

/// Shows a run while it goes on.
pub struct Progress {
    grid: Grid,
    view: View,
    start: Instant,
}

enum View {
    Bars { all: MultiProgress, total: ProgressBar, cells: BTreeMap<String, ProgressBar> },
    Lines(Box<dyn Write + Send>),
    Silent,
}

impl Progress {
    /// On stderr: bars if it is a terminal, lines if not, nothing if `quiet`.
    pub fn on_stderr(cells: &[CellWork], jobs: usize, quiet: bool) -> Self {
        let view = if quiet {
            View::Silent
        } else if std::io::stderr().is_terminal() {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let total = all.add(ProgressBar::new(PARTS));
            if let Ok(style) = ProgressStyle::with_template("[{bar:24}] {msg}") {
                total.set_style(style.progress_chars("=> "));
            }
            View::Bars { all, total, cells: BTreeMap::new() }
        } else {
            View::Lines(Box::new(std::io::stderr()))
        };
        Progress { grid: Grid::new(cells, jobs), view, start: Instant::now() }
    }

    /// Lines to a writer of the caller's.
    pub fn lines(cells: &[CellWork], jobs: usize, writer: Box<dyn Write + Send>) -> Self {
        Progress { grid: Grid::new(cells, jobs), view: View::Lines(writer), start: Instant::now() }
    }

    /// Takes an event from a worker.
    pub fn handle(&mut self, line: &Line) {
        self.handle_at(line, self.start.elapsed());
    }

    fn handle_at(&mut self, line: &Line, now: Duration) {
        let text = self.grid.take(line, now);
        match &mut self.view {
            View::Silent => {}
            View::Lines(writer) => {
                if let Some(text) = text {
                    // Nobody is left to tell when the writer is closed; the run goes on.
                    let _ = writeln!(writer, "{text}");
                }
            }
            View::Bars { all, total, cells } => {
                match self.grid.running.get(&line.cell) {
                    Some(running) => cells
                        .entry(line.cell.clone())
                        .or_insert_with(|| {
                            let bar = all.insert_before(total, ProgressBar::new_spinner());
                            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                                bar.set_style(style);
                            }
                            bar
                        })
                        .set_message(format!(
                            "{}  {}",
                            line.cell,
                            running.text(self.grid.stages(&line.cell))
                        )),
                    None => {
                        if let Some(bar) = cells.remove(&line.cell) {
                            all.remove(&bar);
                        }
                        if let Some(text) = text {
                            let _ = all.println(text);
                        }
                    }
                }
                total.set_position((self.grid.estimate.fraction() * PARTS as f64) as u64);
                total.set_message(self.grid.total(now));
            }
        }
    }

    /// A remark, above the bars.
    pub fn note(&mut self, text: &str) {
        match &mut self.view {
            View::Silent => {}
            View::Lines(writer) => {
                let _ = writeln!(writer, "{text}");
            }
            View::Bars { all, .. } => {
                let _ = all.println(text);
            }
        }
    }

    /// Takes the display down.
    pub fn clear(&mut self) {
        if let View::Bars { all, .. } = &self.view {
            let _ = all.clear();
            self.view = View::Lines(Box::new(std::io::stderr()));
        }
    }

    /// Takes the display down and leaves one line about the whole run.
    pub fn finish(mut self) {
        let summary = self.grid.total(self.start.elapsed());
        self.clear();
        self.note(&summary);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::compare::estimate::Work;
    use crate::compare::event::CellEvent;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    pub(super) fn cells() -> Vec<CellWork> {
        let cell = |method: &str| CellWork {
            cell: format!("{method}/coin/0"),
            method: method.into(),
            work: Work { stages: 2, steps: 20, answers: 20 },
        };
        vec![cell("lora"), cell("moelora")]
    }

    pub(super) fn events() -> Vec<(u64, &'static str, CellEvent)> {
        let stage = |stage, task: &str| CellEvent::StageStarted { stage, task: task.into() };
        let score = |stage, task: &str, score| CellEvent::Evaluated { stage, task: task.into(), score };
        let answered =
            |task: &str| CellEvent::Answered { stage: Some(0), task: task.into(), done: 10, of: 10 };
        vec![
            (0, "lora/coin/0", CellEvent::Started),
            (1, "lora/coin/0", score(None, "gqa", 3.0)),
            (1, "lora/coin/0", stage(0, "gqa")),
            (2, "lora/coin/0", CellEvent::Step { step: 5, of: 10, loss: 1.23456 }),
            (3, "lora/coin/0", CellEvent::Step { step: 10, of: 10, loss: 0.9 }),
            (5, "lora/coin/0", answered("gqa")),
            (5, "lora/coin/0", score(Some(0), "gqa", 41.25)),
            (5, "lora/coin/0", score(Some(0), "vizwiz", 0.0)),
            (6, "moelora/coin/0", CellEvent::Failed { message: "no memory".into() }),
            (
                90,
                "lora/coin/0",
                CellEvent::Finished { train_seconds: 65.0, eval_seconds: 20.4, picture_seconds: 3.0 },
            ),
        ]
    }

    #[test]
    fn a_log_has_a_line_for_each_turn_of_a_cell_and_none_for_its_steps() {
        let log = Log::default();
        let mut progress = Progress::lines(&cells(), 1, Box::new(log.clone()));
        for (second, cell, event) in events() {
            progress.handle_at(&Line { cell: cell.into(), event }, Duration::from_secs(second));
        }
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            "lora/coin/0: stage 1/2, training on gqa\n\
             lora/coin/0: stage 1/2, gqa 41.2 (about 12 s left)\n\
             moelora/coin/0: failed: no memory\n\
             lora/coin/0: done, 1 min 05 s training, 20 s evaluating, 3 s for pictures\n"
        );
        assert_eq!(progress.grid.total(Duration::from_secs(90)), "2 of 2 cells, 1 failed, 1 min 30 s gone");
    }
}
