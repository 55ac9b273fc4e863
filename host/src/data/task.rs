//! A task as a cell sees it: samples made from records, and the frozen vision features of their pictures.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use coin_plugin_api::{Record, Split};
use rayon::prelude::*;
use tch::Tensor;

use crate::data::feature_cache::FeatureCache;
use crate::data::image::{Limits, Transform, decode};
pub use crate::data::instruction::Instruction;
use crate::data::instruction::Place;
use crate::data::prompt::{Example, Prompter};
use crate::data::source::Source;
use crate::eval::scorer::{Metric, Reference, Scorer, score};
use crate::model::Backbone;

/// Records that are read together where all are.
pub(crate) const READ_TOGETHER: usize = 4096;
/// Pictures that are decoded together.
const DECODED_TOGETHER: usize = 64;
/// Bytes of vision features that are kept between batches; those of LLaVA 1.5 take 1.2 MB a picture at half precision.
const FEATURES_KEPT: usize = 1 << 29;

/// One task: its records, its prompts, its pictures.
pub struct Task {
    pub name: String,
    pub metric: Metric,
    pub max_new_tokens: usize,
    pub source: Box<dyn Source>,
    pub instruction: Instruction,
    pub pictures: Pictures,
    /// Keeps features beyond this process.
    pub feature_cache: Option<Rc<FeatureCache>>,
    /// `[N, d_v]` by path.
    features: RefCell<HashMap<String, Tensor>>,
}

/// Where a task's pictures are, and how they become a tower's input.
pub struct Pictures {
    pub root: PathBuf,
    pub transform: Transform,
    /// Every picture is grey: shows what a task asks of the eyes.
    pub blank: bool,
}

/// A training sample.
pub struct Sample {
    pub example: Example,
    pub image: Option<String>,
}

/// A question to answer.
pub struct Question {
    pub id: String,
    pub prompt: String,
    pub image: Option<String>,
    pub reference: Reference,
    /// As the dataset gave it.
    pub record: Record,
}

impl Task {
    pub fn new(
        name: String,
        metric: Metric,
        max_new_tokens: usize,
        source: Box<dyn Source>,
        instruction: Instruction,
        pictures: Pictures,
    ) -> Task {
        Task {
            name,
            metric,
            max_new_tokens,
            source,
            instruction,
            pictures,
            feature_cache: None,
            features: RefCell::new(HashMap::new()),
        }
    }

    /// Training samples with these numbers, in this order, worded as the run's seed draws.
    pub fn samples(&self, numbers: &[usize], prompter: &Prompter, seed: u64) -> Result<Vec<Sample>> {
        self.records(Split::Train, numbers)?
            .into_iter()
            .zip(numbers)
            .map(|(record, &number)| {
                let answer = record.answers.first().with_context(|| {
                    format!("task {}: training record `{}` has no answer", self.name, record.id)
                })?;
                let place = Place { seed, ..self.place(Split::Train, number) };
                let prompt = self.instruction.prompt(&record, place);
                let example = prompter.example(&prompt, record.image.is_some(), answer)?;
                Ok(Sample { example, image: record.image })
            })
            .collect()
    }

    /// The first `limit` questions of the test split, or all of them.
    pub fn questions(&self, limit: Option<usize>) -> Result<Vec<Question>> {
        let count = self.source.len(Split::Test)?;
        let count = limit.map_or(count, |limit| limit.min(count));
        ensure!(
            count > 0,
            "task {}: its test split is empty\nhint: look at the annotation files below its `root`",
            self.name
        );
        let records = self.source.records(Split::Test, 0, count)?;
        Ok(records
            .into_iter()
            .enumerate()
            .map(|(number, record)| Question {
                prompt: self.instruction.prompt(&record, self.place(Split::Test, number)),
                id: record.id.clone(),
                image: record.image.clone(),
                reference: Reference::of(&record),
                record,
            })
            .collect())
    }

    /// The scores of an answer in `0..=1`, by scorer: by the dataset's own rule where it has one, else by the task's metric.
    ///
    /// # Errors
    /// What the dataset reports.
    pub fn scores(&self, scorers: &[Scorer], text: &str, question: &Question) -> Result<Vec<f64>> {
        let own = self.source.score(text, &question.record)?;
        let one = |&scorer: &Scorer| score(scorer, self.metric, text, &question.reference);
        Ok(scorers.iter().map(|scorer| own.unwrap_or_else(|| one(scorer))).collect())
    }

    /// The prompt of a record of a split, as every cell words it.
    pub fn prompt(&self, split: Split, number: usize, record: &Record) -> String {
        self.instruction.prompt(record, self.place(split, number))
    }

    fn place(&self, split: Split, number: usize) -> Place<'_> {
        Place { seed: 0, task: &self.name, split, number }
    }

    /// Calls `see` with the first `limit` records of a split, or all, in order; a block of them is held at a time. Gives how many.
    pub fn each_record(
        &self,
        split: Split,
        limit: Option<usize>,
        see: &mut dyn FnMut(Record) -> Result<()>,
    ) -> Result<usize> {
        let count = self.source.len(split)?;
        let count = limit.map_or(count, |limit| limit.min(count));
        for start in (0..count).step_by(READ_TOGETHER) {
            let end = count.min(start + READ_TOGETHER);
            self.source.records(split, start, end)?.into_iter().try_for_each(&mut *see)?;
        }
        Ok(count)
    }

    /// Makes sure that the vision features of these pictures are there. Pictures are decoded on rayon threads.
    pub fn see<'a>(&self, backbone: &Backbone, images: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let wanted: BTreeSet<&str> = images.into_iter().collect();
        let missing: Vec<String> = {
            let mut known = self.features.borrow_mut();
            let held: usize =
                known.values().map(|features| features.numel() * features.kind().elt_size_in_bytes()).sum();
            if held > FEATURES_KEPT {
                known.retain(|image, _| wanted.contains(image.as_str()));
            }
            wanted.iter().filter(|image| !known.contains_key(**image)).map(ToString::to_string).collect()
        };
        let pictures = &self.pictures;
        for paths in missing.chunks(DECODED_TOGETHER) {
            let cache = self.feature_cache.as_deref();
            let prepared: Vec<Prepared> = paths
                .par_iter()
                .map(|path| pictures.prepare(path, cache))
                .collect::<Result<_>>()
                .with_context(|| format!("task {}", self.name))?;
            let side = i64::from(pictures.transform.size);
            for (path, prepared) in paths.iter().zip(prepared) {
                let features = match prepared {
                    Prepared::Seen(features) => features,
                    Prepared::Pixels { values, key } => {
                        // One by one: in a batch the last bits depend on its size, and so on what was seen before.
                        let picture = Tensor::f_from_slice(&values)?.f_view([1, 3, side, side])?;
                        let features = backbone.image_features(&picture)?.f_get(0)?;
                        if let Some((cache, key)) = cache.zip(key) {
                            cache.write(&key, &features);
                        }
                        features
                    }
                };
                self.features.borrow_mut().insert(path.clone(), features);
            }
        }
        Ok(())
    }

    /// Forgets what was seen, so that the next batch costs what the first one did.
    pub fn forget_features(&self) {
        self.features.borrow_mut().clear();
    }

    /// The vision features of a picture that was seen, `[N, d_v]`.
    pub fn features(&self, image: &str) -> Result<Tensor> {
        let known = self.features.borrow();
        let features = known.get(image).with_context(|| format!("picture `{image}` was not prepared"))?;
        Ok(features.shallow_clone())
    }

    /// Records with these numbers, in this order.
    pub fn records(&self, split: Split, numbers: &[usize]) -> Result<Vec<Record>> {
        // Runs of neighbours are read in one call.
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by_key(|&place| numbers[place]);
        let mut records: Vec<Option<Record>> = vec![None; numbers.len()];
        let mut at = 0;
        while at < order.len() {
            let mut end = at + 1;
            while end < order.len() && numbers[order[end]] <= numbers[order[end - 1]] + 1 {
                end += 1;
            }
            let (first, last) = (numbers[order[at]], numbers[order[end - 1]]);
            let read = self.source.records(split, first, last + 1)?;
            ensure!(
                read.len() == last + 1 - first,
                "task {}: the dataset gave {} records where {} were asked for",
                self.name,
                read.len(),
                last + 1 - first
            );
            for &place in &order[at..end] {
                records[place] = Some(read[numbers[place] - first].clone());
            }
            at = end;
        }
        Ok(records.into_iter().flatten().collect())
    }
}

/// What a picture is before the tower sees it.
enum Prepared {
    /// The tower saw it in an earlier run.
    Seen(Tensor),
    /// `[3, size, size]`, and under which name its features are to be kept.
    Pixels { values: Vec<f32>, key: Option<String> },
}

impl Pictures {
    /// A picture below the root as the tower takes it, `[3, size, size]`.
    pub fn pixels(&self, path: &str) -> Result<Vec<f32>> {
        self.decoded(path, &self.bytes(path)?)
    }

    fn prepare(&self, path: &str, cache: Option<&FeatureCache>) -> Result<Prepared> {
        let bytes = self.bytes(path)?;
        let key = cache.map(|cache| cache.key(&bytes, &self.transform, self.blank)).transpose()?;
        if let Some(seen) = cache.zip(key.as_deref()).and_then(|(cache, key)| cache.read(key)) {
            return Ok(Prepared::Seen(seen));
        }
        Ok(Prepared::Pixels { values: self.decoded(path, &bytes)?, key })
    }

    /// A picture's file.
    fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let within = Path::new(path);
        let climbs = within.is_absolute() || within.components().any(|part| part == Component::ParentDir);
        ensure!(
            !climbs,
            "image path `{path}` leaves the image root\nhint: paths in the annotation files are relative to it"
        );
        let full = self.root.join(within);
        std::fs::read(&full).with_context(|| {
            format!(
                "image `{}` cannot be read\nhint: paths of pictures are relative to the image root, {}",
                full.display(),
                self.root.display()
            )
        })
    }

    fn decoded(&self, path: &str, bytes: &[u8]) -> Result<Vec<f32>> {
        let name = self.root.join(path).display().to_string();
        let mut picture = decode(bytes, &name, Limits::default())?.to_rgb8();
        if self.blank {
            picture.pixels_mut().for_each(|pixel| *pixel = image::Rgb([128, 128, 128]));
        }
        self.transform.apply(&picture)
    }
}
