//! The rules of a comparison, held against a plugin that tries every call: no record of an earlier task without `replay`, nothing that tells
//! the task while answering without `task_id_at_test`, and all that is granted is counted.

use std::collections::{BTreeMap, BTreeSet};

use coin_host::eval::answering::Engine;
use coin_host::ops::failing;
use coin_host::report::results::{Results, Status};
use coin_host::report::{html, markdown};
use coin_host::train::cell::Position;
use coin_host::train::stage;

use crate::runs::{SMALL, compare, finish, metrics, reference, succeed, text, workspace};
use crate::sketches::stream;

/// Methods with the plugin that tries, and the other tasks and settings of [`SMALL`].
fn trying(methods: &[(&str, &str)]) -> String {
    let config = SMALL.split("[methods.").next().expect("a part before the methods");
    let mut config = config.replace("[\"joint\"]", "[]").replace("steps = 6", "steps = 3");
    for (name, stack) in methods {
        config.push_str(&format!("[methods.{name}]\nstack = [{stack}]\n"));
    }
    config
}

const REACH: &str = "{ plugin = \"stress\", fault = \"reach\" }";
const REPLAY: &str = "{ plugin = \"replay\", rows_per_batch = 3 }";

#[test]
fn no_call_shows_an_earlier_task_or_the_task_that_is_answered() {
    let (after, before) = (format!("{REPLAY}, {REACH}"), format!("{REACH}, {REPLAY}"));
    let methods = [("alone", REACH), ("after-replay", &after), ("before-replay", &before)];
    for strict in [false, true] {
        let workspace = workspace(&trying(&methods));
        let option: &[&str] = if strict { &["--strict-protocol"] } else { &[] };
        succeed(compare(&workspace, option));
        let out = workspace.path().join("out");
        for (method, _) in methods {
            let refused: Vec<f64> =
                metrics(&out, method).iter().filter_map(|line| line["stress.refused"].as_f64()).collect();
            let [first, second] = refused[..] else { panic!("two stages: {refused:?}") };
            // A strict stage counts for itself.
            assert!(first > 100.0 && second > 100.0, "{method}: {refused:?}");
        }
    }
}

/// Services that the plugin which tries has no use for: they tell of the model, of the method's own tensors, or of the batch that a
/// hook is called for anyhow. The calls of a batch are tried on one of a hook that has returned, and so never get to the service.
const OF_NO_USE: [&str; 13] = [
    "model",
    "site_weight",
    "site_bias",
    "value",
    "dropout",
    "uniform",
    "message",
    "add_term",
    "image_rows",
    "drop_batch",
    "batch_loss",
    "batch_gradients",
    "batch_logits",
];

#[test]
fn every_service_of_the_table_is_tried_or_of_no_use() {
    let trains_and_answers = || {
        stream::with_world(REACH, &[], |world, stack, shelf| {
            let (cell, mut strategies) = stream::cell(world, stack, shelf)?;
            for number in 0..cell.stages.len() {
                let mut running = stage::begin(&cell, &mut strategies, number)?;
                while running.step < running.plan.steps {
                    stage::step(&cell, &mut strategies, &mut running)?;
                }
                stage::end(&cell, &mut strategies)?;
            }
            cell.position.set(Position { stage: cell.stages.len() - 1, ..Position::default() });
            let engine = Engine {
                backbone: world.backbone,
                tokenizer: world.tokenizer,
                scorers: &[],
                batch_size: 2,
                limit: Some(2),
                strict: false,
            };
            cell.answering(0, None, |hook| {
                engine.answer(&world.tasks[0], &world.prompters[0], hook, &mut |_, _| {})
            })
        })
    };
    let (_answers, calls) = failing::watch(None, trains_and_answers);
    let tried: BTreeSet<&str> = calls.iter().map(|(_, service)| service.as_str()).collect();
    let known: BTreeSet<&str> = failing::services().collect();
    let of_no_use = BTreeSet::from(OF_NO_USE);
    let left: Vec<&&str> = known.difference(&tried).filter(|service| !of_no_use.contains(*service)).collect();
    assert!(left.is_empty(), "the plugin that tries every call leaves out {left:?}");
    let stale: Vec<&&str> =
        of_no_use.iter().filter(|service| tried.contains(*service) || !known.contains(*service)).collect();
    assert!(stale.is_empty(), "{stale:?} are tried, or no services");
}

#[test]
fn old_samples_that_a_hook_gives_fail_the_cell() {
    let gives = |hook: &str| format!("{{ plugin = \"stress\", fault = \"reach\", hook = \"{hook}\" }}");
    let (composed, phased) = (gives("compose_batch"), gives("before_stage"));
    let workspace = workspace(&trying(&[("composed", &composed), ("phased", &phased)]));
    let output = finish(compare(&workspace, &[]));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let results = Results::read(&workspace.path().join("out")).expect("results.json");
    for cell in &results.cells {
        let message = cell.error.clone().unwrap_or_default();
        assert_eq!(cell.status, Status::Failed, "{}", cell.method);
        assert!(message.contains("which is neither of this stage nor in the replay buffer"), "{message}");
    }
}

#[test]
fn what_is_granted_is_counted() {
    let results = Results::read(&reference().0).expect("results.json");
    let uses = |method: &str| {
        let cell = results.cells.iter().find(|cell| cell.method == method).expect("a cell");
        let uses: BTreeMap<&str, Vec<&str>> = cell
            .granted
            .iter()
            .map(|(plugin, uses)| (plugin.as_str(), uses.keys().map(String::as_str).collect()))
            .collect();
        assert!(cell.granted.values().flat_map(BTreeMap::values).all(|count| *count > 0));
        uses
    };
    assert!(uses("lora").is_empty());
    assert_eq!(uses("lora-replay"), BTreeMap::from([("replay", vec!["replay", "stage_data"])]));
    assert_eq!(uses("lora-ewc"), BTreeMap::from([("ewc", vec!["stage_data"])]));
    for report in [html::page(&results), markdown::text(&results)] {
        assert!(report.replace('\\', "").contains("stage_data"), "{report}");
    }
}
