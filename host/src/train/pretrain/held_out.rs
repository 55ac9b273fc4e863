//! What has been learnt, measured on samples that are not trained on.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};
use tch::{Kind, Tensor, no_grad};

use super::objective::Learner;
use super::samples::{Sample, Source};

/// The samples.
pub struct HeldOut(Vec<Sample>);

const BATCH: usize = 100;

impl HeldOut {
    /// `count` samples of their own.
    pub fn new(source: &Source, count: usize) -> Result<HeldOut> {
        Ok(HeldOut(source.held_out(count)?))
    }

    /// Percentage of the pictures' words that are among the best-scored ones, as many as the picture has, by kind.
    pub fn words(&self, learner: &Learner) -> Result<Value> {
        let mut counts = Counts::default();
        for batch in self.0.chunks(BATCH) {
            let scores = no_grad(|| -> Result<Tensor> {
                Ok(learner.word_scores(batch)?.f_logsumexp([1i64], false)?)
            })?;
            for (row, sample) in batch.iter().enumerate() {
                let best = scores.f_get(row as i64)?.f_topk(sample.words.len() as i64, 0, true, true)?.1;
                let best = Vec::<i64>::try_from(&best)?;
                let found = sample.words.iter().filter(|&&word| best.contains(&(word as i64))).count();
                counts.add(&sample.kind, found as f64 / sample.words.len().max(1) as f64);
            }
        }
        Ok(counts.percentages())
    }

    /// Percentage of answers of which every token, the end too, is the most probable one, by kind. Given the tokens
    /// before it each token is right, so this equals the exact match of greedy answers.
    pub fn answers(&self, learner: &Learner) -> Result<Value> {
        let mut counts = Counts::default();
        for batch in self.0.chunks(BATCH) {
            let (logits, targets, owners) = no_grad(|| learner.answer_logits(batch))?;
            let right = Vec::<i64>::try_from(
                &logits.f_argmax(1, false)?.f_eq_tensor(&targets)?.f_to_kind(Kind::Int64)?,
            )?;
            let mut whole = vec![true; batch.len()];
            for (owner, right) in owners.into_iter().zip(right) {
                whole[owner] &= right == 1;
            }
            for (sample, right) in batch.iter().zip(whole) {
                counts.add(&sample.kind, f64::from(u8::from(right)));
            }
        }
        Ok(counts.percentages())
    }
}

#[derive(Default)]
struct Counts(BTreeMap<String, (f64, usize)>);

impl Counts {
    fn add(&mut self, kind: &str, score: f64) {
        for key in [kind, "all"] {
            let entry = self.0.entry(key.to_owned()).or_default();
            *entry = (entry.0 + score, entry.1 + 1);
        }
    }

    fn percentages(self) -> Value {
        let percent = |(sum, count): (f64, usize)| json!((1000.0 * sum / count as f64).round() / 10.0);
        Value::Object(self.0.into_iter().map(|(kind, entry)| (kind, percent(entry))).collect())
    }
}
