//! Whether a finished run is still what it says it is: its files, its configuration, the plugins, weights and data it was made from,
//! and its scores.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::compare::arguments::CompareArguments;
use crate::compare::check::{self, Refused};
use crate::compare::content::Content;
use crate::compare::manifest::{FILE_NAME, Manifest};
use crate::compare::message::message;
use crate::compare::{environment, sums};
use crate::eval::measure;
use crate::eval::scorer::Scorer;
use crate::kept::{Column, KeptRun};
use crate::plugin::{Catalog, verify};
use crate::report::results::{PluginUse, Results, ScorerResult, Status};

/// What was looked at, part by part.
#[derive(Debug, Serialize)]
pub struct Verification {
    /// Nothing differs, and everything could be looked at.
    pub matches: bool,
    pub parts: Vec<Part>,
    /// What is another one here and need not be the same: host, libtorch, machine.
    pub remarks: Vec<String>,
}

/// One kind of things.
#[derive(Debug, Serialize)]
pub struct Part {
    pub name: &'static str,
    /// How many were looked at.
    pub checked: usize,
    /// What no longer matches, or could not be looked at.
    pub faults: Vec<String>,
}

impl Part {
    fn new(name: &'static str) -> Part {
        Part { name, checked: 0, faults: Vec::new() }
    }

    fn check(&mut self, fault: Option<String>) {
        self.checked += 1;
        self.faults.extend(fault);
    }
}

/// Looks at the run in `arguments.out`, whose own configuration `arguments` has. The plugins that read its tasks run in a worker.
///
/// # Errors
/// A folder without a run.
pub fn verify(arguments: &CompareArguments, manifest: &Manifest) -> Result<Verification> {
    let out = &arguments.out;
    let results = Results::read(out)?;
    let mut parts = vec![files(out)?, configuration(manifest), plugins(manifest, &results)];
    parts.extend(inputs(arguments, manifest)?);
    parts.push(answers(out, &results));
    Ok(Verification {
        matches: parts.iter().all(|part| part.faults.is_empty()),
        parts,
        remarks: environment::differences(manifest.environment.as_ref(), &environment::of(&manifest.config)),
    })
}

/// The manifest of the run in a folder.
///
/// # Errors
/// A folder without one.
pub fn manifest(out: &Path) -> Result<Manifest> {
    Manifest::read(out)?.with_context(|| {
        format!(
            "{} has no {FILE_NAME}\nhint: name the folder of a run, as `compare --out` does",
            out.display()
        )
    })
}

fn files(out: &Path) -> Result<Part> {
    let mut part = Part::new("files");
    let Some(then) = sums::read(out)? else {
        let unfinished =
            format!("{} is not there: the run was not finished, or by an older host", sums::FILE);
        part.check(Some(format!("{unfinished}\nhint: the `compare` that made it finishes it")));
        return Ok(part);
    };
    let now = sums::of(out)?;
    for (path, sha256) in &then {
        part.check(match now.get(path) {
            Some(found) if found == sha256 => None,
            Some(found) => Some(format!("{path} was changed: sha256 {sha256} then, {found} now")),
            None => Some(format!("{path} is gone")),
        });
    }
    let is_new = |path: &&String| !then.contains_key(*path);
    part.faults.extend(now.keys().filter(is_new).map(|path| format!("{path} was not there")));
    Ok(part)
}

fn configuration(manifest: &Manifest) -> Part {
    let mut part = Part::new("configuration");
    let now = manifest.config.content_hash();
    part.check((now != manifest.config_sha256).then(|| {
        format!("{FILE_NAME} was changed: its configuration has sha256 {now}, not {}", manifest.config_sha256)
    }));
    part
}

/// Every plugin of the run is here, with the same bytes, and would still be loaded. None of them is.
fn plugins(manifest: &Manifest, results: &Results) -> Part {
    let mut part = Part::new("plugins");
    let of_methods = manifest.plugins.iter().flat_map(|(_, plugins)| plugins);
    let of_cells = results.cells.iter().flat_map(|cell| &cell.plugins);
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let catalog = Catalog::open(&manifest.config.plugins);
    for plugin in of_methods.chain(&manifest.inputs.datasets).chain(of_cells) {
        if seen.contains(&(&plugin.name, &plugin.sha256)) {
            continue;
        }
        seen.push((&plugin.name, &plugin.sha256));
        part.check(same_plugin(plugin, &catalog));
    }
    part
}

fn same_plugin(plugin: &PluginUse, catalog: &Catalog) -> Option<String> {
    let named = format!("plugin `{}` {}", plugin.name, plugin.version);
    let mut others = Vec::new();
    for candidate in catalog.candidates().iter().filter(|candidate| candidate.name == plugin.name) {
        match verify::read(&candidate.path) {
            Ok(image) if image.sha256 == plugin.sha256 => {
                let refused = catalog.examine(candidate).err().map(|error| error.to_string());
                return refused.map(|reason| format!("{named} is here, but {reason}"));
            }
            Ok(image) => others.push(image.sha256),
            Err(_) => {}
        }
    }
    Some(match &others[..] {
        [] => format!("{named} is not here (sha256 {})", plugin.sha256),
        others => {
            format!("{named} is another one: sha256 {} then, {} now", plugin.sha256, others.join(" and "))
        }
    })
}

/// Weights and data, read again as the run read them.
fn inputs(arguments: &CompareArguments, manifest: &Manifest) -> Result<[Part; 2]> {
    let [mut weights, mut data] = ["weights", "data"].map(Part::new);
    let now = match check::inputs(arguments) {
        Ok(inputs) => inputs,
        Err(error) => match error.downcast_ref::<Refused>() {
            // What cannot be read cannot be said to be the same.
            Some(refused) => {
                data.check(Some(format!("weights and data cannot be read here: {refused}")));
                return Ok([weights, data]);
            }
            None => return Err(error),
        },
    };
    for then in &manifest.inputs.content {
        let found = now.content.iter().find(|now| now.name == then.name);
        let part = if then.is_data() { &mut data } else { &mut weights };
        part.check(match found {
            Some(found) if found.sha256 == then.sha256 => None,
            Some(found) => {
                Some(format!("{} differ: sha256 {} then, {} now", then.name, then.sha256, found.sha256))
            }
            None => Some(format!("{} are not read any more", then.name)),
        });
    }
    let is_new = |now: &&Content| manifest.inputs.content.iter().all(|then| then.name != now.name);
    data.faults
        .extend(now.content.iter().filter(is_new).map(|now| format!("{} were not read then", now.name)));
    Ok([weights, data])
}

/// The kept answers score what the results say.
fn answers(out: &Path, then: &Results) -> Part {
    let mut part = Part::new("answers");
    let of_cells = then.cells.iter().flat_map(|cell| cell.scorers.keys());
    let given: BTreeSet<&String> = of_cells.chain(then.references.keys()).collect();
    // What a language model judged is not computed from the answers.
    let computed = |name: &String| {
        let measure = measure::COMPUTED.into_iter().find(|known| known == name);
        measure.or_else(|| name.parse::<Scorer>().ok().map(Scorer::name))
    };
    let names: Vec<&'static str> = given.into_iter().filter_map(computed).collect();
    let columns: Vec<Column> = names.iter().map(|name| Column::mean(name)).collect();
    let scored = KeptRun::open(out).and_then(|mut run| {
        run.fill(&columns)?;
        let has_blind =
            |name: &&&str| then.references.get(**name).is_some_and(|known| !known.blind.is_empty());
        names.iter().filter(has_blind).for_each(|name| run.fill_blind(name));
        Ok(run.results.clone())
    });
    let now = match scored {
        Ok(now) => now,
        Err(error) => {
            part.check(Some(message(&error)));
            return part;
        }
    };
    for name in names {
        for (then, now) in then.cells.iter().zip(&now.cells) {
            let place = format!("cell {}/{}/{}", then.method, then.order, then.seed);
            if then.status == Status::Done {
                part.check(
                    cell(name, then.scorers.get(name), now.scorers.get(name))
                        .map(|fault| format!("{place}: {fault}")),
                );
            }
        }
        let (then, now) = (then.references.get(name), now.references.get(name));
        let same = match (then, now) {
            (Some(then), Some(now)) => then == now,
            (then, now) => then.is_none() && now.is_none(),
        };
        part.check(
            (!same).then(|| format!("references: {name} of the kept answers is not what the results say")),
        );
    }
    part
}

/// In what a cell's scores are not those of its answers.
fn cell(name: &str, then: Option<&ScorerResult>, now: Option<&ScorerResult>) -> Option<String> {
    let (Some(then), Some(now)) = (then, now) else {
        return Some(format!("there is no {name}, or there are no answers"));
    };
    for (stage, (row, again)) in then.matrix.rows.iter().zip(&now.matrix.rows).enumerate() {
        let differs = row.iter().zip(again).position(|(then, now)| then != now);
        if let Some(task) = differs {
            let shown =
                |value: &Option<f64>| value.map_or(String::from("nothing"), |value| value.to_string());
            return Some(format!(
                "{name} of the answers to task {task} after stage {stage} is {}, the results say {}",
                shown(&again[task]),
                shown(&row[task])
            ));
        }
    }
    (then != now).then(|| format!("the metrics of {name} do not follow from its matrix"))
}
