//! `convert_gqa_for_eval.py` and `eval_gqa.py`: equal once final periods are off and letters lowered; the mean over the balanced
//! questions that have a prediction.

use std::collections::BTreeMap;

use crate::eval::python::Json;
use crate::eval::python::json::Key;
use crate::eval::python::text::lower;
use crate::eval::scorer::input::{self, Document, Fault, Ids, Line, Predictions};
use crate::eval::scorer::tally::{Tally, counted};

/// The prediction that is compared.
pub fn converted(prediction: &str) -> String {
    lower(prediction.trim_end_matches('.'))
}

/// `questions`: `testdev_balanced_questions.json`.
///
/// # Errors
/// Where the scripts stop.
pub fn file(questions: &Document, predictions: &Predictions) -> Result<Tally, Fault> {
    // A repeated id keeps its first place and its last text.
    let mut order: Vec<Key> = Vec::new();
    let mut last: BTreeMap<Key, (&Line, String)> = BTreeMap::new();
    for line in &predictions.lines {
        let place = predictions.place(line);
        input::member(&line.value, "question_id", &place)?;
        let text = converted(input::text(&line.value, "text", &place)?);
        let key = Ids::AsWritten.of(&line.value, &place)?;
        if last.insert(key.clone(), (line, text)).is_none() {
            order.push(key);
        }
    }
    let (mut right, mut count, mut groups) = (0usize, 0usize, 0usize);
    let mut per_sample = Vec::with_capacity(order.len());
    for (line, text) in order.iter().filter_map(|key| last.get(key)) {
        let place = predictions.place(line);
        let id = input::id_text(&line.value).unwrap_or_default();
        let known = line.value.get("question_id").and_then(Json::text).and_then(|id| questions.value.get(id));
        let question = known.ok_or_else(|| super::unknown(&line.value, &place))?;
        let place = format!("{}, question `{id}`", questions.name);
        let answer = input::member(question, "answer", &place)?;
        let is_right = answer.text() == Some(text);
        described(question, &place)?;
        if !input::member(question, "isBalanced", &place)?.truthy() {
            per_sample.push((id, None));
            continue;
        }
        let types = input::member(question, "types", &place)?;
        let group = input::member(question, "groups", &place);
        let counted = [
            input::member(types, "structural", &place)?,
            input::member(types, "semantic", &place)?,
            input::member(group?, "global", &place)?,
        ];
        // Scores are kept by these, and answers by the last of them.
        let group = counted[2];
        let answer = (*group != Json::Null).then_some(answer);
        if let Some(odd) = counted.into_iter().chain(answer).find(|value| value.key().is_none()) {
            return Err(Fault::new("TypeError", place, format!("a type, group or answer is {}", odd.kind())));
        }
        groups += usize::from(*group != Json::Null);
        count += 1;
        right += usize::from(is_right);
        per_sample.push((id, Some(f64::from(u8::from(is_right)))));
    }
    if groups == 0 {
        let reason = "no prediction is for a balanced question with a global group, and the distribution score divides by their number";
        return Err(Fault::new("ZeroDivisionError", &predictions.name, reason));
    }
    let tally = Tally::new(right as f64 / count as f64 * 100.0, count, per_sample);
    Ok(coverage(tally, questions, predictions.lines.len() - order.len()))
}

/// The script counts the words and the reasoning steps of every question.
fn described(question: &Json, place: &str) -> Result<(), Fault> {
    input::text(question, "question", place)?;
    for (place, step) in input::list(input::member(question, "semantic", place)?, place)? {
        input::member(step, "operation", &place)?;
        input::member(step, "argument", &place)?;
    }
    Ok(())
}

fn coverage(tally: Tally, questions: &Document, repeated: usize) -> Tally {
    let Json::Object(questions) = &questions.value else { return tally };
    let balanced = |question: &&Json| question.get("isBalanced").is_some_and(Json::truthy);
    let balanced = questions.values().filter(balanced).count();
    let (missing, uncounted) = (balanced - tally.count, tally.per_sample.len() - tally.count);
    tally
        .remark((repeated > 0).then(|| {
            format!("{} with an id that was there before: the last line counts", counted(repeated, "prediction"))
        }))
        .remark((uncounted > 0).then(|| {
            format!("{} for a question that is not balanced: not counted", counted(uncounted, "prediction"))
        }))
        .remark((missing > 0).then(|| {
            format!("{missing} of {balanced} balanced questions have no prediction: they are left out of the count")
        }))
}
