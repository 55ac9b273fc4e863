//! Files from the web: over https, small enough, in time, from where they were asked for.

use std::time::Duration;

use anyhow::{Result, bail};
use ureq::Agent;
use ureq::http::Uri;

use super::PluginError;
use crate::config::ConfigError;
use crate::web;

/// Until a server must answer, and until all of a file must be there.
const CONNECT: Duration = Duration::from_secs(15);
const WHOLE: Duration = Duration::from_secs(600);
const MOST_REDIRECTS: u32 = 3;

/// Whether a text is a web address, of whatever kind.
pub fn is_address(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// Gets a file of at most so many bytes. Without encryption only from this machine, or where `insecure` is set.
///
/// # Errors
/// [`ConfigError`] for what is no address, [`PluginError::Refused`] for an address or a size that is refused; else why the file cannot
/// be had.
pub fn get(address: &str, most: u64, insecure: bool) -> Result<Vec<u8>> {
    let refused = |reason: String| -> anyhow::Error { PluginError::refused(address, reason).into() };
    let Ok(uri) = address.parse::<Uri>() else {
        let hint = "as in https://plugins.example.org/lora.coinplugin.tar.zst";
        return Err(ConfigError::new(format!("{address} is not a web address")).hint(hint).into());
    };
    let encrypted = uri.scheme_str() == Some("https");
    if !encrypted && !web::is_this_machine(&uri) && !insecure {
        return Err(refused("what comes over http can be changed on its way\nhint: use https; --insecure-http takes it all the same".into()));
    }
    let agent: Agent = Agent::config_builder()
        .tls_config(web::certificates(encrypted)?)
        .https_only(encrypted)
        // Nothing leads from this machine or from an unencrypted server elsewhere.
        .max_redirects(if encrypted { MOST_REDIRECTS } else { 0 })
        .max_redirects_will_error(true)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(CONNECT))
        .timeout_global(Some(WHOLE))
        .user_agent(concat!("coin-host/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let failed = |error: ureq::Error| {
        anyhow::anyhow!(
            "{address} cannot be fetched: {error}\nhint: is the address right, and the network there?"
        )
    };
    let mut response = agent.get(address).call().map_err(failed)?;
    if response.status().is_redirection() {
        bail!(
            "{address} leads elsewhere, which is followed over https only\nhint: give the address it leads to"
        );
    }
    let large = || {
        refused(format!(
            "it has more than {most} bytes, too much for what it should be\nhint: ask its author"
        ))
    };
    if response.body().content_length().is_some_and(|length| length > most) {
        return Err(large());
    }
    match response.body_mut().with_config().limit(most + 1).read_to_vec() {
        Ok(bytes) if bytes.len() as u64 <= most => Ok(bytes),
        Ok(_) | Err(ureq::Error::BodyExceedsLimit(_)) => Err(large()),
        Err(error) => Err(failed(error)),
    }
}
