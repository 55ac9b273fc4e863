//! What a stage of a strict run began with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a stage began with that had a process of its own, and whether it was all that the method goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Handover {
    /// The stage that began; the first one of a cell is 0 and has no handover.
    pub stage: usize,
    /// Registered parameters and buffers, the projector's too, and snapshots of them.
    pub tensor_bytes: u64,
    /// The replay buffer.
    pub replay_bytes: u64,
    /// By plugin, what its `save` gave.
    pub state_bytes: BTreeMap<String, u64>,
    /// Whether a process that remembered the stages before took the first steps in the same way, to the bit; none where there was no
    /// such process, or where steps do not repeat to the bit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alike: Option<bool>,
}

impl Handover {
    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.tensor_bytes + self.replay_bytes + self.state_bytes.values().sum::<u64>()
    }
}
