//! What the parts that talk to servers have in common.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// Whether an address means this machine, so that nothing sent there crosses a network.
pub fn is_this_machine(address: &Uri) -> bool {
    matches!(address.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// Whom a client trusts: the certificates in the file that `SSL_CERT_FILE` names, as behind a proxy with one of its own; else Mozilla's.
///
/// # Errors
/// A file that cannot be read or holds none.
pub fn certificates() -> Result<TlsConfig> {
    let roots = match std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
        None => RootCerts::WebPki,
        Some(path) => certificates_of(Path::new(&path))?,
    };
    Ok(TlsConfig::builder().root_certs(roots).build())
}

fn certificates_of(path: &Path) -> Result<RootCerts> {
    let name = format!("SSL_CERT_FILE `{}`", path.display());
    let text = std::fs::read(path)
        .with_context(|| format!("{name} cannot be read\nhint: unset it, or correct it"))?;
    let certificates: Vec<_> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    ensure!(!certificates.is_empty(), "{name} holds no certificate\nhint: unset it, or correct it");
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("roots.pem");
        let said = |part: &str| {
            let error = certificates_of(&path).expect_err("no certificates");
            let text = format!("{error:#}");
            assert!(text.contains(part) && text.contains("hint: "), "{text}");
        };
        said("cannot be read");
        std::fs::write(&path, "-----BEGIN NOTHING-----\n").expect("written");
        said("holds no certificate");
        let one = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, one).expect("written");
        assert!(matches!(certificates_of(&path), Ok(RootCerts::Specific(found)) if found.len() == 1));
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
