//! From a record's question and a task's wording to the text of a prompt.

use coin_plugin_api::{Record, Split, TURN};

use crate::config::instruction::{self as written, Wording};
use crate::stream::random::Draws;

/// Stands for the question in a wording that says where it goes.
const QUESTION: &str = "{question}";

/// How a task words its instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// The line that the files have, below the question.
    Original,
    /// Nothing.
    None,
    /// This line, below the question.
    Text(String),
    /// This text, with the question in the place of `{question}`.
    Around(String),
    /// One of these for each record.
    Drawn(Vec<Instruction>),
}

/// Which record words are drawn for.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Of the run for training records; test records are worded alike in all of its cells.
    pub seed: u64,
    pub task: &'a str,
    pub split: Split,
    /// Of the record in its split.
    pub number: usize,
}

impl Instruction {
    /// As a configuration has it.
    pub fn new(written: &written::Instruction) -> Instruction {
        let one = |wording: &Wording| match wording {
            Wording::Text(text) => Instruction::parse(text),
            Wording::Parts(parts) => {
                let written::Parts { definition, constraint, prompt } = parts;
                let has_place = [definition, constraint, prompt].iter().any(|part| part.contains(QUESTION));
                let question = if has_place { "" } else { QUESTION };
                let parts = [definition, constraint, question, prompt];
                let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                Instruction::Around(parts.join("\n"))
            }
        };
        match written {
            written::Instruction::One(wording) => one(wording),
            written::Instruction::Drawn(wordings) => Instruction::Drawn(wordings.iter().map(one).collect()),
        }
    }

    /// From a text: `original`, `none`, the line, or a text with a place for the question. Sets that are files of their own are kept as
    /// those files have them.
    pub fn parse(text: &str) -> Instruction {
        match text {
            "none" => Instruction::None,
            text if text == "original" || written::VARIANTS.iter().any(|(name, _)| *name == text) => {
                Instruction::Original
            }
            text if text.contains(QUESTION) => Instruction::Around(text.to_string()),
            line => Instruction::Text(line.to_string()),
        }
    }

    /// The prompt of a record.
    pub fn prompt(&self, record: &Record, place: Place) -> String {
        let line = match self {
            Instruction::Original => record.instruction.as_deref(),
            Instruction::None => None,
            Instruction::Text(line) => Some(line.as_str()),
            Instruction::Around(text) => {
                // Earlier turns stay before what is said now.
                let (earlier, question) = match record.question.rfind(TURN) {
                    Some(end) => record.question.split_at(end + TURN.len_utf8()),
                    None => ("", record.question.as_str()),
                };
                return format!("{earlier}{}", text.replace(QUESTION, question));
            }
            Instruction::Drawn(wordings) => {
                let stream = format!("instruction/{}/{}", place.task, place.split.name());
                let mut draws = Draws::new(place.seed, &stream, &[place.number as u64]);
                return draws.choose(wordings).prompt(record, place);
            }
        };
        match line {
            Some(line) if record.question.is_empty() => line.to_string(),
            Some(line) => format!("{}\n{line}", record.question),
            None => record.question.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn record(question: &str) -> Record {
        Record {
            question: question.into(),
            instruction: Some(String::from("One word.")),
            ..Record::default()
        }
    }

    fn place(seed: u64, number: usize) -> Place<'static> {
        Place { seed, task: "gqa", split: Split::Train, number }
    }

    fn read(text: &str) -> Instruction {
        #[derive(serde::Deserialize)]
        struct Task {
            instruction: written::Instruction,
        }
        Instruction::new(&toml::from_str::<Task>(&format!("instruction = {text}")).unwrap().instruction)
    }

    #[test]
    fn each_form_makes_its_prompt() {
        let parts = r#"{ definition = "A quiz.", constraint = "Say yes or no.", prompt = "Answer:" }"#;
        for (text, prompt) in [
            ("\"original\"", "Is it red?\nOne word."),
            ("\"diverse\"", "Is it red?\nOne word."),
            ("\"none\"", "Is it red?"),
            ("\"Be brief.\"", "Is it red?\nBe brief."),
            ("\"Q: {question} A:\"", "Q: Is it red? A:"),
            (parts, "A quiz.\nSay yes or no.\nIs it red?\nAnswer:"),
            (r#"{ definition = "A quiz.", prompt = "Say {question}" }"#, "A quiz.\nSay Is it red?"),
        ] {
            assert_eq!(read(text).prompt(&record("Is it red?"), place(0, 0)), prompt, "{text}");
        }
        let turns = record("Who?\u{1e}me\u{1e}Why?");
        assert_eq!(read("\"Now: {question}\"").prompt(&turns, place(0, 0)), "Who?\u{1e}me\u{1e}Now: Why?");
    }

    #[test]
    fn wordings_are_drawn_evenly_and_by_seed_and_record_alone() {
        let drawn = read(r#"["a", "b", "c", "none", { prompt = "d" }]"#);
        let all = |seed| -> Vec<String> {
            (0..5_000).map(|number| drawn.prompt(&record("q"), place(seed, number))).collect()
        };
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        all(0).into_iter().for_each(|prompt| *counts.entry(prompt).or_default() += 1);
        assert_eq!(counts.keys().collect::<Vec<_>>(), ["q", "q\na", "q\nb", "q\nc", "q\nd"]);
        assert!(counts.values().all(|count| (900..1_100).contains(count)), "{counts:?}");
        assert_eq!(all(0), all(0));
        assert_ne!(all(0), all(1));
        let test = Place { split: Split::Test, ..place(0, 0) };
        assert!((0..50).any(|number| {
            drawn.prompt(&record("q"), Place { number, ..test })
                != drawn.prompt(&record("q"), place(0, number))
        }));
    }
}
