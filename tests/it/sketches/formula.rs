//! What a method is, as a formula on tensors.

use std::collections::BTreeMap;

use coin_host::data::collate::TrainingBatch;
use coin_host::model::{Prefix, Site};
use coin_host::train::cell::{Cell, World};
use coin_host::train::replay::Slot;
use tch::{Kind, Tensor};

/// Trained values by their name in the cell.
pub(super) type Values = BTreeMap<String, Tensor>;

/// A batch that is trained on, and what its rows are.
pub(super) struct Rows<'a> {
    pub(super) world: &'a World<'a>,
    pub(super) batch: &'a TrainingBatch,
    pub(super) values: &'a Values,
    pub(super) stage: i64,
    /// `[B, d_v]`, zero without a picture.
    pub(super) image: Tensor,
    /// `[B, d]`.
    pub(super) text: Tensor,
    /// Rows with a picture.
    pub(super) pictures: Vec<i64>,
    /// The stage that each row is from.
    pub(super) stages: Vec<i64>,
    /// Rows in the place of fresh ones.
    pub(super) replayed: Vec<usize>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        cell: &'a Cell<'a>,
        batch: &'a TrainingBatch,
        values: &'a Values,
        replayed: Vec<usize>,
    ) -> Rows<'a> {
        let backbone = cell.world.backbone;
        let embedding = &backbone.parameters()["language_model.model.embed_tokens.weight"];
        let samples = cell.samples(&batch.samples).expect("samples of the stage");
        let (mut image, mut text, mut pictures, mut stages) = (vec![], vec![], vec![], vec![]);
        for (row, (sample, reference)) in samples.iter().zip(&batch.samples).enumerate() {
            // As the cell numbers samples: task, then place.
            stages.push((reference >> 40) as i64);
            let example = &sample.example;
            let prompt = example.input_ids.iter().zip(&example.labels);
            let prompt: Vec<i64> = prompt
                .filter(|(id, label)| **label == -100 && **id != backbone.config().image_token_index)
                .map(|(id, _)| *id)
                .collect();
            text.push(embedding.index_select(0, &Tensor::from_slice(&prompt)).mean_dim(
                0,
                false,
                Kind::Float,
            ));
            image.push(match &sample.image {
                Some(path) => {
                    pictures.push(row as i64);
                    let task = &cell.world.tasks[stages[row] as usize];
                    task.features(path).expect("the batch has seen it").mean_dim(0, false, Kind::Float)
                }
                None => {
                    Tensor::zeros([backbone.config().image_feature_size()], (Kind::Float, backbone.device()))
                }
            });
        }
        let stage = cell.position.get().stage as i64;
        let (image, text) = (Tensor::stack(&image, 0), Tensor::stack(&text, 0));
        Rows { world: cell.world, batch, values, stage, image, text, pictures, stages, replayed }
    }

    /// A trained value of a plugin at a site, or of the plugin alone.
    pub(super) fn value(&self, name: &str) -> &Tensor {
        self.values.get(name).unwrap_or_else(|| panic!("no trained value is named {name}"))
    }

    /// The supervised tokens of some rows.
    pub(super) fn tokens(&self, rows: &[usize]) -> Tensor {
        let columns = self.batch.labels.size()[1];
        let tokens = self.batch.positions.iter().enumerate();
        let tokens: Vec<i64> = tokens
            .filter(|(_, position)| rows.contains(&((**position / columns) as usize)))
            .map(|(token, _)| token as i64)
            .collect();
        Tensor::from_slice(&tokens)
    }
}

/// A named part of the loss; it stands for the task loss where it is so said.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) value: Tensor,
    pub(super) replaces: bool,
}

pub(super) fn part(name: &'static str, value: Tensor) -> Part {
    Part { name, value, replaces: false }
}

/// The replay buffer by slot.
pub(super) type Buffer = BTreeMap<u64, Slot>;

/// Gives gradients of the task loss on samples, for all trained values.
pub(super) type Gradients<'g> = dyn Fn(&[u64]) -> Values + 'g;

/// Gives the logits of the batch at hand under other values, without a graph.
pub(super) type Logits<'g> = dyn Fn(&Values) -> Tensor + 'g;

/// What a method makes of the model.
pub(super) trait Model {
    /// The new output of a site.
    fn site(&self, _rows: &Rows, _site: &Site, _input: &Tensor, output: Tensor) -> Tensor {
        output
    }

    /// Soft tokens.
    fn prefix(&self, _rows: &Rows) -> Option<Prefix> {
        None
    }
}

/// What a method makes of training.
pub(super) trait Training {
    /// How many steps of a stage train only what has this in its name.
    fn first_phase(&self) -> Option<(usize, &'static str)> {
        None
    }

    /// Sees the beginning of a stage.
    fn begin(&mut self, _stage: usize, _values: &Values) {}

    /// The samples of a batch in the place of fresh ones, and which rows these are.
    fn compose(&self, fresh: Vec<u64>, _buffer: &Buffer) -> (Vec<u64>, Vec<usize>) {
        (fresh, Vec::new())
    }

    /// Parts of the loss besides that of the task.
    fn parts(&self, _rows: &Rows, _logits: &Tensor, _buffer: &Buffer, _teacher: &Logits) -> Vec<Part> {
        Vec::new()
    }

    /// The gradients that the optimizer is given.
    fn project(&mut self, gradients: Values, _buffer: &Buffer, _of: &Gradients) -> Values {
        gradients
    }

    /// Looks at the replay buffer after a step, with the logits of the step's batch.
    fn look(&mut self, _rows: &Rows, _logits: &Tensor, _buffer: &Buffer) {}

    /// Sees the end of a stage with these samples.
    fn end(&mut self, _samples: &[u64], _values: &Values, _of: &Gradients) {}

    /// Asserts that what the test is about has come about.
    fn finish(&self) {}
}
