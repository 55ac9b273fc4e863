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
pub mod origin;
pub mod pace;
pub mod samples;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tch::{Device, Kind};

use crate::data::bad_input::BadInput;
use crate::data::image::Transform;
use crate::data::prompt::{Prompter, Template};
use crate::files;
use crate::model::config::NO_FOLDER;
use crate::model::merge::{self, Change, Changes};
use crate::model::{Backbone, ModelConfig, Tokenizer, weights};
use crate::stop::{Stop, Stopped};
use crate::train::optimizer::{AdamW, Group};
use crate::train::schedule::Scheduler;
use checkpoint::Progress;
use config::{PretrainConfig, Stage};
use held_out::HeldOut;
use objective::Learner;
use origin::Origin;
use pace::Pace;
use samples::{Batches, Source};

/// What says how pictures are prepared.
const PREPARATION: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];
/// Names of the stages, in their order.
const STAGES: [&str; 2] = ["vision", "alignment"];

/// How a run is watched while it goes on; nothing of it changes what is learnt.
pub struct Watch<'a> {
    /// Hears how far it is, a line at a time.
    pub note: &'a dyn Fn(&str),
    /// Ends it after a step, with a checkpoint.
    pub stop: &'a Stop,
    /// Longest time from one checkpoint to the step before the next, whatever `checkpoint_every` says.
    pub checkpoint_after: Duration,
}

/// Trains on `device`, or goes on from the checkpoint in `out`; in the end `out` holds the weights, configuration, tokenizer and
/// preparation of pictures of a backbone, and `log.jsonl`. Weights that began at random are stored as float16, others each in the type
/// that the model's own are stored in.
///
/// # Errors
/// Before the first step: what the backbone will need and the model has not; a checkpoint that began with something else. [`Stopped`], if
/// that was asked for.
pub fn pretrain(config: &PretrainConfig, device: Device, out: &Path, watch: &Watch) -> Result<()> {
    let copies = Copies::of(config, out).map_err(BadInput::from)?;
    let sources = if config.projector_only { weights::files(&config.model)? } else { Vec::new() };
    let mut inputs = copies.paths(&config.model);
    inputs.extend(sources.iter().cloned());
    let origin = Origin::new(config, &inputs)?;
    std::fs::create_dir_all(out).with_context(|| format!("folder {} cannot be made", out.display()))?;
    let saved = checkpoint::load(out, &origin).map_err(BadInput::from)?;
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
        true => Learner::projector(Backbone::load(&config.model, device, Kind::Float)?, pad)?,
        false => Learner::new(Backbone::random(model.clone(), config.seed)?.on(device)?, pad)?,
    };
    if let Some(saved) = &saved {
        learner.restore(&saved.weights)?;
    }
    let is_resumed = saved.is_some();
    let start = saved.as_ref().map(|saved| saved.progress).unwrap_or_default();
    let mut moments = saved.map(|saved| saved.optimizer).filter(|moments| !moments.is_empty());
    let held_out = HeldOut::new(&source, config.held_out)?;
    let log = Log { path: out.join("log.jsonl") };
    for (index, name) in STAGES.iter().enumerate().skip(start.stage) {
        let stage = if index == 0 { config.vision.as_ref() } else { Some(&config.alignment) };
        let Some(stage) = stage else { continue };
        let mut optimizer = optimizer(&learner, stage, index == 0)?;
        if let Some(tensors) = moments.take() {
            optimizer.import(&tensors, start.step as u64)?;
        }
        let begun =
            if index == start.stage { start } else { Progress { stage: index, ..Progress::default() } };
        let first = begun.step;
        (watch.note)(&beginning(name, stage, first, is_resumed && index == start.stage));
        if watch.stop.is_asked() && first < stage.steps {
            return Err(Stopped::at_step(first, stage.steps, name).into());
        }
        let batches = Batches { stage: index as u64, first, steps: stage.steps, size: stage.batch_size };
        let (clock, mut saved) = (Instant::now(), Instant::now());
        let seconds = || begun.seconds + clock.elapsed().as_secs_f64();
        let (mut recent, mut pace) = (begun.recent, Pace::new(name, stage.steps));
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
            let loss = loss.f_double_value(&[])?;
            recent.add(loss);
            let done = step + 1;
            if let Some(line) = pace.step(done, loss, clock.elapsed()) {
                (watch.note)(&line);
            }
            if done % 50 == 0 || done == stage.steps {
                log.line(json!({"stage": name, "step": done, "loss": rounded(recent.take()),
                    "seconds": rounded(seconds())}))?;
            }
            if done % config.evaluate_every == 0 || done == stage.steps {
                let line = if index == 0 { held_out.words(&learner)? } else { held_out.answers(&learner)? };
                (watch.note)(&format!("{name}: step {done}, right of what is held out: {} %", line["all"]));
                log.line(json!({"stage": name, "step": done, "held_out": line}))?;
            }
            if done == stage.steps {
                return Ok(());
            }
            let is_asked = watch.stop.is_asked();
            let is_late = saved.elapsed() >= watch.checkpoint_after;
            if done % config.checkpoint_every == 0 || is_late || is_asked {
                let progress = Progress { stage: index, step: done, recent, seconds: seconds() };
                checkpoint::save(out, &origin, progress, learner.all(), &optimizer.export()?)?;
                saved = Instant::now();
            }
            if is_asked {
                return Err(Stopped::at_step(done, stage.steps, name).into());
            }
            Ok(())
        })?;
        // The next stage begins with fresh moments; the last one may be given more steps.
        let (progress, moments) = match index + 1 < STAGES.len() {
            true => (Progress { stage: index + 1, ..Progress::default() }, Default::default()),
            false => {
                let seconds = seconds();
                (
                    Progress { stage: index, step: stage.steps, seconds, ..Progress::default() },
                    optimizer.export()?,
                )
            }
        };
        checkpoint::save(out, &origin, progress, learner.all(), &moments)?;
    }
    if config.projector_only {
        let changes = learner.all().iter().map(|(name, tensor)| {
            Ok((name.clone(), Change::Replace(tensor.f_detach()?.f_to_device(Device::Cpu)?)))
        });
        merge::rewrite(&sources, &changes.collect::<Result<Changes>>()?, out)?;
    } else {
        weights::save(&out.join("model.safetensors"), learner.backbone().parameters(), Some(Kind::Half))?;
    }
    copies.write(out)
}

/// Files of the model that the backbone keeps, read before the training, which takes its time.
struct Copies(Vec<(String, Vec<u8>)>);

impl Copies {
    /// # Errors
    /// A file that is missing; an `out` that is the model's own folder.
    fn of(config: &PretrainConfig, out: &Path) -> Result<Copies> {
        let model = &config.model;
        ensure!(model.is_dir(), "{} cannot be read\nhint: {NO_FOLDER}", model.display());
        ensure!(
            !out.exists() || out.canonicalize()? != model.canonicalize()?,
            "{} is the folder of the model itself\nhint: name another one with --out",
            out.display()
        );
        let prepares = PREPARATION.iter().filter(|name| model.join(name).is_file());
        let mut names: Vec<String> = prepares.map(|&name| name.to_owned()).collect();
        ensure!(
            !names.is_empty(),
            "{} holds neither {} nor {}\nhint: it says how the checkpoint's pictures are resized and normalised; copy it too",
            model.display(),
            PREPARATION[0],
            PREPARATION[1]
        );
        names.extend(["config.json", "tokenizer.json"].map(str::to_owned));
        if config.projector_only {
            names.extend(papers(model)?);
        }
        let read = |name: String| {
            let path = model.join(&name);
            let bytes = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            Ok((name, bytes))
        };
        Ok(Copies(names.into_iter().map(read).collect::<Result<_>>()?))
    }

    /// Those that decide what is learnt.
    fn paths(&self, model: &Path) -> Vec<PathBuf> {
        let names = self.0.iter().map(|(name, _)| name).filter(|name| name.ends_with(".json"));
        names.map(|name| model.join(name)).collect()
    }

    fn write(&self, out: &Path) -> Result<()> {
        for (name, bytes) in &self.0 {
            let path = out.join(name);
            files::replace(&path, bytes).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(())
    }
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

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

struct Log {
    path: PathBuf,
}

impl Log {
    fn line(&self, value: serde_json::Value) -> Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        Ok(writeln!(file, "{value}")?)
    }
}

/// What there is to do in a stage.
fn beginning(name: &str, stage: &Stage, first: usize, is_resumed: bool) -> String {
    let (steps, size) = (stage.steps, stage.batch_size);
    match is_resumed {
        _ if first == steps => {
            format!("{name}: all {steps} steps are done already, nothing is left to train")
        }
        true => format!("{name}: goes on from step {first} of {steps}"),
        false => format!("{name}: {steps} steps of {size} samples each"),
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn run(config: &PretrainConfig, out: &Path, watch: &Watch) -> Result<()> {
        pretrain(config, Device::Cpu, out, watch)
    }

    /// Never late and never asked to stop.
    fn calm<'a>(note: &'a dyn Fn(&str), stop: &'a Stop) -> Watch<'a> {
        Watch { note, stop, checkpoint_after: Duration::MAX }
    }

    fn quietly(config: &PretrainConfig, out: &Path) -> Result<()> {
        run(config, out, &calm(&|_| (), &Stop::default()))
    }

    fn weights_of(folder: &tempfile::TempDir) -> Vec<u8> {
        fs::read(folder.path().join("model.safetensors")).expect("weights")
    }

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

    /// A model in float32, with numbers that half precision has not, and the preparation of pictures where transformers 5 has it.
    fn model() -> tempfile::TempDir {
        let (folder, tiny) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        Backbone::write_builtin_tiny(tiny.path()).expect("written");
        for name in ["config.json", "tokenizer.json"] {
            fs::copy(tiny.path().join(name), folder.path().join(name)).expect("copied");
        }
        let own = fs::read_to_string(tiny.path().join(PREPARATION[0])).expect("there");
        let joint = format!("{{\"image_processor\": {own}}}");
        fs::write(folder.path().join(PREPARATION[1]), joint).expect("written");
        fs::write(folder.path().join("README.md"), "a model").expect("written");
        let tensors = weights::load_all(&tiny.path().join("model.safetensors")).expect("there");
        let finer =
            tensors.into_iter().map(|(name, tensor)| (name, tensor.to_kind(Kind::Float) * (1.0 + 1e-6)));
        weights::save(&folder.path().join("model.safetensors"), &finer.collect(), None).expect("saved");
        folder
    }

    fn aligned(model: &Path, set: &[&str]) -> PretrainConfig {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/pretrain-smollm2.toml");
        let model = format!("model={:?}", model.to_str().expect("text"));
        let short = [
            &model,
            "template=\"tiny\"",
            "held_out=4",
            "evaluate_every=2",
            "checkpoint_every=2",
            "alignment.steps=3",
            "alignment.batch_size=2",
        ];
        let set: Vec<String> = short.iter().chain(set).map(|&text| text.to_owned()).collect();
        PretrainConfig::read(&file, &set).expect("sound")
    }

    #[test]
    fn alignment_of_the_projector_changes_nothing_else() {
        let (model, out) = (model(), tempfile::tempdir().expect("a folder"));
        quietly(&aligned(model.path(), &[]), out.path()).expect("trains");
        let read = |folder: &Path| weights::load_all(&folder.join("model.safetensors")).expect("there");
        let (before, after) = (read(model.path()), read(out.path()));
        assert!(before.keys().eq(after.keys()));
        for (name, tensor) in &after {
            let is_same = *tensor == before[name];
            assert_eq!(is_same, !name.starts_with("multi_modal_projector."), "{name}");
            assert_eq!(tensor.kind(), Kind::Float, "{name}");
        }
        for name in ["README.md", "config.json", "tokenizer.json", PREPARATION[1]] {
            let of = |folder: &tempfile::TempDir| fs::read(folder.path().join(name)).expect("there");
            assert_eq!(of(&out), of(&model), "{name}");
        }
        assert!(Backbone::load(out.path(), Device::Cpu, Kind::Float).is_ok());
    }

    #[test]
    fn what_the_backbone_will_need_is_asked_for_before_the_first_step() {
        let (model, out) = (model(), tempfile::tempdir().expect("a folder"));
        fs::remove_file(model.path().join(PREPARATION[1])).expect("removed");
        let lines = std::cell::Cell::new(0);
        let config = aligned(model.path(), &[]);
        let (note, stop) = (|_: &str| lines.set(lines.get() + 1), Stop::default());
        let error = run(&config, &out.path().join("out"), &calm(&note, &stop));
        let error = error.expect_err("refused").to_string();
        assert!(error.contains("neither preprocessor_config.json nor") && lines.get() == 0, "{error}");
        let error = quietly(&config, model.path()).expect_err("refused").to_string();
        assert!(error.contains("the model itself") && error.contains("hint:"), "{error}");
    }

    #[test]
    fn a_run_goes_on_with_more_steps_and_with_nothing_else() {
        let (model, out) = (model(), tempfile::tempdir().expect("a folder"));
        let said = std::cell::RefCell::new(Vec::new());
        let run = |set: &[&str]| {
            let note = |line: &str| said.borrow_mut().push(line.to_owned());
            run(&aligned(model.path(), set), out.path(), &calm(&note, &Stop::default()))
        };
        let steps = || -> Vec<u64> {
            let log = fs::read_to_string(out.path().join("log.jsonl")).expect("a log");
            let lines = log.lines().map(|line| serde_json::from_str(line).expect("JSON"));
            let losses = lines.filter(|line: &serde_json::Value| line.get("loss").is_some());
            losses.map(|line| line["step"].as_u64().expect("a number")).collect()
        };
        run(&[]).expect("trains");
        let before = weights::load_all(&out.path().join("model.safetensors")).expect("there");
        run(&["threads=1", "held_out=2"]).expect("is there already");
        assert_eq!(steps(), [3]);
        let last = said.borrow().last().cloned();
        assert_eq!(
            last.as_deref(),
            Some("alignment: all 3 steps are done already, nothing is left to train")
        );
        for (set, said) in [
            (&["alignment.learning_rate=5e-2"][..], "alignment.learning_rate: 0.001 then, 0.05 now"),
            (&["alignment.steps=2"], "alignment.steps: 3 then, 2 now"),
            (&["alignment.steps=5", "seed=1"], "seed: 0 then, 1 now"),
        ] {
            let error = run(set).expect_err(said).to_string();
            assert!(error.contains(said) && error.contains("hint:"), "{error}");
            assert!(!error.contains("alignment.steps: 3 then, 5"), "{error}");
        }
        said.borrow_mut().clear();
        run(&["alignment.steps=5"]).expect("goes on");
        assert_eq!(said.borrow()[0], "alignment: goes on from step 3 of 5");
        assert!(said.borrow().iter().any(|line| line.starts_with("alignment: step 5 of 5, loss ")));
        assert_eq!(steps(), [3, 5]);
        let after = weights::load_all(&out.path().join("model.safetensors")).expect("there");
        assert!(after.iter().any(|(name, tensor)| *tensor != before[name]));
        let path = model.path().join("model.safetensors");
        let tensors = weights::load_all(&path).expect("there");
        let other = tensors.into_iter().map(|(name, tensor)| (name, tensor * 0.5));
        weights::save(&path, &other.collect(), None).expect("saved");
        let error = run(&["alignment.steps=5"]).expect_err("refused").to_string();
        assert!(error.contains("another model.safetensors"), "{error}");
    }

    #[test]
    fn a_run_that_was_interrupted_ends_with_the_same_weights() {
        let (whole, resumed) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let interrupt = |line: &str| {
            // The line of the third step is told before its checkpoint: what lies there is the second's.
            if line.starts_with("alignment: step 3, right of what is held out") {
                let (from, to) = (whole.path().join("checkpoint"), resumed.path().join("checkpoint"));
                fs::create_dir(&to).expect("a folder");
                for entry in fs::read_dir(from).expect("a checkpoint").flatten() {
                    fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
                }
            }
        };
        run(&short(), whole.path(), &calm(&interrupt, &Stop::default())).expect("trains");
        quietly(&short(), resumed.path()).expect("goes on");
        assert!(weights_of(&whole) == weights_of(&resumed));
        let log = fs::read_to_string(resumed.path().join("log.jsonl")).expect("a log");
        assert!(log.lines().all(|line| !line.contains("\"stage\":\"vision\"")), "{log}");
        assert!(Backbone::load(whole.path(), tch::Device::Cpu, Kind::Float).is_ok());
    }

    #[test]
    fn a_run_that_is_asked_to_stop_keeps_its_last_step() {
        let (whole, stopped) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let config = PretrainConfig { checkpoint_every: 1000, ..short() };
        quietly(&config, whole.path()).expect("trains");
        // In the first stage, between the stages, before the first step of what goes on, and in the second stage.
        for (moment, said) in [
            ("vision: step 1,", "stopped at step 1 of 2 of the stage vision"),
            ("vision: step 2,", "stopped at step 0 of 3 of the stage alignment"),
            ("alignment: goes on from step 0", "stopped at step 0 of 3 of the stage alignment"),
            ("alignment: step 2,", "stopped at step 2 of 3 of the stage alignment"),
        ] {
            let stop = Stop::default();
            let note = |line: &str| {
                if line.starts_with(moment) {
                    stop.ask();
                }
            };
            let error = run(&config, stopped.path(), &calm(&note, &stop)).expect_err(moment);
            let shown = error.downcast::<Stopped>().expect("asked for").to_string();
            assert_eq!(shown, format!("{said}; the same command goes on"));
            assert!(!stopped.path().join("model.safetensors").exists());
        }
        quietly(&config, stopped.path()).expect("goes on");
        assert!(weights_of(&whole) == weights_of(&stopped));
        let lines = |folder: &tempfile::TempDir| {
            let log = fs::read_to_string(folder.path().join("log.jsonl")).expect("a log");
            let mut lines: Vec<serde_json::Value> =
                log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            lines.iter_mut().filter_map(|line| line.as_object_mut()?.remove("seconds")).for_each(drop);
            lines
        };
        assert_eq!(lines(&whole), lines(&stopped));
    }

    #[test]
    fn the_time_before_a_stop_counts() {
        let out = tempfile::tempdir().expect("a folder");
        let stop = Stop::default();
        let note = |line: &str| {
            if line.starts_with("alignment: step 2,") {
                stop.ask();
            }
        };
        assert!(run(&short(), out.path(), &calm(&note, &stop)).is_err());
        let path = out.path().join("checkpoint/progress.json");
        let text = fs::read_to_string(&path).expect("there");
        let mut progress: Progress = serde_json::from_str(&text).expect("JSON");
        assert!(progress.seconds > 0.0);
        progress.seconds += 1e6;
        fs::write(&path, serde_json::to_string(&progress).expect("JSON")).expect("written");
        quietly(&short(), out.path()).expect("goes on");
        let log = fs::read_to_string(out.path().join("log.jsonl")).expect("a log");
        let mut seconds = log.lines().filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["seconds"].as_f64()
        });
        assert!(seconds.next_back().is_some_and(|seconds| seconds > 1e6), "{log}");
    }

    #[test]
    fn a_slow_run_is_kept_between_the_steps_that_are_asked_for() {
        let out = tempfile::tempdir().expect("a folder");
        let config = PretrainConfig { checkpoint_every: 1000, ..short() };
        let kept = std::cell::RefCell::new(Vec::new());
        let note = |_: &str| {
            if let Ok(text) = fs::read_to_string(out.path().join("checkpoint/progress.json")) {
                let progress: Progress = serde_json::from_str(&text).expect("JSON");
                kept.borrow_mut().push((progress.stage, progress.step));
            }
        };
        let stop = Stop::default();
        let watch = Watch { note: &note, stop: &stop, checkpoint_after: Duration::ZERO };
        run(&config, out.path(), &watch).expect("trains");
        for step in [(0, 1), (1, 0), (1, 1), (1, 2)] {
            assert!(kept.borrow().contains(&step), "{step:?}: {:?}", kept.borrow());
        }
    }
}
