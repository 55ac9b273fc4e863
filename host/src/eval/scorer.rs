//! Scores one answer against its reference: the official definition of each metric, and the rules of CoIN's own scripts.
//!
//! Every function here is pure and total: an empty or unreadable answer scores 0, never an error.
//! Definitions, sources and the differences between the two scorers are in `docs/metrics.md`.

use std::fmt;
use std::str::FromStr;

use coin_plugin_api::Record;
use serde::{Deserialize, Serialize};

mod classification;
pub mod coin;
mod exact_match;
pub mod form;
mod gqa;
pub mod grounding;
pub mod input;
pub mod judge;
mod multiple_choice;
mod normalise;
mod ocr_vqa;
pub mod official;
pub mod offline;
mod tally;
mod textvqa;
mod vqa_soft;

pub use tally::Tally;

/// How an answer of a task is scored. In configuration files: `multiple-choice`, `vqa-soft`, `ocr-vqa`, ..
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The chosen option, given as a letter or as the option's text (ScienceQA).
    MultipleChoice,
    /// Soft accuracy over ten human answers, as the VQA v2 evaluator computes it (VQAv2).
    VqaSoft,
    /// Soft accuracy over ten answers with the TextVQA normaliser (TextVQA).
    #[serde(rename = "textvqa")]
    TextVqa,
    /// Soft accuracy over ten answers of blind users' questions (VizWiz).
    #[serde(rename = "vizwiz")]
    VizWiz,
    /// Equal after trimming, lower-casing and removing final periods.
    ExactMatch,
    /// Equal to the class name as it stands (ImageNet).
    Classification,
    /// Intersection over union of two boxes of at least one half (RefCOCO, RefCOCO+, RefCOCOg).
    Grounding,
    /// Equal after lower-casing and removing final periods (GQA).
    Gqa,
    /// Equal after lower-casing (OCR-VQA).
    OcrVqa,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Metric; 9] = [
        Metric::MultipleChoice,
        Metric::VqaSoft,
        Metric::TextVqa,
        Metric::VizWiz,
        Metric::ExactMatch,
        Metric::Classification,
        Metric::Grounding,
        Metric::Gqa,
        Metric::OcrVqa,
    ];

    /// The name in configuration and result files.
    pub fn name(self) -> &'static str {
        match self {
            Metric::MultipleChoice => "multiple-choice",
            Metric::VqaSoft => "vqa-soft",
            Metric::TextVqa => "textvqa",
            Metric::VizWiz => "vizwiz",
            Metric::ExactMatch => "exact-match",
            Metric::Classification => "classification",
            Metric::Grounding => "grounding",
            Metric::Gqa => "gqa",
            Metric::OcrVqa => "ocr-vqa",
        }
    }
}

/// Whose rules score an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scorer {
    /// The data set's own definition.
    Official,
    /// CoIN's evaluation scripts with their defects, for comparison with published tables.
    Coin,
}

impl Scorer {
    /// The name in configuration and result files.
    pub fn name(self) -> &'static str {
        match self {
            Scorer::Official => "official",
            Scorer::Coin => "coin",
        }
    }
}

/// A name that stands for no metric or scorer.
#[derive(Debug, thiserror::Error)]
#[error("unknown {what} `{name}`\nhint: one of {known}")]
pub struct UnknownName {
    what: &'static str,
    name: String,
    known: String,
}

impl UnknownName {
    pub(crate) fn new(what: &'static str, name: &str, known: String) -> Self {
        UnknownName { what, name: name.to_owned(), known }
    }
}

impl FromStr for Metric {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let known = Metric::ALL.map(Metric::name).join(", ");
        let metric = Metric::ALL.into_iter().find(|metric| metric.name() == name);
        metric.ok_or_else(|| UnknownName::new("metric", name, known))
    }
}

impl FromStr for Scorer {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "official" => Ok(Scorer::Official),
            "coin" => Ok(Scorer::Coin),
            _ => Err(UnknownName::new("scorer", name, "official, coin".to_owned())),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl fmt::Display for Scorer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// What an answer is held against.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The accepted answers; the first is the training target. Ten of them for the soft metrics.
    pub answers: Vec<String>,
    /// The one answer that CoIN's script compares with, where it is none of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The options of a multiple-choice question, in the order of their letters.
    pub options: Vec<String>,
    /// The box `x1, y1, x2, y2` in 0..1 of a grounding item.
    pub bbox: Option<[f64; 4]>,
    /// Width and height of the image in pixels.
    pub size: Option<[u32; 2]>,
}

impl Reference {
    /// What the answer to a record's question is held against.
    pub fn of(record: &Record) -> Self {
        Reference {
            answers: record.answers.clone(),
            target: record.target.clone(),
            options: record.options.clone(),
            bbox: record.bbox,
            size: record.size,
        }
    }

    /// A reference with one accepted answer and nothing else.
    pub fn answer(answer: &str) -> Self {
        Reference { answers: vec![answer.to_owned()], ..Reference::default() }
    }

    /// The one answer that CoIN compares with.
    pub fn target(&self) -> Option<&str> {
        self.target.as_ref().or(self.answers.first()).map(String::as_str)
    }
}

/// The score of `prediction`, from 0.0 to 1.0.
///
/// `Scorer::Coin` covers what CoIN's scripts do to one answer; what they do to a whole file (pairing by position,
/// counting prediction lines) cannot happen here, because the host answers every item exactly once.
pub fn score(scorer: Scorer, metric: Metric, prediction: &str, reference: &Reference) -> f64 {
    let target = reference.target();
    match (metric, scorer) {
        (Metric::MultipleChoice, _) => binary(multiple_choice::right(prediction, reference)),
        (Metric::VqaSoft, Scorer::Official) => vqa_soft::official(prediction, &reference.answers),
        (Metric::TextVqa, _) => textvqa::soft_in_order(prediction, &reference.answers),
        (Metric::VizWiz, Scorer::Official) => textvqa::soft(prediction, &reference.answers),
        (Metric::VqaSoft | Metric::VizWiz, Scorer::Coin) => {
            binary(target.is_some_and(|answer| coin::vizwiz::right(prediction, answer)))
        }
        (Metric::ExactMatch, _) => binary(exact_match::normalised(prediction, &reference.answers)),
        (Metric::Classification, Scorer::Official) => binary(classification::official(prediction, reference)),
        (Metric::Classification, Scorer::Coin) => {
            binary(target.is_some_and(|answer| coin::imagenet::right(prediction, answer)))
        }
        (Metric::Grounding, Scorer::Official) => binary(grounding::official(prediction, reference)),
        (Metric::Grounding, Scorer::Coin) => {
            let side = reference.size.map_or(1.0, |[width, height]| f64::from(width.max(height)));
            let boxes = coin::grounding::parsed(prediction).zip(reference.bbox);
            binary(boxes.is_some_and(|(box_, truth)| coin::grounding::right(box_, truth, side)))
        }
        (Metric::Gqa, _) => binary(gqa::exact(prediction, &reference.answers)),
        (Metric::OcrVqa, _) => binary(ocr_vqa::exact(prediction, &reference.answers)),
    }
}

fn binary(right: bool) -> f64 {
    f64::from(u8::from(right))
}

#[cfg(test)]
mod tests;
