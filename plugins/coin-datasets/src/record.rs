//! From a record of the files to the host's: the training form (conversations) and the test form (text and answer).

use coin_plugin_api::{Record, Result};

use crate::json::Value;
use crate::side::Truths;
use crate::task::{Form, Line};
use crate::text;

/// Reads one record.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn record(
    value: &Value,
    number: usize,
    form: &Form,
    truths: Option<&Truths>,
) -> Result<Record, String> {
    let id = match value.get("question_id").or_else(|| value.get("id")) {
        Some(id) => id.scalar().ok_or("the id is neither text nor number")?.to_string(),
        None => number.to_string(),
    };
    if id.is_empty() {
        return Err(String::from("the id is empty"));
    }
    let image = match value.get("image") {
        Some(path) => Some(place(path.text().ok_or("`image` is no text")?, &form.images)?),
        None if shows_a_picture(value, form) => {
            return Err(String::from("it asks about a picture and names none"));
        }
        None => None,
    };
    let (text, mut answers) = match value.get("conversations") {
        Some(turns) => conversation(turns)?,
        None => {
            let text = form.asked.iter().find_map(|key| value.get(key));
            let text = text.ok_or("there is neither `conversations` nor `text`")?;
            let text = text.text().ok_or("the question is no text")?;
            let text = text::without_image_mark(text);
            if text.contains(text::TURN) {
                return Err(String::from("the question holds the character U+001E"));
            }
            (text, value.get("answer").or_else(|| value.get("answers")).map_or(Ok(vec![]), all_answers)?)
        }
    };
    if let Some(bbox) = value.get("answer_bbox") {
        answers = vec![match (bbox.text(), bbox.numbers()) {
            (Some(text), _) => text.to_string(),
            (_, Some(list)) => text::write_box(&list),
            _ => return Err(String::from("`answer_bbox` is neither text nor a list of numbers")),
        }];
    }
    let (mut options, mut target) = (None, None);
    if let Some(truths) = truths {
        let truth = truths.of(&id)?;
        if truths.keeps_target {
            // The original stops there as well.
            let own = answers.into_iter().next().ok_or("there is no answer of CoIN's own")?;
            target = Some(own).filter(|own| truth.answers.first() != Some(own));
        }
        answers = truth.answers;
        options = Some(truth.options).filter(|options| !options.is_empty());
    }
    let Some(first) = answers.first() else { return Err(String::from("there is no answer")) };
    let bbox = match form.boxes {
        true => {
            Some(text::parse_box(first).ok_or_else(|| format!("`{first}` is not a box of four numbers"))?)
        }
        false => None,
    };
    let (question, instruction) = match form.line {
        Line::None => (text, None),
        line => text::split_instruction(text, line == Line::Known),
    };
    let options = options.unwrap_or_else(|| if form.options { text::options(&question) } else { Vec::new() });
    let size = match value.get("size").map(Value::numbers) {
        None => None,
        Some(Some(size)) if size.len() == 2 => Some([size[0] as u32, size[1] as u32]),
        Some(_) => return Err(String::from("`size` is not width and height")),
    };
    Ok(Record { id, image, question, instruction, options, answers, target, bbox, size })
}

/// Whether LLaVA's picture mark stands in what is asked.
fn shows_a_picture(value: &Value, form: &Form) -> bool {
    let has_mark =
        |value: Option<&Value>| value.and_then(Value::text).is_some_and(|text| text.contains(text::IMAGE));
    let asks = |turn: &&Value| matches!(turn.get("from").and_then(Value::text), Some("human" | "user"));
    match value.get("conversations").and_then(Value::list) {
        Some(turns) => turns.iter().filter(asks).any(|turn| has_mark(turn.get("value"))),
        None => form.asked.iter().any(|key| has_mark(value.get(key))),
    }
}

/// The last answer of a conversation and all that comes before it: earlier turns stand before the question, each with
/// [`text::TURN`] behind it.
fn conversation(turns: &Value) -> Result<(String, Vec<String>), String> {
    let turns = turns.list().ok_or("`conversations` is no list")?;
    let mut text = String::new();
    let mut answer = None;
    let mut is_answered = true;
    for (place, turn) in turns.iter().enumerate() {
        let part = |key| turn.get(key).and_then(Value::text);
        let (Some(from), Some(said)) = (part("from"), part("value")) else {
            return Err(format!("turn {place} of the conversation has no `from` and `value`"));
        };
        let asks = match from {
            "human" | "user" => true,
            "gpt" | "assistant" => false,
            _ => return Err(format!("`{from}` is neither `human` nor `gpt`")),
        };
        if said.contains(text::TURN) {
            return Err(format!("turn {place} of the conversation holds the character U+001E"));
        }
        // As LLaVA does: what the model says before the first question is left out.
        if place == 0 && !asks {
            continue;
        }
        if asks != is_answered {
            return Err(format!("turn {place} of the conversation: `{from}` speaks twice in a row"));
        }
        if let Some(earlier) = answer.take().filter(|_| asks) {
            text.push_str(earlier);
            text.push(text::TURN);
        }
        if asks {
            text.push_str(&text::without_image_mark(said));
        } else if place + 1 < turns.len() {
            text.push(text::TURN);
        }
        answer = (!asks).then_some(said);
        is_answered = !asks;
    }
    match answer {
        Some(answer) => Ok((text, vec![answer.to_string()])),
        None if turns.is_empty() => Err(String::from("the conversation is empty")),
        None => Err(String::from("the conversation has a question and no answer")),
    }
}

/// One answer or several.
fn all_answers(value: &Value) -> Result<Vec<String>, String> {
    let one = |value: &Value| value.scalar().map(String::from);
    let answers = match value.list() {
        Some(items) => items.iter().map(one).collect(),
        None => one(value).map(|answer| vec![answer]),
    };
    answers.ok_or_else(|| String::from("the answer is neither text nor number"))
}

/// Where a picture lies below the task's root.
fn place(path: &str, images: &str) -> Result<String, String> {
    let path = text::inside(path).map_err(|why| format!("the image path `{path}` {why}"))?;
    let images = images.trim_end_matches('/');
    Ok(if images.is_empty() || images == "." { path } else { format!("{images}/{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use crate::task::Task;

    fn read(text: &str) -> Result<Record, String> {
        let value = json::parse(text.as_bytes()).expect("the sample is JSON");
        record(&value, 3, &Task::PHRASE.form("cl_dataset"), None)
    }

    #[test]
    fn faulty_records_say_what_is_wrong() {
        for (text, why) in [
            (r#"{"text": "a"}"#, "there is no answer"),
            (r#"{"text": "<image>\na", "answer": "b"}"#, "it asks about a picture and names none"),
            (r#"{"answer": "a"}"#, "there is neither `conversations` nor `text`"),
            (r#"{"text": 5, "answer": "a"}"#, "the question is no text"),
            (r#"{"text": "a", "answer": {"b": 1}}"#, "the answer is neither text nor number"),
            (r#"{"id": [1], "text": "a", "answer": "b"}"#, "the id is neither text nor number"),
            (r#"{"id": "", "text": "a", "answer": "b"}"#, "the id is empty"),
            (r#"{"text": "a", "answer": "b", "size": [1]}"#, "`size` is not width and height"),
            (
                r#"{"conversations": [{"from": "human", "value": "a"}]}"#,
                "the conversation has a question and no answer",
            ),
            (
                r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "human", "value": "b"}]}"#,
                "turn 1 of the conversation: `human` speaks twice in a row",
            ),
            (
                r#"{"conversations": [{"from": "robot", "value": "a"}]}"#,
                "`robot` is neither `human` nor `gpt`",
            ),
            (
                r#"{"image": "../secret.png", "text": "a", "answer": "b"}"#,
                "the image path `../secret.png` climbs out of the image folder",
            ),
            (
                r#"{"image": "/etc/passwd", "text": "a", "answer": "b"}"#,
                "the image path `/etc/passwd` is absolute",
            ),
        ] {
            assert_eq!(read(text), Err(String::from(why)));
        }
    }

    #[test]
    fn the_last_answer_of_a_conversation_is_the_answer() {
        let record = read(
            r#"{"id": 1, "image": "a.png", "conversations": [{"from": "gpt", "value": "hello"}, {"from": "human", "value": "<image>\nwho?"},
                {"from": "gpt", "value": "me"}, {"from": "human", "value": "why?"}, {"from": "gpt", "value": "so"}]}"#,
        )
        .expect("a good record");
        assert_eq!((record.question.as_str(), record.answers[0].as_str()), ("who?\u{1e}me\u{1e}why?", "so"));
    }

    #[test]
    fn the_instruction_is_the_last_line_of_the_last_question() {
        let read = |first: &str, last: &str| {
            let text = serde_json::json!({"id": 1, "conversations": [
                {"from": "human", "value": first}, {"from": "gpt", "value": "me"},
                {"from": "human", "value": last}, {"from": "gpt", "value": "so"}]});
            let text = text.to_string();
            let record =
                record(&json::parse(text.as_bytes())?, 3, &Task::PHRASE.form(""), None).expect("good");
            Ok::<_, json::Fault>((record.question, record.instruction))
        };
        assert_eq!(
            read("who?\nBe brief.", "why?"),
            Ok((String::from("who?\nBe brief.\u{1e}me\u{1e}why?"), None))
        );
        let brief = Some(String::from("Be brief."));
        assert_eq!(read("who?", "why?\nBe brief."), Ok((String::from("who?\u{1e}me\u{1e}why?"), brief)));
    }

    #[test]
    fn a_record_without_an_id_is_called_by_its_number() {
        assert_eq!(read(r#"{"text": "a", "answer": "b"}"#).map(|record| record.id), Ok(String::from("3")));
    }

    #[test]
    fn keys_that_no_task_needs_are_passed_over() {
        let record = read(
            r#"{"question_id": 5, "id": "x", "image": "a.png", "text": "q", "answer": "b", "category": {"c": 1}}"#,
        );
        let record = record.expect("a good record");
        assert_eq!((record.id.as_str(), record.image.as_deref()), ("5", Some("cl_dataset/a.png")));
    }
}
