//! Prompt templates: how a question, a picture and an answer become one sequence of tokens.

use std::borrow::Cow;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::model::Tokenizer;

/// Marks a token whose prediction is not trained, as in PyTorch's cross entropy.
pub const IGNORED: i64 = -100;

/// The fixed parts of a sequence, which reads
/// `start system user [image after_image] PROMPT assistant before_answer ANSWER end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    pub name: Cow<'static, str>,
    /// Token that every sequence begins with.
    pub start: Cow<'static, str>,
    pub system: Cow<'static, str>,
    pub user: Cow<'static, str>,
    pub after_image: Cow<'static, str>,
    pub assistant: Cow<'static, str>,
    pub before_answer: Cow<'static, str>,
    /// Token that ends an answer.
    pub end: Cow<'static, str>,
}

impl Template {
    /// One of the built-in templates: `tiny` (the quickstart's backbone), `vicuna_v1` (LLaVA 1.5), `plain` (captions).
    pub fn named(name: &str) -> Result<Template> {
        let template = |name, system, user, after_image, assistant, before_answer| Template {
            name: Cow::Borrowed(name),
            start: Cow::Borrowed("<s>"),
            system: Cow::Borrowed(system),
            user: Cow::Borrowed(user),
            after_image: Cow::Borrowed(after_image),
            assistant: Cow::Borrowed(assistant),
            before_answer: Cow::Borrowed(before_answer),
            end: Cow::Borrowed("</s>"),
        };
        match name {
            "tiny" => Some(template("tiny", "", "<user>", "", " <assistant>", " ")),
            "vicuna_v1" => Some(template("vicuna_v1", VICUNA_SYSTEM, "USER: ", "\n", " ASSISTANT:", " ")),
            "plain" => Some(template("plain", "", "", "", "\n", "")),
            _ => None,
        }
        .with_context(|| format!("no prompt template is named `{name}`\nhint: use tiny, vicuna_v1 or plain"))
    }
}

const VICUNA_SYSTEM: &str = "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the human's questions. ";

/// A sequence to train on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    pub input_ids: Vec<i64>,
    /// The token itself where it is part of the answer or ends it, else [`IGNORED`].
    pub labels: Vec<i64>,
}

/// A template together with the tokenizer and the image tokens of a backbone.
pub struct Prompter<'a> {
    template: Template,
    tokenizer: &'a Tokenizer,
    start: i64,
    end: i64,
    image_token: i64,
    image_tokens: usize,
}

impl<'a> Prompter<'a> {
    /// `image_tokens` is the number of visual tokens of a picture (`ModelConfig::image_tokens`).
    pub fn new(
        template: Template,
        tokenizer: &'a Tokenizer,
        image_token: i64,
        image_tokens: usize,
    ) -> Result<Self> {
        let (start, end) = (tokenizer.id(&template.start)?, tokenizer.id(&template.end)?);
        Ok(Prompter { template, tokenizer, start, end, image_token, image_tokens })
    }

    /// The token that ends an answer.
    pub fn end_token(&self) -> i64 {
        self.end
    }

    /// The sequence up to where the answer begins.
    pub fn prompt(&self, text: &str, has_image: bool) -> Result<Vec<i64>> {
        let (mut ids, rest) = self.head(text, has_image)?;
        ids.extend(self.tokenizer.encode(&rest)?);
        Ok(ids)
    }

    /// The whole sequence with its labels.
    pub fn example(&self, text: &str, has_image: bool, answer: &str) -> Result<Example> {
        let (mut ids, rest) = self.head(text, has_image)?;
        let prompt = self.tokenizer.encode(&rest)?;
        let whole = self.tokenizer.encode(&format!("{rest}{}{answer}", self.template.before_answer))?;
        ids.extend(&prompt);
        let answer_start = ids.len();
        // Encoded as one text, so that the first answer token carries its leading space; a tokenizer that merges
        // across the border would train on tokens that generation never starts from.
        match whole.strip_prefix(&prompt[..]) {
            Some(answer_ids) => ids.extend(answer_ids),
            None => ids.extend(self.tokenizer.encode(answer)?),
        }
        ids.push(self.end);
        let mut labels = vec![IGNORED; answer_start];
        labels.extend(&ids[answer_start..]);
        Ok(Example { input_ids: ids, labels })
    }

    /// Tokens up to the image, and the text behind it.
    fn head(&self, text: &str, has_image: bool) -> Result<(Vec<i64>, String)> {
        let Template { system, user, after_image, assistant, .. } = &self.template;
        let mut ids = vec![self.start];
        if !has_image {
            return Ok((ids, format!("{system}{user}{text}{assistant}")));
        }
        ids.extend(self.tokenizer.encode(&format!("{system}{user}"))?);
        ids.extend(std::iter::repeat_n(self.image_token, self.image_tokens));
        Ok((ids, format!("{after_image}{text}{assistant}")))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Words `<unk> <s> </s> <image> <user> <assistant> what is this a cat dog` with ids in this order.
    pub(crate) fn words() -> Tokenizer {
        let words = [
            "<unk>",
            "<s>",
            "</s>",
            "<image>",
            "<user>",
            "<assistant>",
            "what",
            "is",
            "this",
            "a",
            "cat",
            "dog",
        ];
        let vocabulary: serde_json::Map<String, serde_json::Value> =
            words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
        let special: Vec<_> = words[..6]
            .iter()
            .enumerate()
            .map(|(id, word)| {
                serde_json::json!({"id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true})
            })
            .collect();
        let text = serde_json::json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": special,
            "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}});
        Tokenizer::from_bytes(text.to_string().as_bytes()).expect("a sound tokenizer")
    }

    #[test]
    fn only_answer_and_end_are_labelled() {
        let tokenizer = words();
        let prompter =
            Prompter::new(Template::named("tiny").expect("known"), &tokenizer, 3, 2).expect("fits");
        let example = prompter.example("what is this", true, "a cat").expect("encodes");
        assert_eq!(example.input_ids, [1, 4, 3, 3, 6, 7, 8, 5, 9, 10, 2]);
        assert_eq!(example.labels, [-100, -100, -100, -100, -100, -100, -100, -100, 9, 10, 2]);
        let prompt = prompter.prompt("what is this", true).expect("encodes");
        assert_eq!(prompt, example.input_ids[..8]);
    }

    #[test]
    fn without_a_picture_there_are_no_image_tokens() {
        let tokenizer = words();
        let prompter =
            Prompter::new(Template::named("tiny").expect("known"), &tokenizer, 3, 2).expect("fits");
        assert_eq!(prompter.prompt("what is a dog", false).expect("encodes"), [1, 4, 6, 7, 9, 11, 5]);
    }

    #[test]
    fn an_unknown_template_or_token_is_named() {
        let message = Template::named("alpaca").expect_err("unknown").to_string();
        assert!(message.contains("alpaca") && message.contains("vicuna_v1"), "{message}");
        let mut template = Template::named("plain").expect("known");
        template.end = Cow::Borrowed("<eos>");
        let message = Prompter::new(template, &words(), 3, 2).err().expect("no such token").to_string();
        assert!(message.contains("<eos>"), "{message}");
    }
}
