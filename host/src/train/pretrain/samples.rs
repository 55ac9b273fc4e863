//! Samples of the caption stream made ready for a step, on other threads and ahead of it.

use std::sync::mpsc;

use anyhow::{Context, Result, anyhow};
use rayon::prelude::*;

use crate::data::image::Transform;
use crate::data::prompt::{Example, Prompter};
use crate::model::{ModelConfig, Tokenizer};
use crate::quickstart::captions::{self, CaptionSample};

/// Stages draw from far-apart stretches of the stream; the samples that are kept for measuring lie behind them.
const STRETCH: u64 = 1 << 40;

/// What turns caption samples into numbers.
pub struct Source<'a> {
    pub prompter: &'a Prompter<'a>,
    pub tokenizer: &'a Tokenizer,
    pub config: &'a ModelConfig,
    pub transform: Transform,
    /// Whether the words of the pictures are wanted, each of which must then be one token.
    pub with_words: bool,
}

/// One sample.
pub struct Sample {
    pub kind: String,
    /// `[3, H, W]`
    pub pixels: Vec<f32>,
    pub example: Example,
    /// Words of the picture.
    pub words: Vec<usize>,
    /// Visual token and a word that describes it.
    pub parts: Vec<(usize, usize)>,
}

/// Which samples a stage takes: `size` consecutive ones for each step.
#[derive(Clone, Copy)]
pub struct Batches {
    pub stage: u64,
    pub first: usize,
    pub steps: usize,
    pub size: usize,
}

impl Source<'_> {
    /// Sample `index` of the stream.
    pub fn sample(&self, index: u64) -> Result<Sample> {
        let CaptionSample { picture, prompt, answer, regions, .. } = captions::sample(index);
        let side = (self.config.vision_config.grid() / self.config.projector_scale_factor) as u32;
        let cell = picture.width() / side;
        let (mut words, mut parts) = (Vec::new(), Vec::new());
        for region in regions.into_iter().filter(|_| self.with_words) {
            let id = self.tokenizer.id(&region.word)? as usize;
            if !words.contains(&id) {
                words.push(id);
            }
            let [left, top, right, bottom] = region.area;
            for place in 0..side * side {
                let (x, y) = (place % side * cell + cell / 2, place / side * cell + cell / 2);
                if (left..right).contains(&x) && (top..bottom).contains(&y) {
                    parts.push((place as usize, id));
                }
            }
        }
        Ok(Sample {
            kind: captions::kind_of(index).to_owned(),
            pixels: self.transform.apply(&picture)?,
            example: self.prompter.example(&prompt, true, &answer)?,
            words,
            parts,
        })
    }

    /// Samples that no stage trains on.
    pub fn held_out(&self, count: usize) -> Result<Vec<Sample>> {
        (0..count as u64).into_par_iter().map(|index| self.sample(8 * STRETCH + index)).collect()
    }
}

/// Calls `step` with each batch, while the next ones are made on another thread.
pub fn ahead(
    source: &Source,
    batches: Batches,
    mut step: impl FnMut(usize, Vec<Sample>) -> Result<()>,
) -> Result<()> {
    let Batches { stage, first, steps, size } = batches;
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(4);
        scope.spawn(move || {
            for number in first..steps {
                let start = stage * STRETCH + (number * size) as u64;
                let batch: Result<Vec<Sample>> =
                    (start..start + size as u64).into_par_iter().map(|index| source.sample(index)).collect();
                if sender.send(batch).is_err() {
                    return;
                }
            }
        });
        for number in first..steps {
            let batch = receiver.recv().map_err(|_| anyhow!("the thread that makes batches has ended"))?;
            step(number, batch.with_context(|| format!("batch {number}"))?)?;
        }
        Ok(())
    })
}
