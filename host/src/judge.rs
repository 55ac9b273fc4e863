//! A language model judges the kept answers of a run (CoIN's general knowledge), through any OpenAI-compatible server. Judging is
//! separate from answering; every verdict is on disk before the next one counts on it.

mod asking;
mod endpoint;
mod message;
mod verdicts;

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::config::Judge;
use crate::data::bad_input::BadInput;
use crate::eval::measure::{KNOWLEDGE_JUDGE, KNOWLEDGE_JUDGE_COIN};
use crate::eval::scorer::{coin, judge};
use crate::kept::{Answered, Column, KeptRun};
use crate::report::results::JudgeRecord;
use asking::Asking;
use endpoint::Endpoint;
use message::{Messages, Request};
use verdicts::{Verdict, Verdicts};

/// A run's answers, about to be judged.
pub struct Judging {
    config: Judge,
    endpoint: Endpoint,
    messages: Messages,
    /// What is not known yet, each once.
    missing: Vec<Request>,
    verdicts: Verdicts,
}

impl Judging {
    /// Finds out what is to be asked. Nothing is sent.
    ///
    /// # Errors
    /// No address or model, a key that is not there, answers or verdicts that cannot be read.
    pub fn prepare(run: &KeptRun, config: &Judge) -> Result<Judging> {
        let endpoint = Endpoint::new(config)?;
        let messages = Messages::new(config, &endpoint.model)?;
        let verdicts = Verdicts::open(&run.folder().join("judge"))?;
        let mut missing = BTreeMap::new();
        run.each(|answered| {
            for request in messages.of(answered) {
                if !verdicts.has(&request.key) {
                    missing.entry(request.key.clone()).or_insert(request);
                }
            }
            Ok(())
        })?;
        Ok(Judging {
            config: config.clone(),
            endpoint,
            messages,
            missing: missing.into_values().collect(),
            verdicts,
        })
    }

    /// What is to be asked, and what it is expected to cost.
    pub fn estimate(&self) -> String {
        let (input, output) = self.tokens();
        let known = self.verdicts.len();
        let mut text = format!(
            "judge {} at {}: {} to ask, {known} verdicts kept; about {input} tokens of messages and up to {output} of replies",
            self.endpoint.model,
            self.endpoint.url,
            counted(self.missing.len(), "verdict")
        );
        if let Some(cost) = self.cost(input, output) {
            text.push_str(&format!(", cost about {cost:.2}"));
            if let Some(cap) = self.config.max_cost {
                text.push_str(&format!(" (cap {cap:.2})"));
            }
        }
        text
    }

    /// Tokens of messages and of replies: a token for four bytes, a few for the frame of each message.
    fn tokens(&self) -> (u64, u64) {
        let input = self.missing.iter().map(Request::tokens).sum();
        (input, self.missing.len() as u64 * self.config.max_tokens.max(1) as u64)
    }

    fn cost(&self, input: u64, output: u64) -> Option<f64> {
        price(&self.config, input, output)
    }

    /// Asks for every missing verdict; each is kept as it comes. `note` hears how far it is.
    ///
    /// # Errors
    /// An estimate beyond the cap; verdicts that could not be had, with those so far kept.
    pub fn ask(mut self, note: &mut dyn FnMut(&str)) -> Result<Judged> {
        if let Some(cap) = self.config.max_cost {
            let (input, output) = self.tokens();
            let cost = self.cost(input, output).ok_or_else(|| {
                bad("`judge.max_cost` is set, but no price\nhint: set `judge.price_per_million_input` and `judge.price_per_million_output`")
            })?;
            if cost > cap {
                return Err(bad(&format!(
                    "judging is estimated to cost {cost:.2}, the cap is {cap:.2}; nothing was asked\n\
                     hint: raise `judge.max_cost`, or judge the first items of each task with `judge.limit`"
                )));
            }
        }
        if !self.missing.is_empty() {
            let asking = Asking::new(&self.config, &self.endpoint, &self.missing);
            asking.run(&mut self.verdicts, note)?;
        }
        let Judging { config, endpoint, messages, verdicts, .. } = self;
        Ok(Judged { config, url: endpoint.url, model: endpoint.model, messages, verdicts })
    }
}

/// A run all of whose answers are judged.
pub struct Judged {
    config: Judge,
    url: String,
    model: String,
    messages: Messages,
    verdicts: Verdicts,
}

impl Judged {
    /// Puts the scores into a run's results, in memory: the verdicts read strictly, and read as CoIN's script does. Returns what a reader
    /// of the scores has to know.
    ///
    /// # Errors
    /// Answers that cannot be read, or that changed meanwhile.
    pub fn fill(&self, run: &mut KeptRun) -> Result<Vec<String>> {
        let mut remarks = Vec::new();
        let mut columns = vec![Column {
            name: KNOWLEDGE_JUDGE,
            score: Box::new(|answered| {
                let replies = self.replies(answered)?;
                let points = |reply: &&Verdict| judge::score(&reply.reply).unwrap_or(0.0);
                let sum: f64 = replies.iter().map(|votes| mean(votes.iter().map(points))).sum();
                Ok((10.0 * sum / replies.len().max(1) as f64, replies.len() as u64))
            }),
        }];
        // Where CoIN's script crashes there is no figure to show.
        let crash = self.used(run)?.values().find_map(|verdict| coin::judge::points(&verdict.reply).err());
        match crash {
            Some(error) => remarks
                .push(format!("{KNOWLEDGE_JUDGE_COIN} is left out, since CoIN's script crashes: {error}")),
            None => columns.push(Column {
                name: KNOWLEDGE_JUDGE_COIN,
                score: Box::new(|answered| {
                    let replies = self.replies(answered)?;
                    let points = |reply: &&Verdict| coin::judge::points(&reply.reply).unwrap_or(0.0);
                    let sum: f64 = replies.iter().map(|votes| mean(votes.iter().map(points))).sum();
                    let percent = (10.0 * sum / replies.len().max(1) as f64).round_ties_even();
                    Ok((percent.clamp(0.0, 100.0), replies.len() as u64))
                }),
            }),
        }
        run.fill(&columns)?;
        drop(columns);
        let record = self.record(run)?;
        if record.unread > 0 {
            remarks.push(format!(
                "{} of {} replies have no number from 0 to 10: they count 0",
                record.unread, record.replies
            ));
        }
        run.results.judge = Some(record);
        Ok(remarks)
    }

    /// The verdicts on the answers to a task's questions: those on an answer together.
    fn replies(&self, answered: &Answered) -> Result<Vec<Vec<&Verdict>>> {
        let requests: Vec<Request> = self.messages.of(answered).collect();
        let one = |request: &Request| {
            self.verdicts.get(&request.key).context("an answer changed while it was judged")
        };
        requests.chunks(self.config.votes).map(|votes| votes.iter().map(one).collect()).collect()
    }

    /// The verdicts that this judge gave on this run: others may be kept beside them.
    fn used(&self, run: &KeptRun) -> Result<BTreeMap<String, &Verdict>> {
        let mut used = BTreeMap::new();
        run.each(|answered| {
            for request in self.messages.of(answered) {
                if let Some(verdict) = self.verdicts.get(&request.key) {
                    used.insert(request.key, verdict);
                }
            }
            Ok(())
        })?;
        Ok(used)
    }

    fn record(&self, run: &KeptRun) -> Result<JudgeRecord> {
        let (mut items, mut agreement, mut replies, mut unread) = (0u64, 0.0, 0u64, 0u64);
        run.each(|answered| {
            for votes in self.replies(answered)? {
                let scores: Vec<Option<f64>> = votes.iter().map(|vote| judge::score(&vote.reply)).collect();
                let same = |score: &Option<f64>| scores.iter().filter(|other| *other == score).count();
                let most = scores.iter().map(same).max().unwrap_or(0);
                agreement += most as f64 / scores.len().max(1) as f64;
                unread += scores.iter().filter(|score| score.is_none()).count() as u64;
                replies += scores.len() as u64;
                items += 1;
            }
            Ok(())
        })?;
        let used = self.used(run)?;
        let tokens = |count: fn(&Verdict) -> u64| used.values().map(|verdict| count(verdict)).sum::<u64>();
        let (input, output) =
            (tokens(|verdict| verdict.prompt_tokens), tokens(|verdict| verdict.completion_tokens));
        Ok(JudgeRecord {
            url: self.url.clone(),
            model: self.model.clone(),
            temperature: self.config.temperature,
            votes: self.config.votes,
            rule_sha256: self.messages.rule_sha256(),
            items,
            replies,
            unread,
            agreement: (self.config.votes > 1).then(|| 100.0 * agreement / items.max(1) as f64),
            prompt_tokens: input,
            completion_tokens: output,
            cost: price(&self.config, input, output),
        })
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1);
    values.sum::<f64>() / count as f64
}

/// What tokens cost; none where a price is not known.
fn price(config: &Judge, input: u64, output: u64) -> Option<f64> {
    let million = |tokens: u64, price: f64| tokens as f64 * price / 1e6;
    Some(million(input, config.price_per_million_input?) + million(output, config.price_per_million_output?))
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn bad(message: &str) -> anyhow::Error {
    BadInput::from(anyhow::anyhow!(message.to_owned())).into()
}
