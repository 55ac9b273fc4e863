//! An OpenAI-compatible server, and its key, which is in no message and no file.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use ureq::Agent;

use super::bad;
use super::message::Request;
use super::verdicts::Verdict;
use crate::config::Judge;
use crate::web;

const URL: &str = "COIN_HOST_JUDGE_URL";
const MODEL: &str = "COIN_HOST_JUDGE_MODEL";
const KEY: &str = "OPENAI_API_KEY";

/// Longest reply that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// A key shorter than this is a stand-in for servers without keys; taken out of replies, it would change scores.
const SHORTEST_SECRET: usize = 8;

/// The longest `Retry-After` and the longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A secret without `Debug` or `Display`.
struct Key(String);

pub(super) struct Endpoint {
    /// As configured: it holds no secret.
    pub(super) url: String,
    pub(super) model: String,
    key: Option<Key>,
    agent: Agent,
    timeout: Duration,
}

/// Why a try gave no verdict.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another try may help, not before this time if the server says one.
    /// `answered`: the model replied, which is paid for, and nothing can be read from it.
    Passing { reason: String, wait: Option<Duration>, answered: bool },
    /// This request will not do.
    Refused(String),
    /// No request will do.
    Fatal(String),
}

impl Endpoint {
    /// # Errors
    /// What is missing, or holds a secret where none belongs.
    pub(super) fn new(config: &Judge) -> Result<Endpoint> {
        let from = |own: &Option<String>, name: &str| {
            own.clone().or_else(|| std::env::var(name).ok()).filter(|text| !text.trim().is_empty())
        };
        let missing = |key: &str, variable: &str, example: &str| {
            bad(&format!(
                "`judge.{key}` is missing\nhint: `--set judge.{key}={example}`, a `[judge]` table in `--config FILE`, or {variable} in the environment"
            ))
        };
        let url = from(&config.url, URL).ok_or_else(|| missing("url", URL, "http://127.0.0.1:8000/v1"))?;
        let model = from(&config.model, MODEL).ok_or_else(|| missing("model", MODEL, "NAME"))?;
        let url = url.trim().trim_end_matches('/').trim_end_matches("/chat/completions").to_owned();
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
            return Err(bad(
                "`judge.url` is no address\nhint: for example `https://api.openai.com/v1` or `http://127.0.0.1:8000/v1`",
            ));
        };
        if rest.contains(['@', '?', '#']) {
            return Err(bad(
                "`judge.url` holds credentials or a query, which would end up in files\nhint: put the key into an environment variable and \
                 name that with `judge.key_env`",
            ));
        }
        let key = key(config.key_env.as_deref())?;
        let local = url.parse().is_ok_and(|address| web::is_this_machine(&address));
        if key.is_some() && config.key_env.is_some() && url.starts_with("http://") && !local {
            return Err(bad(
                "`judge.url` is plain http to another machine: the key would travel in the open\nhint: use https",
            ));
        }
        // A key that nobody asked for goes over TLS or stays on this machine.
        let key = key.filter(|_| url.starts_with("https://") || local);
        let timeout = Duration::from_secs_f64(config.timeout_seconds.min(86_400.0));
        let agent = Agent::config_builder()
            .tls_config(web::certificates(url.starts_with("https://"))?)
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .build()
            .new_agent();
        Ok(Endpoint { url, model, key, agent, timeout })
    }

    /// Asks once.
    pub(super) fn ask(&self, request: &Request) -> Result<Verdict, Failure> {
        let passing =
            |reason: String| Failure::Passing { reason: self.clean(&reason), wait: None, answered: false };
        let mut post = self
            .agent
            .post(format!("{}/chat/completions", self.url))
            .header("Content-Type", "application/json");
        if let Some(Key(key)) = &self.key {
            post = post.header("Authorization", format!("Bearer {key}"));
        }
        let mut response = post.send(request.body.to_string()).map_err(|error| match error {
            ureq::Error::Timeout(_) => passing(format!("no reply within {} s", self.timeout.as_secs_f64())),
            other => passing(format!("no connection: {other}")),
        })?;
        let status = response.status().as_u16();
        let after = response
            .headers()
            .get("Retry-After")
            .and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
        let wait = after
            .filter(|seconds| *seconds >= 0.0)
            .map(|seconds| Duration::from_secs_f64(seconds.min(86_400.0)).min(LONGEST_WAIT));
        let body = response.body_mut().with_config().limit(LONGEST).read_to_string();
        let body = match body {
            Ok(body) => body,
            Err(ureq::Error::Timeout(_)) => {
                return Err(passing(format!(
                    "the reply was not whole within {} s",
                    self.timeout.as_secs_f64()
                )));
            }
            Err(error) => return Err(passing(format!("the reply broke off: {error}"))),
        };
        match status {
            200..=299 => self.verdict(request, &body).map_err(|reason| Failure::Passing {
                reason: self.clean(&reason),
                wait: None,
                answered: true,
            }),
            408 | 425 | 429 | 500..=599 => {
                let reason = self.clean(&format!("status {status}{}", said(&body)));
                Err(Failure::Passing { reason, wait, answered: false })
            }
            401 | 403 => Err(Failure::Fatal(
                self.clean(&format!("status {status}: the key is missing or refused{}", said(&body))),
            )),
            300..=399 => Err(Failure::Fatal(format!(
                "status {status}: the server points elsewhere; set `judge.url` to that address"
            ))),
            404 | 405 => Err(Failure::Fatal(
                self.clean(&format!("status {status}: no such address or model{}", said(&body))),
            )),
            _ => Err(Failure::Refused(self.clean(&format!("status {status}{}", said(&body))))),
        }
    }

    fn verdict(&self, request: &Request, body: &str) -> Result<Verdict, String> {
        let value: Value = match body.trim().is_empty() {
            true => return Err("the reply is empty".to_owned()),
            false => serde_json::from_str(body).map_err(|error| format!("the reply is no JSON: {error}"))?,
        };
        let text =
            value["choices"][0]["message"]["content"].as_str().map(str::trim).filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| format!("the reply holds no text{}", said(body)))?;
        let count = |key: &str| value["usage"][key].as_u64();
        Ok(Verdict {
            key: request.key.clone(),
            reply: self.clean(text),
            prompt_tokens: count("prompt_tokens").unwrap_or_else(|| request.tokens()),
            completion_tokens: count("completion_tokens").unwrap_or((text.len() as u64).div_ceil(4)),
        })
    }

    /// A text of the server's without the key, should it have sent that back.
    fn clean(&self, text: &str) -> String {
        match &self.key {
            Some(Key(key)) if key.len() >= SHORTEST_SECRET => text.replace(key.as_str(), "***"),
            _ => text.to_owned(),
        }
    }
}

/// The wait before a further try: what the server says, else doubled with each try that failed.
pub(super) fn wait(backoff: f64, failed: usize, server: Option<Duration>) -> Duration {
    let doubled = backoff * 2f64.powi(failed.saturating_sub(1).min(30) as i32);
    server.unwrap_or_else(|| Duration::from_secs_f64(doubled.min(LONGEST_WAIT.as_secs_f64())))
}

/// The key: of the variable that is named, which then must be there, or of the usual one if it is.
fn key(named: Option<&str>) -> Result<Option<Key>> {
    let found = std::env::var(named.unwrap_or(KEY))
        .ok()
        .map(|key| key.trim().to_owned())
        .filter(|key| !key.is_empty());
    match (found, named) {
        (Some(key), _) if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(Key(key))),
        (Some(_), _) => Err(bad(&format!(
            "the key in {} holds blanks or other characters that no key has",
            named.unwrap_or(KEY)
        ))),
        (None, None) => Ok(None),
        (None, Some(name)) => Err(bad(&format!(
            "`judge.key_env` names `{}`, which is not in the environment\nhint: `export {}=..`, or leave `judge.key_env` away for a server without keys",
            shown_name(name),
            shown_name(name)
        ))),
    }
}

/// A name of a variable; whatever else stands there may be a key.
fn shown_name(name: &str) -> &str {
    let is_name = name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if is_name { name } else { "a text that is no name of a variable" }
}

/// The start of what a server said, in one line.
fn said(body: &str) -> String {
    let line = body.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.is_empty() {
        true => String::new(),
        false => format!(": {}", line.chars().take(200).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_the_server_goes_first() {
        let seconds = |failed| wait(1.0, failed, None).as_secs_f64();
        assert_eq!([1, 2, 3, 7, 99].map(seconds), [1.0, 2.0, 4.0, 60.0, 60.0]);
        assert_eq!(wait(1.0, 3, Some(Duration::from_secs(9))).as_secs(), 9);
    }

    #[test]
    fn an_address_with_a_secret_is_refused_without_repeating_it() {
        for url in ["https://me:s3cret@host/v1", "https://host/v1?key=s3cret", "s3cret"] {
            let config = Judge { url: Some(url.into()), model: Some("m".into()), ..Judge::default() };
            let error = Endpoint::new(&config).err().expect("refused").to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
