//! Tests of the audit log's names.

use super::Action;

#[test]
fn every_action_stands_in_the_documents() {
    let page = include_str!("../../../../docs/operating.md");
    let missing = Action::ALL.iter().filter(|action| !page.contains(&format!("`{}`", action.as_str())));
    assert_eq!(missing.map(|action| action.as_str()).collect::<Vec<_>>(), Vec::<&str>::new());
}
