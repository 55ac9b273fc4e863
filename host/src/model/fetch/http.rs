//! Files over HTTP, with a limit on their size.

use std::cell::OnceCell;
use std::io::{Read as _, Write};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use sha2::{Digest as _, Sha256};
use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::http::Uri;

use crate::web;

const CONNECT: Duration = Duration::from_secs(20);
const RESPONSE: Duration = Duration::from_secs(60);
/// For the body of a file of many gigabytes.
const BODY: Duration = Duration::from_secs(12 * 3_600);

/// What asks servers.
pub(super) struct Client {
    /// For addresses that are encrypted, and for others, each made when it is first needed.
    agents: [OnceCell<Agent>; 2],
    /// Sent as `Authorization: Bearer`, to the host that is asked and to no other. Never shown.
    token: Option<String>,
}

/// What was downloaded.
pub(super) struct Download {
    pub size: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}

impl Client {
    pub(super) fn new(token: Option<String>) -> Client {
        Client { agents: Default::default(), token }
    }

    /// What asks this address.
    fn agent(&self, address: &str) -> Result<&Agent> {
        let encrypted = is_encrypted(address);
        let cell = &self.agents[usize::from(encrypted)];
        if let Some(agent) = cell.get() {
            return Ok(agent);
        }
        let agent = Agent::config_builder()
            .tls_config(web::certificates(encrypted)?)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(RESPONSE))
            .timeout_recv_body(Some(BODY))
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("coin-host/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(cell.get_or_init(|| agent.into()))
    }

    /// A file of at most `most` bytes, in memory.
    pub(super) fn get(&self, address: &str, accept: &str, most: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.download(address, accept, most, &mut bytes)?;
        Ok(bytes)
    }

    /// The same, written to `sink` as it comes.
    pub(super) fn download(
        &self,
        address: &str,
        accept: &str,
        most: u64,
        sink: &mut impl Write,
    ) -> Result<Download> {
        let mut request = self.agent(address)?.get(address).header("Accept", accept);
        if let Some(token) = &self.token {
            ensure!(
                may_carry_token(address),
                "the token in HF_TOKEN would go unencrypted to {address}\nhint: use https, or unset HF_TOKEN"
            );
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let response = request.call().map_err(|error| self.failed(address, &error))?;
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let (mut hash, mut size) = (Sha256::new(), 0);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = body.read(&mut buffer).with_context(|| {
                format!("{address} broke off after {size} bytes\nhint: run the command again")
            })?;
            if count == 0 {
                let sha256 = format!("{:x}", hash.finalize());
                return Ok(Download { size, sha256 });
            }
            size += count as u64;
            ensure!(
                size <= most,
                "{address} has more than the {most} bytes that are expected\nhint: the server sends another file"
            );
            hash.update(&buffer[..count]);
            sink.write_all(&buffer[..count]).context("a downloaded file cannot be written")?;
        }
    }

    fn failed(&self, address: &str, error: &ureq::Error) -> anyhow::Error {
        let hint = match error {
            ureq::Error::StatusCode(401 | 403) if self.token.is_none() => {
                "a private or gated model needs a token in HF_TOKEN"
            }
            ureq::Error::StatusCode(401 | 403) => "the token in HF_TOKEN does not open this",
            ureq::Error::StatusCode(404) => "there is no such file; is the name right?",
            ureq::Error::StatusCode(_) => "the server has a problem; try again later",
            _ => {
                "is this machine connected? Behind a proxy set HTTPS_PROXY, and SSL_CERT_FILE where it has a certificate of its own; a machine without a network takes a copy of the finished folder"
            }
        };
        anyhow!("{address} cannot be fetched: {error}\nhint: {hint}")
    }
}

/// Encrypted, or to this machine.
fn may_carry_token(address: &str) -> bool {
    is_encrypted(address) || address.parse().is_ok_and(|address| web::is_this_machine(&address))
}

fn is_encrypted(address: &str) -> bool {
    address.parse::<Uri>().is_ok_and(|address| address.scheme_str() == Some("https"))
}

/// The address that `reference` means on the page at `base`.
pub(super) fn join(base: &str, reference: &str) -> Result<String> {
    if reference.starts_with("https://") || reference.starts_with("http://") {
        return Ok(reference.to_owned());
    }
    let (scheme, rest) = base.split_once("://").with_context(|| format!("`{base}` is not a web address"))?;
    if let Some(rest) = reference.strip_prefix("//") {
        return Ok(format!("{scheme}://{rest}"));
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    let reference = match reference.strip_prefix('/') {
        Some(reference) => {
            parts.clear();
            reference
        }
        None => reference,
    };
    for part in reference.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." => {}
            part => parts.push(part),
        }
    }
    Ok(format!("{scheme}://{host}/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_against_their_page() {
        let page = "https://index.example/simple/name/";
        for (reference, address) in [
            ("https://files.example/a.whl", "https://files.example/a.whl"),
            ("//files.example/a.whl", "https://files.example/a.whl"),
            ("/packages/a.whl", "https://index.example/packages/a.whl"),
            ("../../packages/a.whl", "https://index.example/packages/a.whl"),
            ("a.whl", "https://index.example/simple/name/a.whl"),
        ] {
            assert_eq!(join(page, reference).unwrap(), address);
        }
    }

    #[test]
    fn a_token_goes_nowhere_in_the_clear() {
        assert!(may_carry_token("https://hub.example/a"));
        assert!(may_carry_token("http://127.0.0.1:80/a") && !may_carry_token("http://hub.example/a"));
        let client = Client::new(Some("secret".into()));
        let message = format!("{:#}", client.get("http://hub.example/a", "*/*", 1).unwrap_err());
        assert!(message.contains("HF_TOKEN") && !message.contains("secret"), "{message}");
    }
}
