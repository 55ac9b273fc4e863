//! `metrics.jsonl` of a cell: a line for each optimizer step, and one for what plugins report outside of steps.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::train::cell::Cell;
use crate::train::stage::StepReport;

/// The file, with its length once everything is written.
pub(super) struct MetricsFile {
    file: BufWriter<File>,
    bytes: u64,
}

impl MetricsFile {
    /// Opens it for appending, cut to where the checkpoint stands.
    pub(super) fn open(path: &Path, bytes: u64) -> Result<MetricsFile> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .with_context(|| format!("{} cannot be opened", path.display()))?;
        let found = file.metadata()?.len();
        ensure!(
            found >= bytes,
            "{} has {found} bytes, the checkpoint knows of {bytes}\nhint: start anew with another --out",
            path.display()
        );
        file.set_len(bytes)?;
        file.seek(SeekFrom::End(0))?;
        Ok(MetricsFile { file: BufWriter::new(file), bytes })
    }

    fn line(&mut self, value: &serde_json::Value) -> Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    pub(super) fn step(&mut self, stage: usize, report: &StepReport, cell: &Cell) -> Result<()> {
        let mut line = serde_json::json!({
            "stage": stage,
            "step": report.step,
            "task_loss": report.task_loss,
            "gradient_norm": report.gradient_norm,
            "fresh_rows": report.fresh_rows,
        });
        for (name, value) in &report.terms {
            line[format!("term.{name}")] = (*value).into();
        }
        for (name, value) in cell.metrics.take() {
            line[name] = value.into();
        }
        self.line(&line)
    }

    /// What plugins reported outside of steps.
    pub(super) fn plugin_metrics(&mut self, stage: usize, cell: &Cell) -> Result<()> {
        let metrics = cell.metrics.take();
        if metrics.is_empty() {
            return Ok(());
        }
        let mut line = serde_json::json!({ "stage": stage });
        for (name, value) in metrics {
            line[name] = value.into();
        }
        self.line(&line)
    }

    /// Writes what is held back; gives the length of the file.
    pub(super) fn flush(&mut self) -> Result<u64> {
        self.file.flush()?;
        Ok(self.bytes)
    }
}
