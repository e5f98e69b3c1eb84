//! Preconditions of a change on its record (RFC 9110 §13.1), by the record's revision.

use devanture_config::VersionId;
use devanture_config::problem::{Code, Problem};

use super::Error;
use devanture_store::catalog::Revision;

/// Expected state of the record; no expectation by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// `If-Match`: the record is among these.
    pub matches: Option<Expected>,
    /// `If-None-Match`: the record is not among these.
    pub differs: Option<Expected>,
}

/// Entity tags of a precondition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Any existing record: `*`.
    Any,
    /// Revisions. A tag impossible for any record matches no revision.
    Revisions(Vec<Revision>),
}

/// Fewest digits that name an expected version.
const EXPECTED_DIGITS_MIN: usize = 6;

/// Returns the live version's id, or `nothing`, if the live version does not begin with `expected`.
pub(crate) fn other_than(expected: &str, live: Option<VersionId>) -> Option<String> {
    let is = live.map_or_else(|| "nothing".to_owned(), |version| version.to_string());
    let is_expected = expected.len() >= EXPECTED_DIGITS_MIN && is.starts_with(&expected.to_ascii_lowercase());
    (!is_expected).then_some(is)
}

impl Expected {
    fn holds(&self, revision: Option<Revision>) -> bool {
        match self {
            Self::Any => revision.is_some(),
            Self::Revisions(revisions) => revision.is_some_and(|revision| revisions.contains(&revision)),
        }
    }
}

impl Condition {
    /// Compares the record's `revision`, `None` without a record, with the expectation. The caller's commit must check
    /// the revision again.
    ///
    /// # Errors
    /// `precondition_failed`.
    pub fn check(&self, revision: Option<Revision>) -> Result<(), Error> {
        let is_wanted = self.matches.as_ref().is_none_or(|expected| expected.holds(revision));
        let is_unwanted = self.differs.as_ref().is_some_and(|expected| expected.holds(revision));
        if is_wanted && !is_unwanted {
            return Ok(());
        }
        let detail = match revision {
            None => "There is no such record, and the request expects one.".to_owned(),
            Some(_) if is_unwanted => "The record is there, and the request expects that it is not.".to_owned(),
            Some(revision) => format!("The record has the revision {revision}, and the request expects another."),
        };
        Err(Problem::new(Code::PreconditionFailed, detail).hint("get it again, look at it, then decide").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_expected_or_it_is_not() {
        let some = |revisions: &[Revision]| Some(Expected::Revisions(revisions.to_vec()));
        for (matches, differs, revision, holds) in [
            (None, None, None, true),
            (None, None, Some(1), true),
            (Some(Expected::Any), None, None, false),
            (Some(Expected::Any), None, Some(1), true),
            (some(&[1, 2]), None, Some(2), true),
            (some(&[1, 2]), None, Some(3), false),
            (some(&[1]), None, None, false),
            (some(&[]), None, Some(3), false),
            (None, Some(Expected::Any), None, true),
            (None, Some(Expected::Any), Some(1), false),
            (None, some(&[1]), Some(1), false),
            (None, some(&[1]), Some(2), true),
            (some(&[1]), some(&[1]), Some(1), false),
        ] {
            let condition = Condition { matches, differs };
            assert_eq!(condition.check(revision).is_ok(), holds, "{condition:?} {revision:?}");
        }
    }

    #[test]
    fn what_is_live_is_expected_by_six_digits_or_more_of_it() {
        let live = VersionId::of(b"live");
        let id = live.to_string();
        for (expected, is) in [
            (&id[..], None),
            (&id[..6], None),
            (&id[..6].to_uppercase(), None),
            (&id[..5], Some(id.clone())),
            ("", Some(id.clone())),
            ("nothing", Some(id.clone())),
        ] {
            assert_eq!(other_than(expected, Some(live)), is, "{expected}");
        }
        assert_eq!(other_than("nothing", None), None);
        assert_eq!(other_than("noth", None).as_deref(), Some("nothing"));
        assert_eq!(other_than(&id, None).as_deref(), Some("nothing"));
    }
}
