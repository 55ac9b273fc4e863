//! CoIN's training files, which have LLaVA's layout: `[{"id", "image"?, "conversations": [{"from": "human", "value": "<image>\n.."},
//! {"from": "gpt", "value": ".."}]}]`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::data::prompt::{Example, Prompter, Round};

/// Stands in a text where the picture is.
const IMAGE: &str = "<image>";

/// One record of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    pub id: String,
    /// Path below the image root.
    pub image: Option<String>,
    /// Question, without the picture's mark, and answer.
    pub rounds: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Raw {
    id: Option<Value>,
    /// The same in CoIN's files of questions.
    question_id: Option<Value>,
    image: Option<String>,
    conversations: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    from: String,
    value: String,
}

impl Conversation {
    /// Reads a file.
    ///
    /// # Errors
    /// A record that is not of that form, or two of the same id; the message names it.
    pub fn read(path: &Path) -> Result<Vec<Conversation>> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("{} cannot be read\nhint: name a file in CoIN's training layout", path.display())
        })?;
        Conversation::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Vec<Conversation>> {
        let records: Vec<Value> = serde_json::from_str(text).context(
            "not a list of records\nhint: CoIN's training layout is [{\"id\", \"image\", \"conversations\"}]",
        )?;
        ensure!(!records.is_empty(), "no record in it");
        let mut known = BTreeSet::new();
        let mut conversations = Vec::with_capacity(records.len());
        for (place, record) in records.into_iter().enumerate() {
            let raw: Raw = serde_json::from_value(record).with_context(|| format!("record {place}"))?;
            let conversation = raw.conversation(place).with_context(|| format!("record {place}"))?;
            ensure!(
                known.insert(conversation.id.clone()),
                "record {place}: id `{}` stands twice\nhint: ids name the results, so each needs its own",
                conversation.id
            );
            conversations.push(conversation);
        }
        Ok(conversations)
    }

    /// The sequence with its labels.
    pub fn example(&self, prompter: &Prompter) -> Result<Example> {
        let rounds: Vec<Round> =
            self.rounds.iter().map(|(prompt, answer)| Round { prompt, answer }).collect();
        let example = prompter.conversation(&rounds, self.image.is_some());
        example.with_context(|| format!("record `{}`", self.id))
    }
}

impl Raw {
    fn conversation(self, place: usize) -> Result<Conversation> {
        let text = |id: Value| match id {
            Value::String(id) => Ok(id),
            Value::Number(id) => Ok(id.to_string()),
            other => bail!("id {other} is neither text nor number"),
        };
        let (id, other) = (self.id.map(text).transpose()?, self.question_id.map(text).transpose()?);
        if let (Some(id), Some(other)) = (&id, &other) {
            ensure!(id == other, "its id is `{id}` and its question_id `{other}`\nhint: keep one of the two");
        }
        let id = id.or(other).unwrap_or_else(|| place.to_string());
        ensure!(!id.is_empty(), "an empty id");
        // As LLaVA does: what comes before the first question is left out.
        let mut turns = self.conversations.into_iter().skip_while(|turn| !turn.is_human()).peekable();
        let mut rounds = Vec::new();
        let mut marks = 0;
        while let Some(question) = turns.next() {
            ensure!(
                question.is_human() && turns.peek().is_some_and(Turn::is_model),
                "id `{id}`: turns must be `human` and `gpt` by turns, and `{}` is followed by {}\nhint: each question needs its answer",
                question.from,
                turns.peek().map_or("nothing".to_owned(), |turn| format!("`{}`", turn.from))
            );
            let (text, found) = without_mark(&question.value);
            ensure!(found == 0 || rounds.is_empty(), "id `{id}`: {IMAGE} stands behind the first question");
            marks += found;
            rounds.extend(turns.next().map(|answer| (text, answer.value)));
        }
        ensure!(
            !rounds.is_empty(),
            "id `{id}`: it has no question\nhint: `conversations` holds turns of `human` and `gpt`"
        );
        ensure!(
            marks == usize::from(self.image.is_some()),
            "id `{id}`: {marks} {IMAGE} in its text for {} picture\nhint: one {IMAGE} stands in the first question of a record with `image`",
            if self.image.is_some() { "one" } else { "no" }
        );
        Ok(Conversation { id, image: self.image, rounds })
    }
}

impl Turn {
    fn is_human(&self) -> bool {
        self.from == "human"
    }

    fn is_model(&self) -> bool {
        self.from == "gpt"
    }
}

/// A question without the picture's mark, and how many of them it had. LLaVA strips a text with one.
fn without_mark(text: &str) -> (String, usize) {
    match text.matches(IMAGE).count() {
        0 => (text.to_owned(), 0),
        found => (text.replace(IMAGE, "").trim().to_owned(), found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_lose_the_mark_and_what_stands_before_the_first_question() {
        let read = Conversation::parse(
            r#"[{"id": 7, "image": "a.png", "conversations": [{"from": "gpt", "value": "hello"},
                {"from": "human", "value": " what\n<image>"}, {"from": "gpt", "value": " a cat"},
                {"from": "human", "value": " and? "}, {"from": "gpt", "value": "no"}]},
                {"id": 8, "question_id": "8", "conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]},
                {"question_id": "q", "conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]}]"#,
        )
        .unwrap();
        assert_eq!((read[0].id.as_str(), read[0].image.as_deref()), ("7", Some("a.png")));
        let rounds = [("what", " a cat"), (" and? ", "no")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(read[0].rounds, rounds);
        assert_eq!(read[1].id, "8");
        assert_eq!((read[2].id.as_str(), &read[2].image), ("q", &None));
    }

    #[test]
    fn faults_name_the_record() {
        let turns = |text: &str| format!(r#"{{"id": "a", "image": "a.png", "conversations": {text}}}"#);
        let good = turns(r#"[{"from": "human", "value": "<image>\nx"}, {"from": "gpt", "value": "y"}]"#);
        assert_eq!(Conversation::parse(&format!("[{good}]")).unwrap().len(), 1);
        for (text, said) in [
            (format!("[{good}, {good}]"), "`a` stands twice"),
            (format!("[{}]", turns(r#"[{"from": "human", "value": "<image>"}]"#)), "followed by nothing"),
            (format!("[{}]", turns("[]")), "no question"),
            (format!("[{}]", good.replace("<image>", "")), "0 <image>"),
            (format!("[{}]", good.replace("<image>", "<image><image>")), "2 <image>"),
            (format!("[{}]", good.replace(r#""image": "a.png","#, "")), "no picture"),
            (
                format!("[{}]", good.replace(r#""id": "a""#, r#""id": "a", "question_id": "b""#)),
                "question_id `b`",
            ),
            (String::from("[{}]"), "record 0"),
            (String::from("{}"), "list of records"),
            (String::from("[]"), "no record"),
        ] {
            let message = format!("{:#}", Conversation::parse(&text).unwrap_err());
            assert!(message.contains(said), "{said}: {message}");
        }
    }
}
