//! Prompt templates: how a question, a picture and an answer become one sequence of tokens.

use std::borrow::Cow;

use anyhow::{Context, Result, ensure};
use coin_plugin_api::TURN;
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
    /// Token that every sequence begins with; empty for what the tokenizer itself puts before a text.
    pub start: Cow<'static, str>,
    pub system: Cow<'static, str>,
    pub user: Cow<'static, str>,
    pub after_image: Cow<'static, str>,
    pub assistant: Cow<'static, str>,
    pub before_answer: Cow<'static, str>,
    /// Token that ends an answer; of a caption the text that ends it.
    pub end: Cow<'static, str>,
    /// The sequence is `start image ANSWER end` and nothing else, whatever was asked.
    pub caption: bool,
}

impl Template {
    /// One of the built-in templates: `tiny` (the quickstart's backbone), `vicuna_v1` (LLaVA 1.5), `smollm2`
    /// (ChatML as SmolLM2 was tuned with it), `plain` (captions, as LLaVA's code trains the projector on them: `preprocess_plain`).
    pub fn named(name: &str) -> Result<Template> {
        let template = |name, system, user, after_image, assistant, before_answer| Template {
            name: Cow::Borrowed(name),
            start: Cow::Borrowed(if name == "tiny" { "<s>" } else { "" }),
            system: Cow::Borrowed(system),
            user: Cow::Borrowed(user),
            after_image: Cow::Borrowed(after_image),
            assistant: Cow::Borrowed(assistant),
            before_answer: Cow::Borrowed(before_answer),
            end: Cow::Borrowed(match name {
                "smollm2" => "<|im_end|>",
                "plain" => "\n",
                _ => "</s>",
            }),
            caption: name == "plain",
        };
        match name {
            "tiny" => Some(template("tiny", "", "<user>", "", " <assistant>", " ")),
            "vicuna_v1" => Some(template("vicuna_v1", VICUNA_SYSTEM, "USER: ", "\n", " ASSISTANT:", " ")),
            "smollm2" => {
                let (user, assistant) = ("\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n");
                Some(template("smollm2", SMOLLM2_SYSTEM, user, "\n", assistant, ""))
            }
            "plain" => Some(template("plain", "", "", "", "", "")),
            _ => None,
        }
        .with_context(|| {
            format!("no prompt template is named `{name}`\nhint: use tiny, vicuna_v1, smollm2 or plain")
        })
    }
}

const VICUNA_SYSTEM: &str = "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the human's questions. ";

/// What the chat template of the checkpoint puts first where nobody else does.
const SMOLLM2_SYSTEM: &str =
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>";

/// A sequence to train on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    pub input_ids: Vec<i64>,
    /// The token itself where it is part of the answer or ends it, else [`IGNORED`].
    pub labels: Vec<i64>,
}

/// A question and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round<'t> {
    pub prompt: &'t str,
    pub answer: &'t str,
}

/// A template together with the tokenizer and the image tokens of a backbone.
///
/// A sequence is tokenised as one text in which the image token stands once, and that token is then repeated: what transformers'
/// `LlavaProcessor` computes, which repeats it in the text. LLaVA's own code tokenises the texts on both sides of the picture one by
/// one; with the tokenizers that Llama and Vicuna were published with, both give the same ids.
pub struct Prompter<'a> {
    template: Template,
    tokenizer: &'a Tokenizer,
    start: Vec<i64>,
    end: i64,
    image: String,
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
        let start = match &*template.start {
            "" => tokenizer.leading()?,
            start => vec![tokenizer.id(start)?],
        };
        let end = match template.caption {
            false => tokenizer.id(&template.end)?,
            true => *tokenizer.encode(&template.end)?.last().with_context(|| {
                format!("the tokenizer has no token for {:?}, which ends a text of the template `{}`\nhint: use the template that the language model was tuned with", template.end, template.name)
            })?,
        };
        let image = tokenizer.token(image_token).with_context(|| {
            format!("the tokenizer has no token with the image token's id {image_token}\nhint: tokenizer.json and config.json must come from the same checkpoint")
        })?;
        Ok(Prompter { template, tokenizer, start, end, image, image_token, image_tokens })
    }

    /// The token that ends an answer.
    pub fn end_token(&self) -> i64 {
        self.end
    }

    /// The sequence up to where the answer begins. Earlier turns of a conversation stand in the text, each with [`TURN`] behind it.
    pub fn prompt(&self, text: &str, has_image: bool) -> Result<Vec<i64>> {
        if self.template.caption {
            self.check_caption(text.matches(TURN).count() / 2 + 1, has_image)?;
            return self.expanded(self.encode(&self.image, has_image)?);
        }
        let Template { user, assistant, before_answer, end, .. } = &self.template;
        let mut turns = text.split(TURN);
        let mut opening = self.opening(turns.next().unwrap_or_default(), has_image);
        while let (Some(answer), Some(prompt)) = (turns.next(), turns.next()) {
            opening += &format!("{before_answer}{answer}{end}{user}{prompt}{assistant}");
        }
        self.expanded(self.encode(&opening, has_image)?)
    }

    /// The whole sequence with its labels. The text is that of [`Self::prompt`]; every answer in it is labelled, as LLaVA does.
    pub fn example(&self, text: &str, has_image: bool, answer: &str) -> Result<Example> {
        let turns: Vec<&str> = text.split(TURN).chain([answer]).collect();
        let rounds: Vec<Round> =
            turns.chunks_exact(2).map(|turn| Round { prompt: turn[0], answer: turn[1] }).collect();
        self.conversation(&rounds, has_image)
    }

    /// The same for several rounds, each of whose answers is labelled; the picture stands in the first.
    pub fn conversation(&self, rounds: &[Round], has_image: bool) -> Result<Example> {
        let Template { user, assistant, before_answer, end, .. } = &self.template;
        let mut text = String::new();
        // Of each answer: tokens before it, and after it with its end.
        let mut borders: Vec<(usize, usize)> = Vec::new();
        let mut ids: Vec<i64> = Vec::new();
        if self.template.caption {
            self.check_caption(rounds.len(), has_image)?;
            text = self.image.clone();
        }
        for (number, Round { prompt, answer }) in rounds.iter().enumerate() {
            match number {
                _ if self.template.caption => {}
                0 => text = self.opening(prompt, has_image),
                _ => text += &format!("{end}{user}{prompt}{assistant}"),
            }
            let before = self.encode(&text, has_image)?;
            text += &format!("{before_answer}{answer}");
            if self.template.caption {
                text += end;
            }
            ids = self.encode(&text, has_image)?;
            // A tokenizer that merges across the border makes one token of the question's end and the answer's start: it is labelled.
            let shared = before.iter().zip(&ids).take_while(|(a, b)| a == b).count();
            borders.push((shared, ids.len() + usize::from(!self.template.caption)));
        }
        ensure!(!borders.is_empty(), "a conversation without a question");
        if !self.template.caption {
            ids.push(self.end);
        }
        let mut labels = vec![IGNORED; ids.len()];
        for (start, end) in borders {
            labels[start..end].copy_from_slice(&ids[start..end]);
        }
        let added = if has_image { self.image_tokens.max(1) - 1 } else { 0 };
        let place = labels.len() - ids.iter().rev().take_while(|&&id| id != self.image_token).count();
        if has_image {
            labels.splice(place..place, std::iter::repeat_n(IGNORED, added));
        }
        Ok(Example { input_ids: self.expanded(ids)?, labels })
    }

    /// As many tokens as [`Self::example`] may have at most, without tokenising anything: none is less than a byte, and the mark that
    /// tokenizers of Llama's kind put in the place of a space has three.
    pub fn at_most(&self, text: &str, answer: &str) -> usize {
        let Template { system, user, after_image, assistant, before_answer, end, .. } = &self.template;
        let turns = text.matches(TURN).count() / 2 + 1;
        let of_turn =
            [user, after_image, assistant, before_answer, end].map(|part| part.len()).iter().sum::<usize>();
        self.image_tokens
            + self.start.len()
            + 1
            + 3 * (text.len() + answer.len() + system.len() + turns * of_turn + 1)
    }

    fn check_caption(&self, rounds: usize, has_image: bool) -> Result<()> {
        ensure!(
            rounds == 1 && has_image,
            "the template `{}` is for one picture and its caption, and here {}\nhint: use the template that the language model was tuned with",
            self.template.name,
            if has_image { format!("are {rounds} questions") } else { "is no picture".to_owned() }
        );
        Ok(())
    }

    /// The text up to where the first answer begins.
    fn opening(&self, text: &str, has_image: bool) -> String {
        let Template { system, user, after_image, assistant, .. } = &self.template;
        match has_image {
            true => format!("{system}{user}{}{after_image}{text}{assistant}", self.image),
            false => format!("{system}{user}{text}{assistant}"),
        }
    }

    /// Ids with the image token once, if there is a picture.
    fn encode(&self, text: &str, has_image: bool) -> Result<Vec<i64>> {
        let mut ids = self.start.clone();
        ids.extend(self.tokenizer.encode(text)?);
        let found = ids.iter().filter(|&&id| id == self.image_token).count();
        ensure!(
            found == usize::from(has_image),
            "a text holds the image token `{}` where no picture stands: {:?}\nhint: a sample has one picture or none, and its text does not name the token",
            self.image,
            shortened(text)
        );
        Ok(ids)
    }

    /// The image token once for each visual token.
    fn expanded(&self, ids: Vec<i64>) -> Result<Vec<i64>> {
        let mut expanded = Vec::with_capacity(ids.len() + self.image_tokens);
        for id in ids {
            let count = if id == self.image_token { self.image_tokens } else { 1 };
            expanded.extend(std::iter::repeat_n(id, count));
        }
        Ok(expanded)
    }
}

fn shortened(text: &str) -> String {
    text.chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect()
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
    fn every_answer_of_a_conversation_is_labelled() {
        let tokenizer = words();
        let prompter =
            Prompter::new(Template::named("tiny").expect("known"), &tokenizer, 3, 3).expect("fits");
        let rounds = [Round { prompt: "what", answer: "a cat" }, Round { prompt: "is", answer: "a dog" }];
        let example = prompter.conversation(&rounds, true).expect("encodes");
        assert_eq!(example.input_ids, [1, 4, 3, 3, 3, 6, 5, 9, 10, 2, 4, 7, 5, 9, 11, 2]);
        let answers = [IGNORED; 7].into_iter().chain([9, 10, 2]).chain([IGNORED; 3]).chain([9, 11, 2]);
        assert_eq!(example.labels, answers.collect::<Vec<_>>());
    }

    #[test]
    fn earlier_turns_are_read_as_a_conversation() {
        let tokenizer = words();
        let prompter =
            Prompter::new(Template::named("tiny").expect("known"), &tokenizer, 3, 3).expect("fits");
        let rounds = [Round { prompt: "what", answer: "a cat" }, Round { prompt: "is", answer: "a dog" }];
        let text = "what\u{1e}a cat\u{1e}is";
        let whole = prompter.conversation(&rounds, true).expect("encodes");
        assert_eq!(prompter.example(text, true, "a dog").expect("encodes"), whole);
        assert_eq!(prompter.prompt(text, true).expect("encodes"), whole.input_ids[..13]);
    }

    #[test]
    fn smollm2_reads_like_its_own_chat_template() {
        let template = Template::named("smollm2").expect("known");
        let Template { system, user, after_image, assistant, before_answer, end, .. } = &template;
        assert_eq!(
            format!(
                "{system}{user}<image>{after_image}what{assistant}{before_answer}a cat{end}{user}and{assistant}"
            ),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
             <|im_start|>user\n<image>\nwhat<|im_end|>\n<|im_start|>assistant\na cat<|im_end|>\n\
             <|im_start|>user\nand<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    /// `preprocess_plain` of LLaVA's train.py at commit 0034661: the question makes way for the picture, the caption and a newline follow,
    /// both labelled, and nothing comes behind. Ids: transformers on the fixture's tokenizer, text by text as `tokenizer_image_token` does.
    #[test]
    fn plain_is_what_llava_trains_its_projector_on() {
        let tokenizer =
            Tokenizer::from_bytes(include_bytes!("../../../tests/fixtures/llava/model/tokenizer.json"))
                .expect("a sound tokenizer");
        let template = Template::named("plain").expect("known");
        let prompter = Prompter::new(template, &tokenizer, 418, 3).expect("fits");
        let caption = [317, 354, 300, 292, 391, 315, 355, 303, 374, 304, 259];
        let example = prompter.example("Describe.", true, "a dog on the grass").expect("encodes");
        assert_eq!(example.input_ids, [&[1, 418, 418, 418], &caption[..]].concat());
        assert_eq!(example.labels, [&[IGNORED; 4], &caption[..]].concat());
        assert_eq!(prompter.prompt("Describe.", true).expect("encodes"), [1, 418, 418, 418]);
        assert_eq!(prompter.end_token(), 259);
        for (text, has_image, said) in [("a", false, "no picture"), ("a\u{1e}b\u{1e}c", true, "2 questions")]
        {
            for error in [
                prompter.example(text, has_image, "x").map(|_| ()),
                prompter.prompt(text, has_image).map(|_| ()),
            ] {
                let error = error.expect_err("refused").to_string();
                assert!(error.contains(said) && error.contains("hint:"), "{error}");
            }
        }
        let error = Prompter::new(Template::named("plain").expect("known"), &words(), 3, 2).err();
        assert!(error.expect("no newline").to_string().contains("no token for \"\\n\""));
    }

    #[test]
    fn no_sequence_is_longer_than_its_bound() {
        let tokenizer =
            Tokenizer::from_bytes(include_bytes!("../../../tests/fixtures/llava/model/tokenizer.json"))
                .expect("a sound tokenizer");
        for name in ["vicuna_v1", "plain"] {
            let template = Template::named(name).expect("known");
            let prompter = Prompter::new(template, &tokenizer, 418, 16).expect("fits");
            for (text, answer) in
                [("", ""), ("what is this?", "a cat"), ("  \u{4e2d}\u{6587} \u{1f600} ~~", "\u{e9}\n\n")]
            {
                let found = prompter.example(text, true, answer).expect("encodes").input_ids.len();
                assert!(found <= prompter.at_most(text, answer), "{name}: {text:?} {answer:?}");
            }
        }
    }

    #[test]
    fn a_text_that_names_the_image_token_is_refused() {
        let tokenizer = words();
        let prompter =
            Prompter::new(Template::named("tiny").expect("known"), &tokenizer, 3, 2).expect("fits");
        let message = prompter.prompt("what <image> is", true).expect_err("refused").to_string();
        assert!(message.contains("`<image>`") && message.contains("hint:"), "{message}");
        assert!(prompter.example("what", false, "<image>").is_err());
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
        let mut template = Template::named("vicuna_v1").expect("known");
        template.end = Cow::Borrowed("<eos>");
        let message = Prompter::new(template, &words(), 3, 2).err().expect("no such token").to_string();
        assert!(message.contains("<eos>"), "{message}");
    }
}
