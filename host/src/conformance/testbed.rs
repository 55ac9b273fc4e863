//! Where methods are tried: a backbone of 30,000 random weights, two tasks of questions made here, pictures of a few pixels.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use coin_plugin_api::{DatasetDescription, Record, Split};
use image::{Rgb, RgbImage};
use tch::Kind;

use crate::compare::world;
use crate::config::{self, Dtype, Request, RunConfig};
use crate::data::image::Transform;
use crate::data::source::Source;
use crate::data::task::{Instruction, Pictures, Task};
use crate::eval::scorer::Metric;
use crate::model::{Backbone, ModelConfig, Tokenizer};
use crate::train::cell::World;

const BACKBONE: &str = r#"{
  "architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "image_token_index": 4,
  "vision_feature_layer": -1, "vision_feature_select_strategy": "default", "projector_hidden_act": "gelu",
  "projector_scale_factor": 2,
  "vision_config": {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 32,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_channels": 3, "image_size": 32, "patch_size": 8,
    "stem_channels": [8, 8, 16], "feature_norm": true, "hidden_act": "gelu", "layer_norm_eps": 1e-5},
  "text_config": {"model_type": "llama", "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "silu", "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "max_position_embeddings": 128, "tie_word_embeddings": false}
}"#;

/// The root seed of the backbone's weights.
const WEIGHTS: u64 = 7;
const TRAIN: usize = 24;
const TEST: usize = 6;
const PICTURES: usize = 5;

/// Everything that a cell borrows.
pub(super) struct Testbed {
    pub(super) config: RunConfig,
    pub(super) backbone: Backbone,
    tokenizer: Tokenizer,
    tasks: Vec<Task>,
}

impl Testbed {
    /// Stages of so many steps in this type. Pictures are written into `folder`.
    pub(super) fn new(kind: Kind, steps: usize, folder: &Path) -> Result<Testbed> {
        let set = [
            &format!("training.steps={steps}"),
            "training.batch_size=12",
            "training.learning_rate=1e-2",
            "training.projector_learning_rate=1e-3",
            "training.threads=1",
            "evaluation.batch_size=4",
            "evaluation.max_new_tokens=3",
            // A plugin gets what it declares.
            "protocol.replay_samples_per_task=8",
            "protocol.task_id_at_test=true",
            "protocol.call_op=true",
            "protocol.replaces_task_loss=true",
        ]
        .map(String::from);
        let names = ["gqa", "vizwiz"].map(String::from);
        let mut config = config::load(&Request { set: &set, tasks: &names, ..Request::default() })?.config;
        config.backbone.dtype = if kind == Kind::Float { Dtype::Float32 } else { Dtype::Bfloat16 };
        for picture in 0..PICTURES {
            let path = folder.join(picture_name(picture));
            if !path.is_file() {
                painted(picture)
                    .save(&path)
                    .with_context(|| format!("{} cannot be written", path.display()))?;
            }
        }
        let drawn = Backbone::random(ModelConfig::parse(BACKBONE)?, WEIGHTS)?;
        let weights = drawn.parameters().iter();
        let weights = weights.map(|(name, weight)| Ok((name.clone(), weight.f_to_kind(kind)?)));
        let backbone =
            Backbone::from_tensors(ModelConfig::parse(BACKBONE)?, weights.collect::<Result<_>>()?)?;
        let tasks = names.iter().enumerate().map(|(number, name)| {
            let pictures = Pictures {
                root: folder.to_path_buf(),
                transform: Transform { size: 32, ..Transform::tiny() },
                blank: false,
            };
            let source = Box::new(Questions { task: number });
            Task::new(name.clone(), Metric::ExactMatch, 3, source, Instruction::Original, pictures)
        });
        let tokenizer = Tokenizer::from_bytes(Backbone::builtin_tiny_files()[1])?;
        Ok(Testbed { config, backbone, tokenizer, tasks: tasks.collect() })
    }

    /// What a cell is built on.
    pub(super) fn world(&self) -> Result<World<'_>> {
        Ok(World {
            config: &self.config,
            backbone: &self.backbone,
            tokenizer: &self.tokenizer,
            tasks: &self.tasks,
            prompters: world::prompters(&self.config, &self.backbone, &self.tokenizer)?,
        })
    }
}

fn picture_name(number: usize) -> String {
    format!("picture-{number}.png")
}

fn painted(number: usize) -> RgbImage {
    RgbImage::from_fn(16, 16, |x, y| {
        let value = |by: u32| ((x * by + y * (number as u32 + 1) * 13) % 256) as u8;
        Rgb([value(7), value(11), value(number as u32 * 5)])
    })
}

/// Questions whose wording and length differ from record to record; one in four has no picture.
struct Questions {
    task: usize,
}

impl Questions {
    fn record(&self, split: Split, number: usize) -> Record {
        const OPENINGS: [&str; 4] =
            ["what is this", "is this a red cat", "what", "how many are there in the picture"];
        const ANSWERS: [&str; 5] = ["a cat", "no", "two", "a green tree", "red"];
        let place = number + 7 * self.task + 3 * split as usize;
        let question =
            format!("{} {}", OPENINGS[place % OPENINGS.len()], ANSWERS[(place / 4) % ANSWERS.len()]);
        Record {
            id: format!("{}-{number}", split.name()),
            image: (number % 4 != 3).then(|| picture_name(place % PICTURES)),
            question,
            instruction: (self.task == 1).then(|| String::from("answer with a word")),
            answers: vec![ANSWERS[(place * 3 + self.task) % ANSWERS.len()].to_string()],
            ..Record::default()
        }
    }
}

impl Source for Questions {
    fn describe(&self) -> Result<DatasetDescription> {
        Ok(DatasetDescription { metric: String::from("exact-match"), ..DatasetDescription::default() })
    }

    fn len(&self, split: Split) -> Result<usize> {
        Ok(if split == Split::Train { TRAIN } else { TEST })
    }

    fn records(&self, split: Split, start: usize, end: usize) -> Result<Vec<Record>> {
        Ok((start..end).map(|number| self.record(split, number)).collect())
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn verify(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn score(&self, _prediction: &str, _record: &Record) -> Result<Option<f64>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::cell::{Cell, Strategies};
    use crate::train::stage;

    #[test]
    fn a_step_has_the_pictures_of_the_next_one_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut testbed = Testbed::new(Kind::Float, 12, folder.path()).unwrap();
        testbed.config.training.batch_size = 1;
        let world = testbed.world().unwrap();
        let (task, mut strategies) = (&world.tasks[0], Strategies::new());
        let cell = Cell::new(&world, 0, vec![vec![0], vec![1]], Vec::new()).unwrap();
        let mut running = stage::begin(&cell, &mut strategies, 0).unwrap();
        let mut read_ahead = 0;
        while running.step < running.plan.steps {
            stage::step(&cell, &mut strategies, &mut running).unwrap();
            let expected = task.expected();
            read_ahead += expected.len();
            let next = match running.step < running.plan.steps {
                true => running.plan.batch(&cell, running.step, 0).unwrap(),
                false => Vec::new(),
            };
            for image in cell.samples(&next).unwrap().iter().filter_map(|sample| sample.image.as_ref()) {
                assert!(
                    expected.contains(image) || task.features(image).is_ok(),
                    "{image} is not on its way"
                );
            }
        }
        assert!(read_ahead > 1 && task.expected().is_empty(), "{read_ahead} pictures");
        assert!(task.picture_seconds() > 0.0);
    }
}
