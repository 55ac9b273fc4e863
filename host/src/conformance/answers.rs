//! Logits of answers, computed in several ways that must agree: in company and alone, with the cache and without, folded and not.

use anyhow::{Context as _, Result};
use tch::{Kind, Tensor, no_grad};

use super::check::{Check, Verdict};
use super::child::Place;
use super::trial::{Record, Trial};
use crate::data::prompt::IGNORED;
use crate::model::input::Row;
use crate::model::{LinearHook, ModelInput, Padding, Phase};
use crate::stream::random::Draws;
use crate::train::cell::{Cell, Position};
use crate::train::forward::{Merged, Purpose};

/// Of the largest logit and one: what other orders of summation may make of float32, with room.
const TOLERANCE: f64 = 1e-4;
const ROWS: usize = 5;
/// Task whose questions are answered, after the stage that trained it.
const TASK: usize = 0;

/// A sequence whose answer is known.
struct Known {
    sample: u64,
    prompt: Vec<i64>,
    /// With the token that ends it.
    answer: Vec<i64>,
    features: Option<Tensor>,
}

/// The check over a method that has been trained for a stage.
pub(super) fn verdict(check: Check, place: &Place) -> Result<Verdict> {
    let world = place.testbed().world()?;
    let mut trial = Trial::build(&world, place.method(0))?;
    let running = trial.begin(0)?;
    trial.finish(running, &mut Record::default())?;
    let cell = &trial.cell;
    cell.position.set(Position { stage: 0, ..Position::default() });
    let known = known(cell)?;
    let difference = match check {
        Check::BatchMates => {
            let together = cached(cell, None, &known.iter().collect::<Vec<_>>())?;
            let alone = each(&known, |row| cached(cell, None, &[row]))?;
            far(&together, &alone)?.map(|far| format!("{far} in a batch of {ROWS} and alone"))
        }
        Check::Cache => {
            let with = each(&known, |row| cached(cell, None, &[row]))?;
            let without = each(&known, |row| uncached(cell, row))?;
            far(&with, &without)?.map(|far| format!("{far} with the cache and without"))
        }
        Check::Merged => {
            let Some(merged) = cell.merge()? else {
                return Ok(Verdict::Skip(String::from("it has no `merged_delta` for its sites")));
            };
            let rows: Vec<_> = known.iter().collect();
            let (folded, adapted) = (cached(cell, Some(&merged), &rows)?, cached(cell, None, &rows)?);
            far(&folded, &adapted)?.map(|far| {
                format!("{far} from folded weights and from the adapter\nhint: `merged_delta` must be what `adapt` adds, as a matrix")
            })
        }
        _ => return token_local(cell, place, &known),
    };
    Ok(difference.map_or(Verdict::Pass, Verdict::Fail))
}

fn known(cell: &Cell) -> Result<Vec<Known>> {
    let references: Vec<u64> = cell.stage_samples()?.into_iter().take(ROWS).collect();
    let samples = cell.samples(&references)?;
    let task = &cell.world.tasks[TASK];
    task.see(cell.world.backbone, samples.iter().filter_map(|sample| sample.image.as_deref()))?;
    let one = |(sample, reference): (&std::rc::Rc<crate::data::task::Sample>, u64)| {
        let labels = &sample.example.labels;
        let border = labels.iter().position(|label| *label != IGNORED).context("an example has an answer")?;
        let (prompt, answer) = sample.example.input_ids.split_at(border);
        let features = sample.image.as_deref().map(|image| task.features(image)).transpose()?;
        Ok(Known { sample: reference, prompt: prompt.to_vec(), answer: answer.to_vec(), features })
    };
    samples.iter().zip(references).map(one).collect()
}

/// Logits `[L, V]` of each row, each computed on its own.
fn each(known: &[Known], of: impl Fn(&Known) -> Result<Vec<Tensor>>) -> Result<Vec<Tensor>> {
    Ok(known.iter().map(of).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Logits where each token of the answers is predicted, `[L, V]` by row: the prompts are read, then the answers token by token. Rows
/// leave as their answers end.
fn cached(cell: &Cell, merged: Option<&Merged>, rows: &[&Known]) -> Result<Vec<Tensor>> {
    no_grad(|| cell.answering(TASK, merged, |hook| read_and_decode(cell, hook, rows)))
}

fn read_and_decode(cell: &Cell, hook: &dyn LinearHook, rows: &[&Known]) -> Result<Vec<Tensor>> {
    let (backbone, pad) = (cell.world.backbone, cell.world.pad_token());
    let parts: Vec<Row> = rows
        .iter()
        .map(|row| Row { input_ids: &row.prompt, image_features: row.features.as_ref() })
        .collect();
    let image_token = backbone.config().image_token_index;
    let device = backbone.device();
    let input = ModelInput::batch(&parts, Padding::Left, image_token, pad, device)?;
    let prefixed = backbone.with_prefix(&input, Phase::Prefill, hook, pad)?;
    let mut input = prefixed.map_or(input, |(prefixed, _)| prefixed);
    let columns = input.input_ids.size2()?.1;
    let longest = rows.iter().map(|row| row.answer.len()).max().unwrap_or(0);
    let mut cache = backbone.cache(columns as usize + longest);
    let last: Vec<i64> = (1..=rows.len() as i64).map(|row| row * columns - 1).collect();
    let mut hidden = backbone.hidden_at(&input, &last, hook, Some(&mut cache))?;
    cache.answer();
    let mut logits: Vec<Vec<Tensor>> = rows.iter().map(|_| Vec::new()).collect();
    for place in 0..longest {
        let scores = backbone.logits(&hidden)?;
        let mut open = Vec::new();
        for (at, &row) in input.rows.iter().enumerate() {
            logits[row].push(scores.f_get(at as i64)?);
            if place + 1 < rows[row].answer.len() {
                open.push(at as i64);
            }
        }
        if open.is_empty() {
            break;
        }
        let kept = Tensor::f_from_slice(&open)?.f_to_device(device)?;
        cache.keep(&kept)?;
        let numbers: Vec<usize> = open.iter().map(|&at| input.rows[at as usize]).collect();
        let ids: Vec<i64> = numbers.iter().map(|&row| rows[row].answer[place]).collect();
        let mask = input.attention_mask.f_index_select(0, &kept)?;
        let one = mask.f_new_ones([open.len() as i64, 1], (Kind::Int64, device))?;
        let positions = input.position_ids.f_index_select(0, &kept)?;
        let width = positions.size2()?.1;
        input = ModelInput {
            input_ids: Tensor::f_from_slice(&ids)?.f_to_device(device)?.f_unsqueeze(1)?,
            attention_mask: Tensor::f_cat(&[&mask, &one], 1)?,
            position_ids: positions.f_narrow(1, width - 1, 1)?.f_add_scalar(1)?,
            padding: input.padding,
            images: None,
            soft: None,
            rows: numbers,
        };
        hidden = backbone.hidden(&input, hook, Some(&mut cache))?.f_squeeze_dim(1)?;
    }
    logits.into_iter().map(|row| Ok(Tensor::f_stack(&row, 0)?)).collect()
}

/// The same for one row in one pass over prompt and answer.
fn uncached(cell: &Cell, row: &Known) -> Result<Vec<Tensor>> {
    let batch = cell.batch(&[row.sample])?;
    Ok(vec![no_grad(|| cell.forward(&batch, Purpose::Extra, None))?.logits])
}

/// Where two lists of logits are too far from each other.
fn far(one: &[Tensor], other: &[Tensor]) -> Result<Option<String>> {
    for (row, (a, b)) in one.iter().zip(other).enumerate() {
        let scale = 1.0 + a.f_abs()?.f_max()?.f_double_value(&[])?;
        let apart = a.f_sub(b)?.f_abs()?.f_max()?.f_double_value(&[])?;
        if apart.is_nan() || apart > TOLERANCE * scale {
            return Ok(Some(format!(
                "the logits of answer {row} differ by {apart:.2e} (of {:.2e})",
                scale - 1.0
            )));
        }
    }
    Ok(None)
}

/// Each site with six tokens at once, and with each of them alone.
fn token_local(cell: &Cell, place: &Place, known: &[Known]) -> Result<Verdict> {
    let own = cell.adapters.iter().find(|(entry, _)| cell.plugin(*entry) == place.name());
    let Some((_, adapter)) = own else {
        return Ok(Verdict::Skip(String::from("it has no adapter")));
    };
    if !adapter.token_local() {
        return Ok(Verdict::Skip(String::from("its adapter does not say that it is")));
    }
    let first = known.first().context("the testbed has rows")?;
    let found = no_grad(|| {
        cell.answering(TASK, None, |hook| {
            // Leaves the hook in a pass.
            read_and_decode(cell, hook, &[first])?;
            for site in cell.world.backbone.sites() {
                let (weight, bias) = cell.world.backbone.site_parameters(site)?;
                let mut draws = Draws::new(1, "tokens", &[site.index as u64]);
                let values: Vec<f32> = (0..6 * site.in_features).map(|_| draws.normal() as f32).collect();
                let input = Tensor::f_from_slice(&values)?.f_view([1, 6, site.in_features])?;
                let together = hook.linear(site, weight, bias, &input)?;
                for token in 0..6 {
                    let alone = hook.linear(site, weight, bias, &input.f_narrow(1, token, 1)?)?;
                    if far(&[together.f_narrow(1, token, 1)?], &[alone])?.is_some() {
                        return Ok(Some(site.path.clone()));
                    }
                }
            }
            Ok(None)
        })
    })?;
    Ok(match found {
        Some(site) => Verdict::Fail(format!(
            "at `{site}` the output of a token depends on the others\nhint: let `token_local` of the adapter be false"
        )),
        None => Verdict::Pass,
    })
}
