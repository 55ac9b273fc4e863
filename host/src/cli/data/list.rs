//! `coin-host data list`.

use std::process::ExitCode;

use clap::Args;
use coin_plugin_api::Split;
use serde_json::json;

use super::{Selection, table};
use crate::cli::output::Output;
use crate::compare::world;
use crate::config::{Plugins, Trust};
use crate::data::release::SIZES;
use crate::plugin::Catalog;
use crate::plugin::manifest::Kind;

#[derive(Debug, Args)]
pub(super) struct ListCommand {
    #[command(flatten)]
    selection: Selection,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ListCommand {
    pub(super) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        if self.selection.config.is_none() && self.selection.dataset.is_empty() {
            return self.datasets(output);
        }
        let mut rows =
            vec![["TASK", "DATASET", "METRIC", "ROOT", "TRAIN", "VAL", "TEST"].map(String::from).to_vec()];
        let mut values = Vec::new();
        for (name, task, opened) in self.selection.resolve()?.open() {
            let opened = opened?;
            let metric = world::metric(&name, &task, opened.source.as_ref())
                .map_or_else(|_| String::from("-"), |metric| metric.to_string());
            let mut counts = Vec::new();
            for split in [Split::Train, Split::Val, Split::Test] {
                counts.push(opened.source.len(split)?);
            }
            values.push(
                json!({"task": name, "dataset": task.dataset, "metric": metric, "root": task.root.to_string(),
                "train": counts[0], "val": counts[1], "test": counts[2]}),
            );
            let texts = [name, task.dataset, metric, task.root.to_string()];
            rows.push(texts.into_iter().chain(counts.iter().map(ToString::to_string)).collect());
        }
        if self.json {
            output.json(&values)?;
        } else {
            output.data(&table(&rows, 4))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The datasets of the plugins that are found, with the sizes of CoIN's release.
    fn datasets(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let dirs = self.selection.plugin_dir.iter().map(Into::into).collect();
        let catalog = Catalog::open(&Plugins { dirs, dev: Vec::new(), trust: Trust::Locked });
        let mut rows = vec![["DATASET", "TRAIN", "TEST"].map(String::from).to_vec()];
        let mut values = Vec::new();
        for state in catalog.states().iter().filter(|state| state.hidden_by.is_none()) {
            if !state.kinds.contains(&Kind::Dataset) {
                continue;
            }
            let plugin = match catalog.load(&state.name) {
                Ok(plugin) => plugin,
                Err(error) => {
                    output.warning(&error.to_string());
                    continue;
                }
            };
            for dataset in &plugin.description().datasets {
                let name = format!("{}/{dataset}", state.name);
                let size = SIZES.iter().find(|size| size.dataset == name);
                let [train, test] = [size.map(|size| size.train), size.map(|size| size.test)]
                    .map(|count| count.map(|count| count.to_string()));
                values.push(json!({"dataset": name, "train": train, "test": test}));
                rows.push(vec![name, train.unwrap_or_default(), test.unwrap_or_default()]);
            }
        }
        if self.json {
            output.json(&values)?;
        } else {
            output.data(&table(&rows, 1))?;
            output.note(
                "sizes are those of CoIN's release; --config FILE or --dataset with --root count records",
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
