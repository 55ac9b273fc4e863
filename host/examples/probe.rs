//! How well a tiny backbone can be adapted: low-rank adapters on every site, 80 steps of 32 on each quickstart task from
//! the same base, and exact match on its test items.
//!
//! `cargo run --release -p coin-host --example probe -- FOLDER [TASK ..]`; with `speed` in place of a task, timings of a
//! random backbone.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use coin_host::data::collate::TrainingBatch;
use coin_host::data::image::Transform;
use coin_host::data::prompt::{Example, Prompter, Template};
use coin_host::model::{
    Backbone, Beginning, Frozen, GenerationConfig, LinearHook, ModelConfig, Prompt, Site, Tokenizer, generate,
};
use coin_host::quickstart::canvas::draw;
use coin_host::quickstart::catalogue::assets;
use coin_host::quickstart::tasks::{Split, TASKS, pictures};
use coin_host::stream::random::Draws;
use coin_host::train::optimizer::{AdamW, Group};
use coin_host::train::schedule::Scheduler;
use tch::{Device, Kind, Reduction, Tensor};

const RANK: i64 = 16;
const STEPS: usize = 80;
const BATCH: usize = 32;

/// LoRA (Hu et al. 2021) with alpha twice the rank; the projector's own weights are trained instead.
struct LowRank {
    pairs: Vec<Option<(Tensor, Tensor)>>,
    projector: BTreeMap<String, (Tensor, Tensor)>,
    enabled: Cell<bool>,
}

impl LowRank {
    fn new(backbone: &Backbone, seed: u64) -> Result<LowRank> {
        let (mut pairs, mut projector) = (Vec::new(), BTreeMap::new());
        for site in backbone.sites() {
            if site.path.starts_with("multi_modal_projector") {
                let (weight, bias) = backbone.site_parameters(site)?;
                let copy = |tensor: &Tensor| (tensor * 1.0).set_requires_grad(true);
                projector.insert(site.path.clone(), (copy(weight), copy(bias.context("a bias")?)));
                pairs.push(None);
                continue;
            }
            let bound = 1.0 / (site.in_features as f64).sqrt();
            let mut draws = Draws::new(seed, "probe-init", &[site.index as u64]);
            let values: Vec<f32> = (0..RANK * site.in_features)
                .map(|_| (bound * (2.0 * draws.uniform() - 1.0)) as f32)
                .collect();
            let down = Tensor::from_slice(&values).view([RANK, site.in_features]).set_requires_grad(true);
            let up =
                Tensor::zeros([site.out_features, RANK], (Kind::Float, Device::Cpu)).set_requires_grad(true);
            pairs.push(Some((down, up)));
        }
        Ok(LowRank { pairs, projector, enabled: Cell::new(true) })
    }

    fn parameters(&self) -> Vec<(String, Tensor)> {
        let mut all = Vec::new();
        for (index, (down, up)) in self.pairs.iter().flatten().enumerate() {
            all.extend([
                (format!("{index}.a"), down.shallow_clone()),
                (format!("{index}.b"), up.shallow_clone()),
            ]);
        }
        for (path, (weight, bias)) in &self.projector {
            all.extend([
                (format!("{path}.weight"), weight.shallow_clone()),
                (format!("{path}.bias"), bias.shallow_clone()),
            ]);
        }
        all
    }
}

impl LinearHook for LowRank {
    fn linear(&self, site: &Site, weight: &Tensor, bias: Option<&Tensor>, input: &Tensor) -> Result<Tensor> {
        if !self.enabled.get() {
            return Frozen.linear(site, weight, bias, input);
        }
        if let Some((weight, bias)) = self.projector.get(&site.path) {
            return Ok(input.f_linear(weight, Some(bias))?);
        }
        let output = Frozen.linear(site, weight, bias, input)?;
        let Some((down, up)) = self.pairs.get(site.index).and_then(Option::as_ref) else { return Ok(output) };
        let update = input.f_linear(down, None::<&Tensor>)?.f_linear(up, None::<&Tensor>)?;
        Ok(output.f_add(&update.f_mul_scalar(2.0)?)?)
    }

    fn is_token_local(&self) -> bool {
        std::env::var_os("WHOLE").is_none()
    }
}

struct Item {
    features: Tensor,
    text: String,
    answer: String,
}

/// The items of a task's split, with their visual tokens.
fn items(backbone: &Backbone, task: usize, split: Split) -> Result<Vec<Item>> {
    let transform = Transform::tiny();
    let mut items = Vec::new();
    for chunk in pictures(task, split).chunks(64) {
        let pixels: Vec<f32> = chunk
            .iter()
            .map(|picture| transform.apply(&draw(assets(), &picture.scene)))
            .collect::<Result<Vec<_>>>()?
            .concat();
        let pixels = Tensor::from_slice(&pixels).view([chunk.len() as i64, 3, 64, 64]);
        let features = backbone.image_features(&pixels)?;
        for (row, picture) in chunk.iter().enumerate() {
            for question in &picture.questions {
                let (text, answer) = (question.stored_text().replace('\n', " "), question.answer.clone());
                items.push(Item { features: features.get(row as i64), text, answer });
            }
        }
    }
    Ok(items)
}

fn exact_match(
    backbone: &Backbone,
    tokenizer: &Tokenizer,
    prompter: &Prompter,
    hook: &dyn LinearHook,
    items: &[Item],
) -> Result<f64> {
    let prompts: Vec<Prompt> = items
        .iter()
        .map(|item| {
            Ok(Prompt {
                input_ids: prompter.prompt(&item.text, true)?,
                image_features: Some(item.features.shallow_clone()),
            })
        })
        .collect::<Result<_>>()?;
    let config = GenerationConfig {
        max_new_tokens: 12,
        batch_size: 64,
        end_token: prompter.end_token(),
        strict: false,
    };
    let answers = generate(backbone, hook, &prompts, &config, &mut Beginning::default(), &mut |_| ())?;
    let mut right = 0;
    for (item, answer) in items.iter().zip(answers) {
        right += usize::from(tokenizer.decode(&answer)? == item.answer);
    }
    Ok(100.0 * right as f64 / items.len() as f64)
}

/// Most frequent training answer, and the same for each question.
fn blind(train: &[Item], test: &[Item]) -> f64 {
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for item in train {
        for key in [item.text.as_str(), ""] {
            *counts.entry(key).or_default().entry(&item.answer).or_default() += 1;
        }
    }
    let guess = |key: &str| {
        counts.get(key).or(counts.get("")).and_then(|c| c.iter().max_by_key(|(_, n)| **n)).map(|(a, _)| *a)
    };
    let right = test.iter().filter(|item| guess(&item.text) == Some(item.answer.as_str())).count();
    100.0 * right as f64 / test.len() as f64
}

fn step(
    backbone: &Backbone,
    prompter: &Prompter,
    hook: &LowRank,
    optimizer: &mut AdamW,
    rows: &[(&Example, Option<&Tensor>)],
    factor: f64,
) -> Result<f64> {
    let batch =
        TrainingBatch::new(rows, backbone.config().image_token_index, prompter.end_token(), Device::Cpu)?;
    let hidden = backbone.hidden_at(&batch.input, &batch.positions, hook, None)?;
    let loss = backbone.logits(&hidden)?.f_cross_entropy_loss(
        &batch.targets,
        None::<&Tensor>,
        Reduction::Mean,
        -100,
        0.0,
    )?;
    optimizer.zero_gradients()?;
    loss.f_backward()?;
    let mut gradients = optimizer.gradients()?;
    gradients.clip(1.0)?;
    optimizer.step(&gradients, factor)?;
    Ok(loss.double_value(&[]))
}

/// Seconds that this thread has computed: on a shared machine the wall clock says little.
fn computed() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().context("a number")?.parse::<f64>()? / 1e9)
}

fn main() -> Result<()> {
    tch::set_num_threads(1);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(arguments.first().context("a folder is needed")?);
    let config = ModelConfig::parse(&std::fs::read_to_string(folder.join("config.json"))?)?;
    let speed = arguments.iter().any(|argument| argument == "speed");
    let backbone =
        if speed { Backbone::random(config, 0)? } else { Backbone::load(folder, Device::Cpu, Kind::Float)? };
    let tokenizer = Tokenizer::load(folder)?;
    let image_tokens = backbone.config().image_tokens() as usize;
    let prompter = Prompter::new(
        Template::named("tiny")?,
        &tokenizer,
        backbone.config().image_token_index,
        image_tokens,
    )?;
    for (task, name) in TASKS.iter().enumerate() {
        if !speed && arguments.len() > 1 && !arguments.iter().any(|argument| argument == name) {
            continue;
        }
        let (train, test) = (items(&backbone, task, Split::Train)?, items(&backbone, task, Split::Test)?);
        let zero = exact_match(&backbone, &tokenizer, &prompter, &Frozen, &test)?;
        let examples: Vec<Example> = train
            .iter()
            .map(|item| prompter.example(&item.text, true, &item.answer))
            .collect::<Result<_>>()?;
        let hook = LowRank::new(&backbone, 0)?;
        let group = Group { parameters: hook.parameters(), learning_rate: 3e-3, weight_decay: 0.0 };
        let mut optimizer = AdamW::new(vec![group], (0.9, 0.999), 1e-8)?;
        let mut order: Vec<usize> = (0..train.len()).collect();
        Draws::new(0, "probe-order", &[]).shuffle(&mut order);
        let clock = computed()?;
        let mut losses = Vec::new();
        for number in 0..STEPS {
            let rows: Vec<_> = (0..BATCH)
                .map(|row| order[(number * BATCH + row) % order.len()])
                .map(|index| (&examples[index], Some(&train[index].features)))
                .collect();
            losses.push(step(
                &backbone,
                &prompter,
                &hook,
                &mut optimizer,
                &rows,
                Scheduler::Cosine.factor(number, STEPS, 0.03),
            )?);
        }
        let milliseconds = (computed()? - clock) * 1e3 / STEPS as f64;
        let clock = computed()?;
        let score = exact_match(&backbone, &tokenizer, &prompter, &hook, &test)?;
        let answers = test.len() as f64 / (computed()? - clock);
        let tail: f64 = losses[STEPS - 10..].iter().sum::<f64>() / 10.0;
        let length = examples.iter().map(|example| example.input_ids.len()).max().unwrap_or(0);
        eprintln!(
            "{name:10} zero-shot {zero:5.1}  blind {:5.1}  after {score:5.1}  loss {tail:.3}  {milliseconds:.0} ms/step  {answers:.0} answers/s  T {length}",
            blind(&train, &test)
        );
    }
    Ok(())
}
