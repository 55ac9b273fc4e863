//! Whole files under the official metrics: every annotated item counts once. Of a repeated id the last line counts, a missing prediction
//! scores 0, and ids are compared as text.

use std::collections::{BTreeMap, BTreeSet};

use super::input::{self, Document, Fault, Predictions};
use super::tally::{Tally, counted};
use super::{Metric, Reference, Scorer, score};
use crate::eval::python::Json;
use crate::eval::python::number::float;

/// An annotated item.
pub struct Item {
    pub id: String,
    /// `None`: not scored, as are GQA's questions outside of the balanced set.
    pub reference: Option<Reference>,
}

/// Scores a predictions file.
///
/// # Errors
/// Files that hold nothing, or belong to different data; items annotated twice; predictions without a text.
pub fn file(
    metric: Metric,
    annotations: &str,
    items: &[Item],
    predictions: &Predictions,
) -> Result<Tally, Fault> {
    let mut answers: BTreeMap<String, &str> = BTreeMap::new();
    let known: BTreeSet<&str> = items.iter().map(|item| item.id.as_str()).collect();
    let mut unknown: Vec<String> = Vec::new();
    let mut repeated = 0;
    for line in &predictions.lines {
        let place = predictions.place(line);
        let id = id(&line.value, "question_id", &place)?;
        let text = input::text(&line.value, "text", &place)?;
        if !known.contains(id.as_str()) {
            unknown.push(format!("`{id}` in {place}"));
        } else if answers.insert(id, text).is_some() {
            repeated += 1;
        }
    }
    if predictions.lines.is_empty() {
        return Err(refused(&predictions.name, "there are no predictions"));
    }
    if answers.is_empty() {
        return Err(refused(
            &predictions.name,
            format!("no prediction has an id of {annotations}, as {}", unknown[0]),
        ));
    }
    let (mut seen, mut sum) = (BTreeSet::new(), 0.0);
    let mut per_sample = Vec::with_capacity(items.len());
    for item in items {
        if !seen.insert(item.id.as_str()) {
            return Err(refused(annotations, format!("the id `{}` is there twice", item.id)));
        }
        let Some(reference) = &item.reference else { continue };
        let value = answers
            .get(&item.id)
            .map_or(0.0, |prediction| score(Scorer::Official, metric, prediction, reference));
        sum += value;
        per_sample.push((item.id.clone(), Some(value)));
    }
    let count = per_sample.len();
    if count == 0 {
        return Err(refused(annotations, "there is nothing to score"));
    }
    let missing = per_sample.iter().filter(|(id, _)| !answers.contains_key(id)).count();
    let unscored = answers.len() + missing - count;
    Ok(Tally::new(100.0 * sum / count as f64, count, per_sample)
        .remark((repeated > 0).then(|| {
            format!(
                "{} with an id that was there before: the last line counts",
                counted(repeated, "prediction")
            )
        }))
        .remark((!unknown.is_empty()).then(|| {
            let count = counted(unknown.len(), "prediction");
            format!("{count} with an unknown id, the first {}: ignored", unknown[0])
        }))
        .remark((unscored > 0).then(|| {
            format!("{} for an item outside of the scored set: not counted", counted(unscored, "prediction"))
        }))
        .remark(
            (missing > 0).then(|| format!("{missing} of {count} items have no prediction: they score 0")),
        ))
}

fn refused(place: impl Into<String>, reason: impl Into<String>) -> Fault {
    Fault::new("ValueError", place, reason)
}

fn id(value: &Json, key: &str, place: &str) -> Result<String, Fault> {
    let id = input::member(value, key, place)?;
    let plain = matches!(id, Json::Text(_) | Json::Int(_));
    id.str().filter(|_| plain).ok_or_else(|| refused(place, format!("`{key}` is {}", id.kind())))
}

/// `pid_splits.json` and `problems.json` of ScienceQA: the problems of the test split.
///
/// # Errors
/// Records that cannot be read, as for the other files.
pub fn scienceqa(splits: &Document, problems: &Document) -> Result<Vec<Item>, Fault> {
    let split = input::list(input::member(&splits.value, "test", &splits.name)?, &splits.name)?;
    let item = |(place, id): (String, &Json)| {
        let id = id.text().ok_or_else(|| refused(&place, format!("an id is {}, not a text", id.kind())))?;
        let problem = input::member(&problems.value, id, &problems.name)?;
        let place = format!("{}, problem `{id}`", problems.name);
        let options = texts(input::member(problem, "choices", &place)?, &place)?;
        let answer = input::member(problem, "answer", &place)?.number();
        let right = (0..options.len()).find(|&at| Some(at as f64) == answer);
        let letter = right.and_then(|at| char::from_u32('A' as u32 + at as u32));
        let letter = letter.ok_or_else(|| refused(&place, "`answer` is no index of `choices`"))?;
        let reference = Reference { options, ..Reference::answer(&letter.to_string()) };
        Ok(Item { id: id.to_owned(), reference: Some(reference) })
    };
    split.into_iter().map(item).collect()
}

/// `TextVQA_0.5.1_val.json`, with ten answers to a question.
///
/// # Errors
/// See [`scienceqa`].
pub fn textvqa(annotations: &Document) -> Result<Vec<Item>, Fault> {
    let data = input::member(&annotations.value, "data", &annotations.name)?;
    let items = input::list(data, &annotations.name)?;
    items.into_iter().map(|(place, item)| ten_answers(item, "question_id", &place, texts)).collect()
}

/// `vizwiz_val_annotations.json`, with ten answers to a question; the id is the name of the image.
///
/// # Errors
/// See [`scienceqa`].
pub fn vizwiz(annotations: &Document) -> Result<Vec<Item>, Fault> {
    let items = input::items(annotations)?;
    items.into_iter().map(|(place, item)| ten_answers(item, "image", &place, answer_texts)).collect()
}

/// `v2_mscoco_val2014_annotations.json` of VQAv2, with ten answers to a question.
///
/// # Errors
/// See [`scienceqa`].
pub fn vqav2(annotations: &Document) -> Result<Vec<Item>, Fault> {
    let list = input::member(&annotations.value, "annotations", &annotations.name)?;
    let items = input::list(list, &annotations.name)?;
    items.into_iter().map(|(place, item)| ten_answers(item, "question_id", &place, answer_texts)).collect()
}

fn ten_answers(
    item: &Json,
    key: &str,
    place: &str,
    read: impl Fn(&Json, &str) -> Result<Vec<String>, Fault>,
) -> Result<Item, Fault> {
    let answers = read(input::member(item, "answers", place)?, place)?;
    if answers.len() != 10 {
        return Err(refused(place, format!("there are {} answers, not 10", answers.len())));
    }
    let reference = Reference { answers, ..Reference::default() };
    Ok(Item { id: id(item, key, place)?, reference: Some(reference) })
}

/// `test.json` of ImageNet or OCR-VQA, with one answer to a question.
///
/// # Errors
/// See [`scienceqa`].
pub fn single_answers(annotations: &Document) -> Result<Vec<Item>, Fault> {
    let item = |(place, item): (String, &Json)| {
        let reference = Reference::answer(input::text(item, "answer", &place)?);
        Ok(Item { id: id(item, "question_id", &place)?, reference: Some(reference) })
    };
    input::items(annotations)?.into_iter().map(item).collect()
}

/// `testdev_balanced_questions.json` of GQA.
///
/// # Errors
/// See [`scienceqa`].
pub fn gqa(questions: &Document) -> Result<Vec<Item>, Fault> {
    let Json::Object(members) = &questions.value else {
        return Err(refused(&questions.name, format!("{} stands for an object", questions.value.kind())));
    };
    let item = |(id, question): (&String, &Json)| {
        let place = format!("{}, question `{id}`", questions.name);
        let balanced = input::member(question, "isBalanced", &place)?.truthy();
        let reference = Reference::answer(input::text(question, "answer", &place)?);
        Ok(Item { id: id.clone(), reference: balanced.then_some(reference) })
    };
    members.iter().map(item).collect()
}

/// `test.json` of the grounding task, with `answer_bbox`.
///
/// # Errors
/// See [`scienceqa`].
pub fn grounding(annotations: &Document) -> Result<Vec<Item>, Fault> {
    let item = |(place, item): (String, &Json)| {
        let bbox = input::text(item, "answer_bbox", &place)?;
        let numbers: Option<Vec<f64>> = bbox.replace(['[', ']'], "").split(',').map(float).collect();
        let numbers: Option<[f64; 4]> = numbers.and_then(|numbers| numbers.try_into().ok());
        let bbox = numbers.ok_or_else(|| refused(&place, format!("`answer_bbox` is no box: `{bbox}`")))?;
        let reference = Reference { bbox: Some(bbox), ..Reference::default() };
        Ok(Item { id: id(item, "question_id", &place)?, reference: Some(reference) })
    };
    input::items(annotations)?.into_iter().map(item).collect()
}

fn texts(value: &Json, place: &str) -> Result<Vec<String>, Fault> {
    let text = |(place, item): (String, &Json)| {
        let text = item.text().map(str::to_owned);
        text.ok_or_else(|| refused(place, format!("{} stands for a text", item.kind())))
    };
    input::list(value, place)?.into_iter().map(text).collect()
}

fn answer_texts(value: &Json, place: &str) -> Result<Vec<String>, Fault> {
    let text = |(place, item): (String, &Json)| input::text(item, "answer", &place).map(str::to_owned);
    input::list(value, place)?.into_iter().map(text).collect()
}
