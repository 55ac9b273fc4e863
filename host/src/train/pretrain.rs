//! Pre-training of a small backbone from nothing, on the quickstart's caption stream. Two stages: the vision tower
//! learns which words describe a picture and each of its parts; then all parameters learn to answer prompts.
//!
//! The second stage alone does not work: the language model learns the wording and never looks at the picture.

pub mod checkpoint;
pub mod config;
pub mod held_out;
pub mod objective;
pub mod samples;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tch::Kind;

use crate::data::prompt::{Prompter, Template};
use crate::model::{Backbone, ModelConfig, Tokenizer, weights};
use crate::train::optimizer::{AdamW, Group};
use crate::train::schedule::Scheduler;
use checkpoint::Progress;
use config::{PretrainConfig, Stage};
use held_out::HeldOut;
use objective::Learner;
use samples::{Batches, Source};

/// Names of the stages, in their order.
const STAGES: [&str; 2] = ["vision", "alignment"];

/// Trains, or goes on from the checkpoint in `out`; in the end `out` holds `model.safetensors` (float16),
/// `config.json`, `tokenizer.json`, `preprocessor_config.json` and `log.jsonl`. `report` is given each line of the log.
pub fn pretrain(config: &PretrainConfig, out: &Path, report: &dyn Fn(&str)) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("folder {} cannot be made", out.display()))?;
    tch::set_num_threads(config.threads as i32);
    let text = read(&config.model.join("config.json"))?;
    let model = ModelConfig::parse(&text)?;
    let tokenizer = Tokenizer::load(&config.model)?;
    ensure!(
        tokenizer.size() as i64 <= model.text_config.vocab_size,
        "the tokenizer has {} tokens, config.json only {}",
        tokenizer.size(),
        model.text_config.vocab_size
    );
    let prompter = Prompter::new(
        Template::named(&config.template)?,
        &tokenizer,
        model.image_token_index,
        model.image_tokens() as usize,
    )?;
    let source = Source { prompter: &prompter, tokenizer: &tokenizer, config: &model };
    let mut learner = Learner::new(Backbone::random(model.clone(), config.seed)?, prompter.end_token())?;
    let saved = checkpoint::load(out)?;
    if let Some(saved) = &saved {
        learner.restore(&saved.weights)?;
    }
    let start = saved.as_ref().map_or(Progress { stage: 0, step: 0 }, |saved| saved.progress);
    let mut moments = saved.map(|saved| saved.optimizer).filter(|moments| !moments.is_empty());
    let held_out = HeldOut::new(&source, config.held_out)?;
    let log = Log::open(out, report)?;
    for (index, name) in STAGES.iter().enumerate().skip(start.stage) {
        let stage = if index == 0 { &config.vision } else { &config.alignment };
        let mut optimizer = optimizer(&learner, stage, index == 0)?;
        if let Some(tensors) = moments.take() {
            optimizer.import(&tensors, start.step as u64)?;
        }
        let first = if index == start.stage { start.step } else { 0 };
        let batches = Batches { stage: index as u64, first, steps: stage.steps, size: stage.batch_size };
        let clock = Instant::now();
        let mut recent = Recent::default();
        samples::ahead(&source, batches, |step, batch| {
            let loss = if index == 0 { learner.words(&batch)? } else { learner.answers(&batch)? };
            optimizer.zero_gradients()?;
            loss.f_backward()?;
            let mut gradients = optimizer.gradients()?;
            let norm = gradients.clip(stage.clip_norm)?;
            ensure!(
                norm.is_finite(),
                "{name}, step {step}: gradients are not finite: {:?}",
                optimizer.non_finite(8)?
            );
            optimizer.step(&gradients, Scheduler::Cosine.factor(step, stage.steps, stage.warmup_ratio))?;
            recent.add(loss.f_double_value(&[])?);
            let done = step + 1;
            if done % 50 == 0 || done == stage.steps {
                log.line(json!({"stage": name, "step": done, "loss": rounded(recent.take()),
                    "seconds": rounded(clock.elapsed().as_secs_f64())}))?;
            }
            if done % config.evaluate_every == 0 || done == stage.steps {
                let line = if index == 0 { held_out.words(&learner)? } else { held_out.answers(&learner)? };
                log.line(json!({"stage": name, "step": done, "held_out": line}))?;
            }
            if done % config.checkpoint_every == 0 && done < stage.steps {
                let progress = Progress { stage: index, step: done };
                checkpoint::save(out, progress, learner.all(), &optimizer.export()?)?;
            }
            Ok(())
        })?;
        // The next stage begins with fresh moments.
        let progress = Progress { stage: index + 1, step: 0 };
        checkpoint::save(out, progress, learner.all(), &Default::default())?;
    }
    weights::save(&out.join("model.safetensors"), learner.backbone().parameters(), Some(Kind::Half))?;
    for file in ["config.json", "tokenizer.json", "preprocessor_config.json"] {
        std::fs::copy(config.model.join(file), out.join(file))
            .with_context(|| format!("{file} cannot be copied"))?;
    }
    Ok(())
}

/// The stage's parameter groups: tower and the rest at their own rates; matrices decay, but not the tables of tokens,
/// whose rarely seen rows would otherwise shrink towards one another.
fn optimizer(learner: &Learner, stage: &Stage, tower_only: bool) -> Result<AdamW> {
    let mut groups: Vec<Group> = Vec::new();
    for (is_tower, scale) in [(true, stage.tower_scale), (false, 1.0)] {
        for (decays, weight_decay) in [(true, stage.weight_decay), (false, 0.0)] {
            let mut parameters = Vec::new();
            for (name, tensor) in learner.all() {
                let vision = name.starts_with("vision_tower.");
                let head = name.starts_with(objective::WORD_HEAD);
                let wanted = if tower_only { vision || head } else { !head };
                let table = name.contains("embed_tokens") || name.contains("lm_head");
                if wanted && vision == is_tower && (tensor.dim() > 1 && !table) == decays {
                    parameters.push((name.clone(), tensor.shallow_clone()));
                }
            }
            groups.push(Group { parameters, learning_rate: stage.learning_rate * scale, weight_decay });
        }
    }
    AdamW::new(groups, (0.9, 0.98), 1e-8)
}

#[derive(Default)]
struct Recent {
    sum: f64,
    count: usize,
}

impl Recent {
    fn add(&mut self, loss: f64) {
        self.sum += loss;
        self.count += 1;
    }

    /// The mean since the last call.
    fn take(&mut self) -> f64 {
        let mean = self.sum / self.count.max(1) as f64;
        *self = Recent::default();
        mean
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

struct Log<'a> {
    path: std::path::PathBuf,
    report: &'a dyn Fn(&str),
}

impl Log<'_> {
    fn open<'a>(out: &Path, report: &'a dyn Fn(&str)) -> Result<Log<'a>> {
        Ok(Log { path: out.join("log.jsonl"), report })
    }

    fn line(&self, value: serde_json::Value) -> Result<()> {
        let line = value.to_string();
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        writeln!(file, "{line}")?;
        (self.report)(&line);
        Ok(())
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn short() -> PretrainConfig {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/pretrain-tiny.toml");
        let set = [
            "held_out=8",
            "evaluate_every=1",
            "checkpoint_every=1",
            "vision.steps=2",
            "vision.batch_size=4",
            "alignment.steps=3",
            "alignment.batch_size=4",
        ];
        PretrainConfig::read(&file, &set.map(str::to_owned)).expect("sound")
    }

    #[test]
    fn a_run_that_was_interrupted_ends_with_the_same_weights() {
        let (whole, resumed) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let interrupt = |line: &str| {
            // The line of the third step is written before its checkpoint: what lies there is the second's.
            if line.contains("alignment") && line.contains("\"step\":3") && line.contains("held_out") {
                let (from, to) = (whole.path().join("checkpoint"), resumed.path().join("checkpoint"));
                fs::create_dir(&to).expect("a folder");
                for entry in fs::read_dir(from).expect("a checkpoint").flatten() {
                    fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
                }
            }
        };
        pretrain(&short(), whole.path(), &interrupt).expect("trains");
        pretrain(&short(), resumed.path(), &|_| ()).expect("goes on");
        let weights =
            |folder: &tempfile::TempDir| fs::read(folder.path().join("model.safetensors")).expect("weights");
        assert!(weights(&whole) == weights(&resumed));
        let log = fs::read_to_string(resumed.path().join("log.jsonl")).expect("a log");
        assert!(log.lines().all(|line| !line.contains("\"stage\":\"vision\"")), "{log}");
        assert!(Backbone::load(whole.path(), tch::Device::Cpu, Kind::Float).is_ok());
    }
}
