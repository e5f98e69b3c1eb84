//! Tests of the audit log's names, and of the check of the node that writes it.

use super::{Action, Record, was_gone};

#[test]
fn every_action_stands_in_the_documents() {
    let page = include_str!("../../../../docs/operating.md");
    let missing = Action::ALL.iter().filter(|action| !page.contains(&format!("`{}`", action.as_str())));
    assert_eq!(missing.map(|action| action.as_str()).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn a_node_was_gone_whose_record_is_not_there_or_was_written_again_by_the_same_process() {
    let record = |value: &str, revision| Record { value: value.as_bytes().into(), revision };
    let own = record("started at 1", 5);
    assert!(was_gone(&own, None));
    assert!(was_gone(&own, Some(&record("started at 1", 9))));
    assert!(!was_gone(&own, Some(&record("started at 2", 9))));
    assert!(!was_gone(&own, Some(&own)));
}
