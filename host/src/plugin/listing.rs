//! What is there, what would become of it in a run, and why: the rows of `coin-host plugin list` and of the doctor.

use std::path::PathBuf;

use coin_plugin_api::Need;
use serde::Serialize;

use super::catalog::sound;
use super::discover::{Candidate, Origin};
use super::keyring::Standing;
use super::manifest::{self, Kind};
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
    /// The platforms it has libraries for, as far as its manifest or its headers tell.
    pub targets: Vec<String>,
    pub needs: Vec<Need>,
    pub license: Option<String>,
    pub paper: Option<String>,
    pub description: Option<String>,
    pub path: Option<PathBuf>,
    pub origin: Option<Origin>,
    pub sha256: Option<String>,
    pub size: Option<usize>,
    /// Where it was built from, as its package or the lock tells.
    pub commit: Option<String>,
    /// Whose signature it has, and what that is worth.
    pub signature: Option<String>,
    /// Fingerprint of the key that signed its package.
    pub key: Option<String>,
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
    Signed,
    Unverified,
    /// Sound, but nobody vouched for it.
    Unlocked,
    Refused,
    NotBuilt,
}

impl Verdict {
    /// Whether it would be loaded.
    pub fn usable(self) -> bool {
        matches!(self, Verdict::Locked | Verdict::Dev | Verdict::Signed | Verdict::Unverified)
    }

    pub fn name(self) -> &'static str {
        match self {
            Verdict::Locked => "locked",
            Verdict::Dev => "dev",
            Verdict::Signed => "signed",
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
            Mark::Signed => Verdict::Signed,
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
                signed: None,
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
    let signature = policy.standing(candidate).map(|standing| match standing {
        Standing::Trusted(signer) => format!("lab {}", signer.lab),
        Standing::Expired(signer, until) => format!("lab {}, until {until}", signer.lab),
        Standing::Unknown(id) => format!("unknown key {id}"),
        Standing::Revoked(_) => String::from("revoked key"),
        Standing::Broken(_) => String::from("broken"),
    });
    let state = State { signature, ..described(candidate) };
    let image = match sound(candidate) {
        Ok(image) => image,
        Err(reason) => return State { verdict: Verdict::Refused, reason: Some(reason), ..state },
    };
    // What is sound is for this machine.
    let targets = if state.targets.is_empty() { vec![manifest::target()] } else { state.targets };
    let state = State { targets, sha256: Some(image.sha256.clone()), size: Some(image.bytes.len()), ..state };
    match policy.judge(candidate, &image) {
        Ok(ground) => State { verdict: ground.mark.into(), key: ground.key, commit: ground.commit, ..state },
        Err(Distrust::Unlocked(reason)) => {
            State { verdict: Verdict::Unlocked, reason: Some(reason), ..state }
        }
        Err(Distrust::Refused(reason)) => State { verdict: Verdict::Refused, reason: Some(reason), ..state },
    }
}

/// What its manifest says.
fn described(candidate: &Candidate) -> State {
    let about = candidate.manifest.as_ref().map(|manifest| &manifest.plugin);
    let files = candidate.manifest.as_ref().map(|manifest| &manifest.files);
    let targets = files.map(|files| files.iter().filter_map(|file| file.target.clone()));
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
        targets: targets.into_iter().flatten().collect(),
        sha256: None,
        size: None,
        commit: None,
        signature: None,
        key: None,
        verdict: Verdict::Refused,
        reason: None,
        hidden_by: None,
    }
}
