//! The machine and the programs that figures were computed with.

use serde::{Deserialize, Serialize};

/// What a comparison ran on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Version of `coin-host`.
    pub host: String,
    /// Version of libtorch, and whether it has its CUDA part.
    pub libtorch: String,
    /// The device that `backbone.device` meant on this machine.
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
            ("coin-host", self.host.clone()),
            ("libtorch", self.libtorch.clone()),
            ("device", self.device.clone()),
            ("system", self.operating_system.clone()),
            ("processor", self.processor.clone()),
            ("cores", self.cores.to_string()),
            ("vector extensions", self.features.join(", ")),
        ]
    }
}
