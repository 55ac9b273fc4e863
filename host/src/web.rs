//! What the parts that talk to servers have in common.

use ureq::http::Uri;

/// Whether an address means this machine, so that nothing sent there crosses a network.
pub fn is_this_machine(address: &Uri) -> bool {
    matches!(address.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
