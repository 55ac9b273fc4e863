//! Soft tokens take positions of the context, which is seen before the first step.

use super::stream;
use crate::runs::{compare, finish, text, workspace};

#[test]
fn records_that_are_too_long_beside_soft_tokens() {
    let fits = ("few", "{ plugin = \"l2p\" }");
    let wide = ("many", "{ plugin = \"l2p\", pool = 40, length = 5, selection = 40 }");
    let long = format!("tasks.grounding.instruction=\"{{question}} {}\"", "what is this ".repeat(20));
    let workspace = workspace(&stream::configuration(&[fits, wide]));
    let output = finish(compare(&workspace, &["--dry-run", "--set", &long]));
    let seen = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{seen}");
    for said in ["many", "task grounding: ", "beside 200 soft tokens into the model's 256 positions", "hint:"]
    {
        assert!(seen.contains(said), "{said}: {seen}");
    }
    assert!(!seen.contains("beside 25"), "{seen}");
}
