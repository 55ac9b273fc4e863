//! The machine and the programs that figures were computed with.

use serde::{Deserialize, Serialize};

/// What a comparison ran on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Version of `coin-host`.
    pub host: String,
    /// sha256 of its binary.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host_sha256: String,
    /// Version of libtorch, and whether it has its CUDA part.
    pub libtorch: String,
    /// sha256 of its CPU part.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub libtorch_sha256: String,
    /// The device that `backbone.device` meant on this machine, and the element type where it is not float32.
    pub device: String,
    pub operating_system: String,
    /// The processor's name, else its architecture.
    pub processor: String,
    /// Cores that the process could use.
    pub cores: usize,
    /// Vector extensions that change how sums are rounded.
    pub features: Vec<String>,
}

impl Environment {
    /// One line a subject, for people.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("coin-host", with_sum(&self.host, &self.host_sha256)),
            ("libtorch", with_sum(&self.libtorch, &self.libtorch_sha256)),
            ("device", self.device.clone()),
            ("system", self.operating_system.clone()),
            ("processor", self.processor.clone()),
            ("cores", self.cores.to_string()),
            ("vector extensions", self.features.join(", ")),
        ]
    }
}

fn with_sum(version: &str, sha256: &str) -> String {
    if sha256.is_empty() { version.to_string() } else { format!("{version}, sha256 {sha256}") }
}
