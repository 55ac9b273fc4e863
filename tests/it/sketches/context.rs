//! Soft tokens take positions of the context, which is seen in a cell's first step.

use coin_host::report::results::{Results, Status};

use super::stream;
use crate::runs::{compare, finish, text, workspace};

#[test]
fn records_that_are_too_long_beside_soft_tokens() {
    let fits = ("few", "{ plugin = \"l2p\" }");
    let wide = ("many", "{ plugin = \"l2p\", pool = 40, length = 5, selection = 40 }");
    let long = format!("tasks.grounding.instruction=\"{{question}} {}\"", "what is this ".repeat(20));
    let workspace = workspace(&stream::configuration(&[fits, wide]));
    let output = finish(compare(&workspace, &["--set", &long]));
    let seen = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{seen}");
    for said in ["many", "task grounding: ", "beside 200 soft tokens into the model's 256 positions", "hint:"]
    {
        assert!(seen.contains(said), "{said}: {seen}");
    }
    let results = Results::read(&workspace.path().join("out")).expect("results.json");
    let state: Vec<_> = results.cells.iter().map(|cell| (cell.method.as_str(), cell.status)).collect();
    assert_eq!(state, [("few", Status::Done), ("many", Status::Failed)]);
}
