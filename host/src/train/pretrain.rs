//! Pre-training of a small backbone from nothing, on the quickstart's caption stream. Two stages: the vision tower
//! learns which words describe a picture and each of its parts; then all parameters learn to answer prompts.
//!
//! The second stage alone does not work: the language model learns the wording and never looks at the picture.
//!
//! Or the second stage alone, with the projector of a model whose tower and language model have learnt elsewhere.

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
use tch::{Device, Kind};

use crate::data::image::Transform;
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
    let transform = match config.projector_only {
        true => Transform::of_checkpoint(&config.model, model.vision_config.image_size as u32, None)?,
        false => Transform::tiny(),
    };
    let with_words = config.vision.is_some();
    let source = Source { prompter: &prompter, tokenizer: &tokenizer, config: &model, transform, with_words };
    let pad = prompter.end_token();
    let mut learner = match config.projector_only {
        true => Learner::projector(Backbone::load(&config.model, Device::Cpu, Kind::Float)?, pad)?,
        false => Learner::new(Backbone::random(model.clone(), config.seed)?, pad)?,
    };
    let saved = checkpoint::load(out)?;
    if let Some(saved) = &saved {
        learner.restore(&saved.weights)?;
    }
    let start = saved.as_ref().map_or(Progress { stage: 0, step: 0 }, |saved| saved.progress);
    let mut moments = saved.map(|saved| saved.optimizer).filter(|moments| !moments.is_empty());
    let held_out = HeldOut::new(&source, config.held_out)?;
    let log = Log::open(out, report)?;
    for (index, name) in STAGES.iter().enumerate().skip(start.stage) {
        let stage = if index == 0 { config.vision.as_ref() } else { Some(&config.alignment) };
        let Some(stage) = stage else { continue };
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
        copy(&config.model, out, file)?;
    }
    if config.projector_only {
        papers(&config.model)?.iter().try_for_each(|file| copy(&config.model, out, file))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, file: &str) -> Result<()> {
    std::fs::copy(from.join(file), to.join(file)).with_context(|| format!("{file} cannot be copied"))?;
    Ok(())
}

/// The model card and the licences, which weights that were not made here keep with them.
fn papers(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<String>>>()?;
    names.retain(|name| name == "README.md" || name.starts_with("LICENSE") || name == "NOTICE");
    names.sort();
    Ok(names)
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
    fn alignment_of_the_projector_changes_nothing_else() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/pretrain-smollm2.toml");
        let set = [
            "model=\"../host/assets/tiny\"",
            "template=\"tiny\"",
            "held_out=4",
            "evaluate_every=2",
            "checkpoint_every=2",
            "alignment.steps=3",
            "alignment.batch_size=2",
        ];
        let config = PretrainConfig::read(&file, &set.map(str::to_owned)).expect("sound");
        let out = tempfile::tempdir().expect("a folder");
        pretrain(&config, out.path(), &|_| ()).expect("trains");
        let before = Backbone::builtin_tiny(Device::Cpu, Kind::Float).expect("there").0;
        let after = Backbone::load(out.path(), Device::Cpu, Kind::Float).expect("written");
        for (name, tensor) in after.parameters() {
            let is_same = *tensor == before.parameters()[name];
            assert_eq!(is_same, !name.starts_with("multi_modal_projector."), "{name}");
        }
        assert!(out.path().join("README.md").is_file());
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
