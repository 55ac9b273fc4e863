//! What is there, what would become of it in a run, and why: the rows of `coin-host plugin list` and of the doctor.

use std::path::PathBuf;

use coin_plugin_api::Need;
use serde::Serialize;

use super::catalog::sound;
use super::discover::{Candidate, Origin};
use super::manifest::Kind;
use super::shipped;
use super::trust::{Distrust, Mark, Policy};

/// One plugin that was found, or a shipped one that was not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct State {
    pub name: String,
    /// Not known of a bare library, whose code would have to run to tell.
    pub version: Option<String>,
    pub kinds: Vec<Kind>,
    /// The version of the border it was built with.
    pub api: Option<String>,
    pub needs: Vec<Need>,
    pub license: Option<String>,
    pub paper: Option<String>,
    pub description: Option<String>,
    pub path: Option<PathBuf>,
    pub origin: Option<Origin>,
    pub sha256: Option<String>,
    pub size: Option<usize>,
    pub verdict: Verdict,
    /// Why it is not usable, with a hint.
    pub reason: Option<String>,
    /// The one that is taken in its stead.
    pub hidden_by: Option<PathBuf>,
}

/// What would become of a plugin in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Locked,
    Dev,
    Unverified,
    /// Sound, but nobody vouched for it.
    Unlocked,
    Refused,
    NotBuilt,
}

impl Verdict {
    /// Whether it would be loaded.
    pub fn usable(self) -> bool {
        matches!(self, Verdict::Locked | Verdict::Dev | Verdict::Unverified)
    }

    pub fn name(self) -> &'static str {
        match self {
            Verdict::Locked => "locked",
            Verdict::Dev => "dev",
            Verdict::Unverified => "unverified",
            Verdict::Unlocked => "unlocked",
            Verdict::Refused => "refused",
            Verdict::NotBuilt => "not built",
        }
    }
}

impl From<Mark> for Verdict {
    fn from(mark: Mark) -> Self {
        match mark {
            Mark::Locked => Verdict::Locked,
            Mark::Dev => Verdict::Dev,
            Mark::Unverified => Verdict::Unverified,
        }
    }
}

pub(super) fn states(candidates: &[Candidate], policy: &Policy) -> Vec<State> {
    let mut found: Vec<State> = Vec::new();
    for candidate in candidates {
        let state = state(candidate, policy);
        // Beside the program lie libraries of all kinds.
        if candidate.origin == Origin::Program
            && candidate.manifest.is_none()
            && state.verdict == Verdict::Refused
        {
            continue;
        }
        let first = found.iter().find(|known| known.name == state.name).and_then(|known| known.path.clone());
        found.push(State { hidden_by: first, ..state });
    }
    for manifest in shipped::manifests() {
        if !found.iter().any(|state| state.name == manifest.plugin.name) {
            let candidate = Candidate {
                name: manifest.plugin.name.clone(),
                version: Some(manifest.plugin.version.clone()),
                path: PathBuf::new(),
                origin: Origin::Program,
                manifest: Some(manifest.clone()),
                problem: None,
            };
            found.push(State {
                path: None,
                origin: None,
                verdict: Verdict::NotBuilt,
                reason: Some(String::from("hint: `cargo build --release --workspace`, or `make build`")),
                ..described(&candidate)
            });
        }
    }
    found.sort_by(|a, b| (&a.name, a.hidden_by.is_some()).cmp(&(&b.name, b.hidden_by.is_some())));
    found
}

fn state(candidate: &Candidate, policy: &Policy) -> State {
    let state = described(candidate);
    let image = match sound(candidate) {
        Ok(image) => image,
        Err(reason) => return State { verdict: Verdict::Refused, reason: Some(reason), ..state },
    };
    let (verdict, reason) = match policy.judge(candidate, &image) {
        Ok(mark) => (mark.into(), None),
        Err(Distrust::Unlocked(reason)) => (Verdict::Unlocked, Some(reason)),
        Err(Distrust::Refused(reason)) => (Verdict::Refused, Some(reason)),
    };
    State { sha256: Some(image.sha256), size: Some(image.bytes.len()), verdict, reason, ..state }
}

/// What its manifest says.
fn described(candidate: &Candidate) -> State {
    let about = candidate.manifest.as_ref().map(|manifest| &manifest.plugin);
    State {
        name: candidate.name.clone(),
        version: candidate.version.clone(),
        kinds: about.map(|about| about.kind.clone()).unwrap_or_default(),
        api: candidate.manifest.as_ref().map(|manifest| manifest.api.version.clone()),
        needs: about.map(|about| about.needs.clone()).unwrap_or_default(),
        license: about.map(|about| about.license.clone()),
        paper: about.and_then(|about| about.paper.clone()),
        description: about.and_then(|about| about.description.clone()),
        path: Some(candidate.path.clone()),
        origin: Some(candidate.origin),
        sha256: None,
        size: None,
        verdict: Verdict::Refused,
        reason: None,
        hidden_by: None,
    }
}
