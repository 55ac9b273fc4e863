//! The checks: their names, what each of them says of a plugin, and which must hold before another one is worth the time.

use serde::{Deserialize, Serialize};

/// A check. The names stay as they are: programs read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    Load,
    Manifest,
    Defaults,
    UnknownKeys,
    Values,
    Trains,
    Finite,
    Gradients,
    Handles,
    Capabilities,
    Silence,
    Seed,
    Resume,
    Errors,
    Memory,
    Bfloat16,
    Checkpointing,
    BatchMates,
    Cache,
    TokenLocal,
    Merged,
    Stack,
    Opens,
    Records,
    Order,
    Score,
    Keys,
    MissingFiles,
    DamagedFiles,
}

impl Check {
    /// Of every plugin.
    pub const PLUGIN: [Check; 2] = [Check::Load, Check::Manifest];

    /// Of a method.
    pub const METHOD: [Check; 20] = [
        Check::Defaults,
        Check::UnknownKeys,
        Check::Trains,
        Check::Finite,
        Check::Gradients,
        Check::Handles,
        Check::Capabilities,
        Check::Values,
        Check::Seed,
        Check::Resume,
        Check::Memory,
        Check::Bfloat16,
        Check::Checkpointing,
        Check::BatchMates,
        Check::Cache,
        Check::TokenLocal,
        Check::Merged,
        Check::Stack,
        Check::Errors,
        Check::Silence,
    ];

    /// Of each dataset.
    pub const DATASET: [Check; 8] = [
        Check::Opens,
        Check::Records,
        Check::Order,
        Check::Score,
        Check::Keys,
        Check::MissingFiles,
        Check::DamagedFiles,
        Check::Silence,
    ];

    /// Its name on the terminal and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Check::Load => "load",
            Check::Manifest => "manifest",
            Check::Defaults => "defaults",
            Check::UnknownKeys => "unknown-keys",
            Check::Values => "values",
            Check::Trains => "trains",
            Check::Finite => "finite",
            Check::Gradients => "gradients",
            Check::Handles => "handles",
            Check::Capabilities => "capabilities",
            Check::Silence => "silence",
            Check::Seed => "seed",
            Check::Resume => "resume",
            Check::Errors => "errors",
            Check::Memory => "memory",
            Check::Bfloat16 => "bfloat16",
            Check::Checkpointing => "checkpointing",
            Check::BatchMates => "batch-mates",
            Check::Cache => "cache",
            Check::TokenLocal => "token-local",
            Check::Merged => "merged",
            Check::Stack => "stack",
            Check::Opens => "opens",
            Check::Records => "records",
            Check::Order => "order",
            Check::Score => "score",
            Check::Keys => "keys",
            Check::MissingFiles => "missing-files",
            Check::DamagedFiles => "damaged-files",
        }
    }

    /// What it says of a plugin that passes.
    pub fn meaning(self) -> &'static str {
        match self {
            Check::Load => "the library is sound, loads, and takes this host",
            Check::Manifest => "plugin.toml says what the library says of itself",
            Check::Defaults => "its default configuration is accepted, left out or written down",
            Check::UnknownKeys => "a key that it does not know is refused by name",
            Check::Values => "values of a wrong type are refused, odd ones panic in no hook",
            Check::Trains => "two stages are trained and answered in float32",
            Check::Finite => "what it makes is finite",
            Check::Gradients => "a gradient reaches each of its trained tensors and nothing that is frozen",
            Check::Handles => "no tensor handle is left after a hook or a stage",
            Check::Capabilities => "it asks for nothing that it does not declare",
            Check::Silence => "it has printed nothing to stdout",
            Check::Seed => "the same seed gives the same losses and tensors, another seed others",
            Check::Resume => {
                "a run stopped within a stage or between two goes on bit for bit in a fresh process"
            }
            Check::Errors => "a service that fails and a damaged state are errors, and nothing panics",
            Check::Memory => "memory and handles stay where they are over 200 steps",
            Check::Bfloat16 => "two stages are trained and answered in bfloat16",
            Check::Checkpointing => "gradient checkpointing changes neither losses nor what is trained",
            Check::BatchMates => "an answer does not depend on the other rows of its batch",
            Check::Cache => "answers with the cache are those without it",
            Check::TokenLocal => "an adapter that says so looks at one token at a time",
            Check::Merged => "folded weights answer as the adapter does",
            Check::Stack => "it works in a stack with another plugin",
            Check::Opens => "it opens, and describes itself with a metric of the host",
            Check::Records => "records are as many as it says, with ids, questions, answers and pictures",
            Check::Order => "records come in one order, whatever ranges and threads ask for them",
            Check::Score => "its score is none or in 0..=1 for any prediction",
            Check::Keys => "keys of its configuration that it does not know are refused",
            Check::MissingFiles => "a folder that is empty or missing is an error, not a panic",
            Check::DamagedFiles => "files that are cut or garbled are errors or fewer records, not a panic",
        }
    }

    /// The check without which this one says nothing.
    pub fn needs(self) -> Option<Check> {
        match self {
            Check::Load => None,
            Check::Manifest | Check::Defaults | Check::Opens | Check::MissingFiles | Check::Silence => {
                Some(Check::Load)
            }
            Check::UnknownKeys | Check::Trains => Some(Check::Defaults),
            Check::Records | Check::Order | Check::Score | Check::Keys | Check::DamagedFiles => {
                Some(Check::Opens)
            }
            _ => Some(Check::Trains),
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "status", content = "reason")]
pub enum Verdict {
    Pass,
    /// What, where, why; a hint in a line of its own.
    Fail(String),
    /// Why it was not done.
    Skip(String),
}

impl Verdict {
    /// Its word on the terminal.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Fail(_) => "FAIL",
            Verdict::Skip(_) => "SKIP",
        }
    }
}

/// A check with what it found.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub check: Check,
    /// Of which dataset, for checks of datasets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    #[serde(flatten)]
    pub verdict: Verdict,
    pub seconds: f64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_is_listed_once_and_after_what_it_needs() {
        let mut all: BTreeSet<Check> = BTreeSet::new();
        for checks in [&Check::METHOD[..], &Check::DATASET] {
            let mut seen: BTreeSet<Check> = BTreeSet::new();
            for &check in Check::PLUGIN.iter().chain(checks) {
                assert!(check.needs().is_none_or(|needed| seen.contains(&needed)), "{}", check.name());
                assert!(seen.insert(check), "{}", check.name());
                assert_eq!(serde_json::to_value(check).expect("JSON"), check.name());
            }
            all.append(&mut seen);
        }
        assert_eq!(all.len(), Check::DamagedFiles as usize + 1);
        // It looks back on everything else.
        assert_eq!([Check::METHOD.last(), Check::DATASET.last()], [Some(&Check::Silence); 2]);
    }
}
