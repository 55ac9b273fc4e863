//! What a plugin says of itself, and what it needs.

use serde::{Deserialize, Serialize};

/// Something a method may not do unless it says so beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Training samples of the stage, for importance and the like. Granted by default.
    StageData,
    /// Forward passes under a snapshot. Granted by default.
    Teacher,
    /// Pooled vision features. Granted by default.
    ImageFeatures,
    /// Pooled prompt features. Granted by default.
    TextFeatures,
    /// Samples of earlier stages, through the replay buffer. Granted by the protocol.
    Replay,
    /// The task while answering. Granted by the protocol.
    TaskIdAtTest,
    /// ATen operators by name. Granted by the protocol.
    CallOp,
    /// A loss in place of the task loss. Granted by the protocol.
    ReplacesTaskLoss,
}

impl Need {
    /// Its name in manifests and in `[protocol]`.
    pub fn name(self) -> &'static str {
        match self {
            Need::StageData => "stage_data",
            Need::Teacher => "teacher",
            Need::ImageFeatures => "image_features",
            Need::TextFeatures => "text_features",
            Need::Replay => "replay",
            Need::TaskIdAtTest => "task_id_at_test",
            Need::CallOp => "call_op",
            Need::ReplacesTaskLoss => "replaces_task_loss",
        }
    }

    /// Every need that this version knows.
    pub const ALL: [Need; 8] = [
        Need::StageData,
        Need::Teacher,
        Need::ImageFeatures,
        Need::TextFeatures,
        Need::Replay,
        Need::TaskIdAtTest,
        Need::CallOp,
        Need::ReplacesTaskLoss,
    ];

    /// Whether every protocol grants it.
    pub fn granted_by_default(self) -> bool {
        matches!(self, Need::StageData | Need::Teacher | Need::ImageFeatures | Need::TextFeatures)
    }
}

/// What a plugin says of itself: name, version, what is in it, what it needs, its default configuration. Later versions may say more,
/// which this one leaves out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Unique in a run: lower-case letters, digits and hyphens.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Version of the border it was built with.
    pub api: String,
    /// Whether it has a method.
    pub method: bool,
    /// Names of its datasets.
    pub datasets: Vec<String>,
    /// What its method needs.
    pub needs: Vec<Need>,
    /// Default configuration of its method.
    pub defaults: toml::Table,
}
