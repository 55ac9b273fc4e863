//! A task as a cell sees it: samples made from records, and the frozen vision features of their pictures.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use coin_plugin_api::{Record, Split};
use tch::Tensor;

use crate::data::feature_cache::FeatureCache;
pub use crate::data::instruction::Instruction;
use crate::data::instruction::Place;
pub use crate::data::pictures::Pictures;
use crate::data::pictures::{Prepared, Reader};
use crate::data::prompt::{Example, Prompter};
use crate::data::source::Source;
use crate::eval::scorer::{Metric, Reference, Scorer, score};
use crate::model::Backbone;

/// Records that are read together where all are.
pub(crate) const READ_TOGETHER: usize = 4096;
/// Pictures that are decoded together.
const DECODED_TOGETHER: usize = 64;
/// Bytes of vision features that are kept between batches: of a task, and while training of all together; those of LLaVA 1.5 take 1.2 MB
/// a picture at half precision.
pub(crate) const FEATURES_KEPT: usize = 1 << 29;
/// The same of a task that nobody trains on or answers; there are many, and all on one device.
const FEATURES_KEPT_AT_REST: usize = 1 << 27;

/// One task: its records, its prompts, its pictures.
pub struct Task {
    pub name: String,
    pub metric: Metric,
    pub max_new_tokens: usize,
    pub source: Box<dyn Source>,
    pub instruction: Instruction,
    pub pictures: Arc<Pictures>,
    /// Keeps features beyond this process.
    pub feature_cache: Option<Arc<FeatureCache>>,
    reader: Reader,
    /// `[N, d_v]` by path.
    features: RefCell<HashMap<String, Tensor>>,
    /// Their bytes.
    held: Cell<usize>,
    picture_seconds: Cell<f64>,
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
            pictures: Arc::new(pictures),
            feature_cache: None,
            reader: Reader::default(),
            features: RefCell::new(HashMap::new()),
            held: Cell::new(0),
            picture_seconds: Cell::new(0.0),
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
                let prompt = self.worded(Split::Train, number, &record, seed);
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

    /// The same as a run's seed draws it.
    pub fn worded(&self, split: Split, number: usize, record: &Record, seed: u64) -> String {
        self.instruction.prompt(record, Place { seed, ..self.place(split, number) })
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
        let clock = Instant::now();
        let seen = self.see_all(backbone, images.into_iter().collect());
        self.picture_seconds.set(self.picture_seconds.get() + clock.elapsed().as_secs_f64());
        seen
    }

    /// Wall time spent in [`Task::see`].
    pub fn picture_seconds(&self) -> f64 {
        self.picture_seconds.get()
    }

    fn see_all(&self, backbone: &Backbone, wanted: BTreeSet<&str>) -> Result<()> {
        let missing: Vec<&str> = wanted.iter().copied().filter(|image| !self.is_known(image)).collect();
        if !missing.is_empty() && self.held() > FEATURES_KEPT {
            let mut known = self.features.borrow_mut();
            known.retain(|image, _| wanted.contains(image.as_str()));
            self.held.set(known.values().map(bytes).sum());
        }
        let cache = self.feature_cache.as_ref();
        let mut parts = missing.chunks(DECODED_TOGETHER).peekable();
        while let Some(paths) = parts.next() {
            let prepared = self.reader.prepared(paths, &self.pictures, cache);
            let prepared = prepared.with_context(|| format!("task {}", self.name))?;
            // Behind the last part, what the next batch needs may be on its way.
            if let Some(next) = parts.peek() {
                self.expect(next.iter().copied());
            }
            for (path, prepared) in paths.iter().zip(prepared) {
                let features = match prepared {
                    Prepared::Seen(features) => features,
                    Prepared::Pixels { values, key } => {
                        let side = i64::from(self.pictures.transform.size);
                        // One by one: in a batch the last bits depend on its size, and so on what was seen before.
                        let picture = Tensor::f_from_slice(&values)?.f_view([1, 3, side, side])?;
                        let features = backbone.image_features(&picture)?.f_get(0)?;
                        if let Some((cache, key)) = cache.zip(key) {
                            cache.write(&key, &features);
                        }
                        features
                    }
                };
                self.held.set(self.held.get() + bytes(&features));
                self.features.borrow_mut().insert((*path).to_string(), features);
            }
        }
        Ok(())
    }

    /// Has the pictures read that are to be seen next: on rayon threads, while this one does something else.
    pub fn expect<'a>(&self, images: impl IntoIterator<Item = &'a str>) {
        let paths = images.into_iter().filter(|image| !self.is_known(image)).collect();
        self.reader.expect(&paths, &self.pictures, self.feature_cache.as_ref());
    }

    /// The pictures that are being read ahead.
    #[cfg(test)]
    pub fn expected(&self) -> Vec<String> {
        self.reader.expected()
    }

    fn is_known(&self, image: &str) -> bool {
        self.features.borrow().contains_key(image)
    }

    /// Forgets what was seen where it is more than a task may hold on to while others have their turn.
    pub fn rest(&self) {
        if self.held() > FEATURES_KEPT_AT_REST {
            self.forget_features();
        }
    }

    /// Bytes of the features in memory.
    pub fn held(&self) -> usize {
        self.held.get()
    }

    /// Forgets what was seen, so that the tower sees it again.
    pub fn forget_features(&self) {
        self.features.borrow_mut().clear();
        self.held.set(0);
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

fn bytes(features: &Tensor) -> usize {
    features.numel() * features.kind().elt_size_in_bytes()
}
