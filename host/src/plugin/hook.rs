//! The calls that a plugin answers, by the names that authors know.

/// A call of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    Attach,
    Build,
    Adapt,
    Prefix,
    MergedDelta,
    BeforeStage,
    AfterStage,
    ComposeBatch,
    Loss,
    AfterBackward,
    AfterUpdate,
    BeforeEval,
    AfterEval,
    Save,
    Load,
    OpenDataset,
    Describe,
    Len,
    Records,
    Files,
    Verify,
    Score,
    /// The end of what it made.
    Drop,
}

impl Hook {
    /// All of them, in the order of their numbers.
    pub const ALL: [Hook; 23] = [
        Hook::Attach,
        Hook::Build,
        Hook::Adapt,
        Hook::Prefix,
        Hook::MergedDelta,
        Hook::BeforeStage,
        Hook::AfterStage,
        Hook::ComposeBatch,
        Hook::Loss,
        Hook::AfterBackward,
        Hook::AfterUpdate,
        Hook::BeforeEval,
        Hook::AfterEval,
        Hook::Save,
        Hook::Load,
        Hook::OpenDataset,
        Hook::Describe,
        Hook::Len,
        Hook::Records,
        Hook::Files,
        Hook::Verify,
        Hook::Score,
        Hook::Drop,
    ];

    /// Its name in the traits of coin-plugin-api.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Attach => "attach",
            Hook::Build => "build",
            Hook::Adapt => "adapt",
            Hook::Prefix => "prefix",
            Hook::MergedDelta => "merged_delta",
            Hook::BeforeStage => "before_stage",
            Hook::AfterStage => "after_stage",
            Hook::ComposeBatch => "compose_batch",
            Hook::Loss => "loss",
            Hook::AfterBackward => "after_backward",
            Hook::AfterUpdate => "after_update",
            Hook::BeforeEval => "before_eval",
            Hook::AfterEval => "after_eval",
            Hook::Save => "save",
            Hook::Load => "load",
            Hook::OpenDataset => "open_dataset",
            Hook::Describe => "describe",
            Hook::Len => "len",
            Hook::Records => "records",
            Hook::Files => "files",
            Hook::Verify => "verify",
            Hook::Score => "score",
            Hook::Drop => "drop",
        }
    }
}
