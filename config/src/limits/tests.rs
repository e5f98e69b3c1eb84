//! Tests of the table of limits.

use super::*;

#[test]
fn every_limit_has_a_default_within_its_range_and_a_meaning() {
    let mut limits = Limits::default();
    for limit in TABLE {
        assert!((limit.range.0..=limit.range.1).contains(&limit.default), "{}", limit.name);
        assert!(limit.meaning.trim().ends_with('.'), "{}", limit.name);
        assert_eq!(limits.by_name(limit.name).copied(), Some(limit.default));
        assert_eq!(limits.value(limit.name), Some(limit.default));
    }
}
