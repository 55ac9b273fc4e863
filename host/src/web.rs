//! What the parts that talk to servers have in common.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::data::bad_input::BadInput;

/// Whether an address means this machine, so that nothing sent there crosses a network.
pub fn is_this_machine(address: &Uri) -> bool {
    matches!(address.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// Whom a client trusts that asks an address: the certificates in the file that `SSL_CERT_FILE` names, as behind a proxy with one of its own;
/// else Mozilla's. An address that is not `encrypted` does without: where the file is not sound nobody is trusted, should it lead to one that is.
///
/// # Errors
/// [`BadInput`] for a file that cannot be read, holds none, or something between its lines that is none.
pub fn certificates(encrypted: bool) -> Result<TlsConfig> {
    let file = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    let roots = trusted(file.as_deref().map(Path::new), encrypted)?;
    Ok(TlsConfig::builder().root_certs(roots).build())
}

fn trusted(file: Option<&Path>, encrypted: bool) -> Result<RootCerts> {
    let Some(path) = file else { return Ok(RootCerts::WebPki) };
    match certificates_of(path) {
        Err(_) if !encrypted => Ok(RootCerts::Specific(Arc::default())),
        found => Ok(found.map_err(BadInput::from)?),
    }
}

fn certificates_of(path: &Path) -> Result<RootCerts> {
    let name = format!("SSL_CERT_FILE `{}`", path.display());
    let text = std::fs::read(path)
        .with_context(|| format!("{name} cannot be read\nhint: unset it, or correct it"))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&text) {
        let item = item.with_context(|| {
            format!(
                "{name} is damaged after {} certificates\nhint: unset it, or correct it",
                certificates.len()
            )
        })?;
        if let PemItem::Certificate(certificate) = item {
            certificates.push(certificate);
        }
    }
    ensure!(!certificates.is_empty(), "{name} holds no certificate\nhint: unset it, or correct it");
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_file_that_is_not_certificates_alone_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("roots.pem");
        let said = |part: &str| {
            let error = trusted(Some(&path), true).expect_err("refused");
            assert!(error.is::<BadInput>());
            let text = format!("{error:#}");
            assert!(text.contains(part) && text.contains("hint: "), "{text}");
        };
        said("cannot be read");
        std::fs::write(&path, "no more than this\n").expect("written");
        said("holds no certificate");
        for torn in [
            "-----BEGIN CERTIFICATE-----\nMAA",
            "-----BEGIN CERTIFICATE-----\n&&&\n-----END CERTIFICATE-----\n",
        ] {
            std::fs::write(&path, format!("{ONE}{torn}")).expect("written");
            said("is damaged after 1 certificates");
        }
    }

    #[test]
    fn only_an_encrypted_address_needs_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("roots.pem");
        let count = |encrypted: bool| match trusted(Some(&path), encrypted) {
            Ok(RootCerts::Specific(found)) => Some(found.len()),
            _ => None,
        };
        assert_eq!([true, false].map(count), [None, Some(0)]);
        std::fs::write(&path, format!("{ONE}{ONE}")).expect("written");
        assert_eq!([true, false].map(count), [Some(2), Some(2)]);
        assert!(matches!(trusted(None, true), Ok(RootCerts::WebPki)));
    }

    #[test]
    fn the_whole_name_of_the_host_counts() {
        let here = |address: &str| is_this_machine(&address.parse().expect("an address"));
        for address in ["http://localhost:8000/v1", "http://127.0.0.1/v1", "http://[::1]:8000"] {
            assert!(here(address), "{address}");
        }
        for address in [
            "http://localhost.example.org/v1",
            "http://127.0.0.1.example.org",
            "https://example.org/localhost",
        ] {
            assert!(!here(address), "{address}");
        }
    }
}
