//! Faults of datasets.

use std::collections::BTreeSet;

use super::{assert_all_faults, check, having};
use crate::built;
use crate::support::Workspace;

/// A fault of the dataset, and the check that fails.
const DATASET: &[(&str, &str, &str)] = &[
    ("metric", "opens", "no-such-metric"),
    ("files", "opens", "`files` names answers.txt"),
    ("twins", "records", "has the id `0` of an earlier one"),
    ("speechless", "records", "has no question"),
    ("picture", "records", "there is no picture none.png"),
    ("escape", "records", "leaves the root"),
    ("beyond", "records", "has 3 records and gives 3..4"),
    ("slice", "records", "panicked at "),
    ("segfault", "records", "segmentation fault) in records of plugin stress"),
    ("count-crash", "opens", "segmentation fault) in len of plugin stress"),
    ("count-hang", "opens", "no answer for 20 s in len of plugin stress"),
    ("unordered", "order", "are others than within 0..3"),
    ("score", "score", "it gives 2"),
    ("score-panic", "score", "panicked at "),
    ("lax", "keys", "the key `no-such-key` is accepted"),
    ("missing", "missing-files", "an empty folder: "),
    ("damaged", "damaged-files", "questions.txt "),
    ("print", "silence", "it prints to stdout: \"stress was here\""),
    ("spent", "score", "drop of plugin stress 0.1.0: panicked at "),
    ("drop-panic", "opens", "drop of plugin stress 0.1.0: panicked at "),
];

fn questions() -> Workspace {
    Workspace::new().file("questions.txt", "what is a\tb\nwhat is c\td\nwhat is e\tf\n")
}

#[test]
fn every_fault_of_a_dataset_is_tried() {
    let table: BTreeSet<&str> = DATASET.iter().map(|case| case.0).collect();
    let root = questions();
    assert_all_faults(&table, &["none"], "dataset", &["--root", &root.path().to_string_lossy()]);
}

#[test]
fn faults_of_a_dataset_are_found_by_their_check() {
    let root = questions();
    let root_path = root.path().to_string_lossy().into_owned();
    for (fault, expected, says) in DATASET {
        let (workspace, fault) = (Workspace::new(), format!("fault={fault}"));
        let arguments = ["--root", &root_path, "--set", &fault, "--kind", "dataset", "--timeout", "20"];
        let (output, report) = check(&workspace, &built::plugin("stress"), &arguments);
        let failed = having(&report, "fail");
        let reason = failed.iter().find(|(name, _)| name == expected);
        assert!(reason.is_some_and(|(_, reason)| reason.contains(says)), "{fault}: {failed:#?}");
        // A crash takes every check with it in which the dataset is asked for records.
        assert!(
            failed.len() == 1 || fault == "fault=segfault" || fault == "fault=slice",
            "{fault}: {failed:#?}"
        );
        assert_eq!(output.status.code(), Some(3), "{fault}");
    }
}
