//! Greedy answers: batches of prompts of similar length, a key-value cache, rows that leave when they have ended.

mod shared;

use anyhow::{Context, Result, ensure};
use tch::{Tensor, no_grad};

use super::backbone::Backbone;
use super::finite::ensure_finite;
use super::input::{ModelInput, Padding, Row};
use super::site::{LinearHook, Phase};
pub use shared::Beginning;
use shared::Begun;

/// A prompt, up to where the answer begins.
pub struct Prompt {
    pub input_ids: Vec<i64>,
    /// `[N, d]`: one picture's row of `Backbone::image_features`.
    pub image_features: Option<Tensor>,
}

/// How to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationConfig {
    pub max_new_tokens: usize,
    pub batch_size: usize,
    /// The token that ends an answer.
    pub end_token: i64,
    /// One prompt at a time, each read whole: no answer depends on any other prompt, not even in the last bit of a logit.
    pub strict: bool,
}

/// The most probable continuation of each prompt, token by token, without the end token; in the order of the prompts. A row that
/// reaches the last position of the model ends there, whatever the others of its batch do.
/// `beginning` is kept from call to call with the same model and hook; `seen` hears after each batch how many prompts are answered.
pub fn generate(
    backbone: &Backbone,
    hook: &dyn LinearHook,
    prompts: &[Prompt],
    config: &GenerationConfig,
    beginning: &mut Beginning,
    seen: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<i64>>> {
    ensure!(config.batch_size > 0, "batch_size must be positive");
    let order = shared::order(prompts, hook.is_token_local());
    beginning.take_up(prompts, backbone.config().image_token_index);
    let mut answers = vec![Vec::new(); prompts.len()];
    let mut done = 0;
    for batch in order.chunks(if config.strict { 1 } else { config.batch_size }) {
        no_grad(|| answer(backbone, hook, prompts, batch, config, beginning, &mut answers))?;
        done += batch.len();
        seen(done);
    }
    Ok(answers)
}

/// Answers the prompts with the given numbers.
fn answer(
    backbone: &Backbone,
    hook: &dyn LinearHook,
    prompts: &[Prompt],
    batch: &[usize],
    config: &GenerationConfig,
    beginning: &mut Beginning,
    answers: &mut [Vec<i64>],
) -> Result<()> {
    if config.max_new_tokens == 0 {
        return Ok(());
    }
    let device = backbone.device();
    let rows: Vec<Row> = batch
        .iter()
        .map(|&index| Row {
            input_ids: &prompts[index].input_ids,
            image_features: prompts[index].image_features.as_ref(),
        })
        .collect();
    let image_token = backbone.config().image_token_index;
    let mut input = ModelInput::batch(&rows, Padding::Left, image_token, config.end_token, device)?;
    input.rows = batch.to_vec();
    let prefixed = backbone.with_prefix(&input, Phase::Prefill, hook, config.end_token)?;
    let begun = match !config.strict && prefixed.is_none() && hook.is_token_local() {
        true => beginning.read(backbone, hook, prompts, batch, config)?,
        false => None,
    };
    let (mut input, mut cache) = match (prefixed, begun) {
        (_, Some(Begun { input, cache })) => (input, cache),
        (prefixed, None) => {
            let input = prefixed.map_or(input, |(prefixed, _)| prefixed);
            let columns = input.input_ids.size2()?.1;
            (input, backbone.cache(columns as usize + config.max_new_tokens))
        }
    };
    // Of each row's sequence the tokens that it had before any answer.
    let soft = input.soft.as_ref().map_or(0, |soft| soft.positions.numel() / batch.len());
    let limit = backbone.config().text_config.max_position_embeddings as usize;
    let has_room = |row: usize, answered: usize| {
        answered < config.max_new_tokens && prompts[row].input_ids.len() + soft + answered <= limit
    };
    let columns = input.input_ids.size2()?.1;
    let last: Vec<i64> = (1..=batch.len() as i64).map(|row| row * columns - 1).collect();
    let hidden = backbone.hidden_at(&input, &last, hook, Some(&mut cache))?;
    cache.answer();
    let logits = backbone.logits(&hidden)?;
    // Once a batch: a look at every step's would cost each of them a reading of the whole vocabulary.
    ensure_finite(&logits).context("the first token of an answer cannot be chosen")?;
    let mut next = logits.f_argmax(1, false)?;
    loop {
        let ids = Vec::<i64>::try_from(&next)?;
        let mut open: Vec<i64> = Vec::new();
        for (place, (&row, &id)) in input.rows.iter().zip(&ids).enumerate() {
            if id != config.end_token {
                answers[row].push(id);
                if has_room(row, answers[row].len()) {
                    open.push(place as i64);
                }
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        if open.len() < ids.len() {
            let kept = Tensor::f_from_slice(&open)?.f_to_device(device)?;
            cache.keep(&kept)?;
            next = next.f_index_select(0, &kept)?;
            input.attention_mask = input.attention_mask.f_index_select(0, &kept)?;
            input.position_ids = input.position_ids.f_index_select(0, &kept)?;
            input.rows = open.iter().map(|&place| input.rows[place as usize]).collect();
        }
        let count = input.rows.len() as i64;
        let one = input.attention_mask.f_new_ones([count, 1], (tch::Kind::Int64, device))?;
        let position =
            input.position_ids.f_narrow(1, input.position_ids.size2()?.1 - 1, 1)?.f_add_scalar(1)?;
        input = ModelInput {
            input_ids: next.f_unsqueeze(1)?,
            attention_mask: Tensor::f_cat(&[&input.attention_mask, &one], 1)?,
            position_ids: position,
            padding: input.padding,
            images: None,
            soft: None,
            rows: input.rows,
        };
        let hidden = backbone.hidden(&input, hook, Some(&mut cache))?.f_squeeze_dim(1)?;
        next = backbone.logits(&hidden)?.f_argmax(1, false)?;
    }
}
