//! `coin-host data preview`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use coin_plugin_api::Split;

use super::{Opened, Selection, write};
use crate::cli::output::Output;
use crate::data::instruction::{Instruction, Place};
use crate::data::preview::{Item, Shown, page};
use crate::stream::random::Draws;

#[derive(Debug, Args)]
pub(super) struct PreviewCommand {
    #[command(flatten)]
    selection: Selection,
    /// Records of a task
    #[arg(long, short, value_name = "NUMBER", default_value = "6")]
    number: usize,
    /// Which records are drawn
    #[arg(long, default_value = "0")]
    seed: u64,
    /// Of which part
    #[arg(long, default_value = "test")]
    split: Part,
    /// The page
    #[arg(long, value_name = "FILE", default_value = "preview.html")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    Train,
    Val,
    Test,
}

impl PreviewCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let selected = self.selection.resolve()?;
        let seed = selected.seed;
        let mut tasks = Vec::new();
        for (_, _, opened) in selected.open() {
            tasks.push(self.shown(&opened?, seed)?);
        }
        write(&self.out, &page("Records of the tasks", &tasks))?;
        output.data(&self.out.display().to_string())?;
        Ok(ExitCode::SUCCESS)
    }

    fn shown(&self, opened: &Opened, seed: u64) -> anyhow::Result<Shown> {
        let split = match self.split {
            Part::Train => Split::Train,
            Part::Val => Split::Val,
            Part::Test => Split::Test,
        };
        let count = opened.source.len(split)?;
        let mut draws = Draws::new(self.seed, &format!("preview/{}", opened.name), &[split as u64]);
        let mut numbers = BTreeSet::new();
        while numbers.len() < self.number.min(count) {
            numbers.insert(draws.below(count));
        }
        let instruction = Instruction::new(&opened.task.instruction);
        // Test records are worded alike in all runs.
        let seed = if split == Split::Train { seed } else { 0 };
        let mut items = Vec::new();
        for number in numbers {
            for record in opened.source.records(split, number, number + 1)? {
                let place = Place { seed, task: &opened.name, split, number };
                let prompt = instruction.prompt(&record, place);
                items.push(Item::new(record, prompt, &opened.root));
            }
        }
        let about = format!("{}, {} of {count} {} records", opened.task.dataset, items.len(), split.name());
        Ok(Shown { name: opened.name.clone(), about, items })
    }
}
