//! What a protocol grants, and what becomes of a plugin that needs more.

use std::collections::BTreeSet;

use coin_plugin_api::Need;

use super::error::{PluginError, label};
use crate::config::Protocol;

/// What methods may do under a protocol.
pub fn grants(protocol: &Protocol) -> BTreeSet<Need> {
    let replay = protocol.replay_samples_per_task > 0 || protocol.replay_total_samples > 0;
    let granted = |need: &Need| match need {
        Need::Replay => replay,
        Need::TaskIdAtTest => protocol.task_id_at_test,
        Need::CallOp => protocol.call_op,
        Need::ReplacesTaskLoss => protocol.replaces_task_loss,
        need => need.granted_by_default(),
    };
    Need::ALL.into_iter().filter(granted).collect()
}

/// Refuses a plugin that needs what is not granted.
///
/// # Errors
/// [`PluginError::Refused`] with what it needs and the key that grants it.
pub fn check(name: &str, version: &str, needs: &[Need], grants: &BTreeSet<Need>) -> Result<(), PluginError> {
    let missing: Vec<Need> = needs.iter().copied().filter(|need| !grants.contains(need)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what: Vec<String> =
        missing.iter().map(|need| format!("{} (`{}`)", meaning(*need), need.name())).collect();
    let keys: Vec<String> =
        missing.iter().filter_map(|need| key(*need)).map(|key| format!("`protocol.{key}`")).collect();
    let (it, s) = if keys.len() == 1 { ("it", "s") } else { ("them", "") };
    Err(PluginError::refused(
        label(name, Some(version)),
        format!(
            "it needs {}, which this protocol does not grant\nhint: {} grant{s} {it}",
            what.join(" and "),
            keys.join(" and ")
        ),
    ))
}

fn meaning(need: Need) -> &'static str {
    match need {
        Need::StageData => "training samples of the stage",
        Need::Teacher => "forward passes under a snapshot",
        Need::ImageFeatures => "vision features",
        Need::TextFeatures => "prompt features",
        Need::Replay => "samples of earlier tasks",
        Need::TaskIdAtTest => "the task while answering",
        Need::CallOp => "ATen operators by name",
        Need::ReplacesTaskLoss => "a loss in place of the task loss",
    }
}

/// The key and a value that grant it; what is always granted has none.
fn key(need: Need) -> Option<&'static str> {
    match need {
        Need::StageData | Need::Teacher | Need::ImageFeatures | Need::TextFeatures => None,
        Need::Replay => Some("replay_samples_per_task = 64"),
        Need::TaskIdAtTest => Some("task_id_at_test = true"),
        Need::CallOp => Some("call_op = true"),
        Need::ReplacesTaskLoss => Some("replaces_task_loss = true"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol() -> Protocol {
        Protocol {
            replay_samples_per_task: 0,
            replay_total_samples: 0,
            blank_pictures: false,
            strict: false,
            task_id_at_test: false,
            call_op: false,
            replaces_task_loss: false,
        }
    }

    #[test]
    fn every_need_is_granted_by_default_or_by_a_key() {
        let default = grants(&protocol());
        for need in Need::ALL {
            assert_eq!(need.granted_by_default(), default.contains(&need), "{}", need.name());
            assert_eq!(need.granted_by_default(), key(need).is_none(), "{}", need.name());
        }
        let all = Protocol {
            replay_total_samples: 1,
            task_id_at_test: true,
            call_op: true,
            replaces_task_loss: true,
            ..protocol()
        };
        assert_eq!(grants(&all).len(), Need::ALL.len());
        let some = Protocol { replay_samples_per_task: 1, ..protocol() };
        assert!(grants(&some).contains(&Need::Replay));
    }

    #[test]
    fn what_is_missing_is_named_with_the_key_that_grants_it() {
        let check = |needs: &[Need]| check("replay", "0.1.0", needs, &grants(&protocol()));
        assert_eq!(check(&[Need::StageData, Need::Teacher]), Ok(()));
        let error = check(&[Need::StageData, Need::Replay]).expect_err("not granted");
        assert_eq!(error.exit_code(), 3);
        assert_eq!(
            error.to_string(),
            "plugin `replay` 0.1.0 refused: it needs samples of earlier tasks (`replay`), which this protocol does not grant\n\
             hint: `protocol.replay_samples_per_task = 64` grants it"
        );
        let two = check(&[Need::CallOp, Need::TaskIdAtTest]).expect_err("not granted").to_string();
        assert!(two.contains("call_op = true` and `protocol.task_id_at_test = true` grant them"), "{two}");
    }
}
