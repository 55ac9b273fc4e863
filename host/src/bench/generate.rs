//! Answers a second.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use coin_plugin_api::Split;

use crate::bench::setup::{Setup, bad};
use crate::bench::work::{self, Tokens};
use crate::bench::{Answered, Report, Timed};
use crate::data::prompt::Prompter;
use crate::data::task::Task;
use crate::model::{Backbone, Beginning, Frozen, GenerationConfig, LinearHook, Prompt};
use crate::train::cell::World;
use crate::train::peft::PeftAdapter;

/// Answers every record greedily and says how long the batches took; with a method as it was built, or with the PEFT adapter given.
pub fn generate(setup: &Setup, adapter: Option<&Path>, seen: &mut dyn FnMut(usize)) -> Result<Report> {
    let world = setup.world()?;
    let (answers, timed, trainable) = match &setup.method {
        None => {
            let (answers, timed) = answer(setup, &world, &Frozen, seen)?;
            (answers, timed, 0)
        }
        Some(_) => {
            let (cell, _) = setup.cell(&world)?;
            if let Some(folder) = adapter {
                PeftAdapter::read(folder).and_then(|adapter| adapter.apply(&cell)).map_err(bad)?;
            }
            let merged = if world.config.evaluation.strict { None } else { cell.merge()? };
            let (answers, timed) =
                cell.answering(0, merged.as_ref(), |hook| answer(setup, &world, hook, seen))?;
            let trainable = cell.parameters.borrow().trainable_count();
            (answers, timed, trainable)
        }
    };
    let report = Report::new("generate", setup, &world, &timed, trainable)?;
    Ok(Report {
        batch_size: world.config.evaluation.batch_size,
        answers_per_second: Some(report.samples_per_second),
        answers,
        ..report
    })
}

fn answer(
    setup: &Setup,
    world: &World,
    hook: &dyn LinearHook,
    seen: &mut dyn FnMut(usize),
) -> Result<(Vec<Answered>, Timed)> {
    let (task, prompter) = (&world.tasks[0], &world.prompters[0]);
    let batch_size = world.config.evaluation.batch_size;
    let config = GenerationConfig {
        max_new_tokens: task.max_new_tokens,
        batch_size,
        end_token: prompter.end_token(),
        strict: world.config.evaluation.strict,
    };
    let mut timed = Timed { seconds: vec![], samples: vec![], tokens: vec![], work: vec![] };
    let mut answers = Vec::with_capacity(setup.loaded.conversations.len());
    let count = task.source.len(Split::Test)?;
    let mut beginning = Beginning::default();
    for start in (0..count).step_by(batch_size) {
        task.forget_features();
        let clock = Instant::now();
        let end = (start + batch_size).min(count);
        let prompts = prompts(task, prompter, world.backbone, start, end)?;
        let next = task.source.records(Split::Test, end, (end + batch_size).min(count))?;
        task.expect(next.iter().filter_map(|record| record.image.as_deref()));
        let found =
            crate::model::generate(world.backbone, hook, &prompts, &config, &mut beginning, &mut |_| ())?;
        timed.seconds.push(clock.elapsed().as_secs_f64());
        let rows: Vec<usize> = prompts.iter().map(|prompt| prompt.input_ids.len()).collect();
        let images = prompts.iter().filter(|prompt| prompt.image_features.is_some()).count();
        let generated = found.iter().map(Vec::len).sum();
        timed.samples.push(rows.len());
        timed.tokens.push(generated);
        let tokens = Tokens { rows: &rows, images, read: rows.len() };
        timed.work.push(work::answering(world.backbone, &tokens, generated));
        for (conversation, tokens) in setup.loaded.conversations[start..].iter().zip(found) {
            let text = world.tokenizer.decode(&tokens)?.trim().to_string();
            answers.push(Answered { id: conversation.id.clone(), text, tokens });
        }
        seen(answers.len());
    }
    Ok((answers, timed))
}

fn prompts(
    task: &Task,
    prompter: &Prompter,
    backbone: &Backbone,
    start: usize,
    end: usize,
) -> Result<Vec<Prompt>> {
    let records = task.source.records(Split::Test, start, end)?;
    task.see(backbone, records.iter().filter_map(|record| record.image.as_deref())).map_err(bad)?;
    records
        .iter()
        .map(|record| {
            Ok(Prompt {
                input_ids: prompter.prompt(&record.question, record.image.is_some())?,
                image_features: record.image.as_deref().map(|image| task.features(image)).transpose()?,
            })
        })
        .collect()
}
