//! The pause of all changes while the last of them are copied to another store: a record that every commit checks, so
//! that it holds on all nodes from one revision on.
//!
//! The pause ends by itself. Each node counts its seconds from when it found the record, by a clock that nobody sets,
//! and the first one that comes to the end removes it. A node that starts meanwhile counts from its start.

use serde::{Deserialize, Serialize};

use super::system_write::{SystemWrite, commit_system};
use devanture_store::catalog::{self, Catalog, Change, Check, Commit, Committed, Revision};
use devanture_store::records;

/// The key of the record.
pub const PAUSE_KEY: &str = "changes-paused";

/// `changes-paused`: that nothing may be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WritePause {
    /// When it began, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Seconds after which changes go on by themselves.
    pub seconds: u64,
}

/// The commit, which fails while changes are paused. The check comes last, so that a caller hears of its own first.
pub(super) fn unless_paused(mut commit: Commit) -> Commit {
    commit.checks.push(Check::Absent(PAUSE_KEY.to_owned()));
    commit
}

/// What a failed commit means: [`catalog::Error::Paused`] where the check of [`unless_paused`] did not hold.
pub(super) fn paused(error: catalog::Error) -> catalog::Error {
    match error {
        catalog::Error::Conflict { key } if key == PAUSE_KEY => catalog::Error::Paused,
        error => error,
    }
}

/// Whether a commit begins or ends a pause.
pub fn is_write_pause(committed: &Committed) -> bool {
    committed.changes.iter().any(|change| {
        let (Change::Put(key, _) | Change::Delete(key)) = change;
        key == PAUSE_KEY
    })
}

/// The pause and its revision, if changes are paused.
///
/// # Errors
/// Those of the catalog.
pub async fn write_pause(catalog: &dyn Catalog) -> Result<Option<(Revision, WritePause)>, catalog::Error> {
    let Some(record) = catalog.get(PAUSE_KEY).await? else { return Ok(None) };
    Ok(Some((record.revision, records::read(PAUSE_KEY, &record)?)))
}

/// Pauses all changes: when this returns, no node commits any, and what was committed before can be read here. A pause
/// that is there already begins again.
///
/// # Errors
/// Those of the catalog.
pub async fn pause_changes(catalog: &dyn Catalog, pause: &WritePause) -> Result<Revision, catalog::Error> {
    let changes = vec![Change::Put(PAUSE_KEY.to_owned(), records::write(pause)?)];
    commit_system(catalog, SystemWrite::Pause, Commit { checks: Vec::new(), changes }).await
}

/// Ends the pause, or only the one of that revision. Returns whether there was one.
///
/// # Errors
/// Those of the catalog.
pub async fn resume_changes(catalog: &dyn Catalog, at: Option<Revision>) -> Result<bool, catalog::Error> {
    let Some(record) = catalog.get(PAUSE_KEY).await? else { return Ok(false) };
    let checks = vec![Check::At(PAUSE_KEY.to_owned(), at.unwrap_or(record.revision))];
    let changes = vec![Change::Delete(PAUSE_KEY.to_owned())];
    match commit_system(catalog, SystemWrite::Pause, Commit { checks, changes }).await {
        Ok(_) => Ok(true),
        // Another node has ended it, or another pause has begun.
        Err(catalog::Error::Conflict { .. } | catalog::Error::Paused) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_store::catalog::open;

    #[test]
    fn a_pause_of_changes_is_stored_as_it_was() {
        records::golden::check(PAUSE_KEY, &WritePause { at_ms: 1, seconds: 60 });
    }

    #[tokio::test]
    async fn nothing_is_committed_in_a_pause_and_everything_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = open(&folder.path().join("catalog.redb")).unwrap();
        let put = || Commit {
            checks: vec![Check::Absent("x".to_owned())],
            changes: vec![Change::Put("x".to_owned(), b"1".as_slice().into())],
        };
        let pause = WritePause { at_ms: 1, seconds: 60 };
        let revision = pause_changes(&*catalog, &pause).await.unwrap();
        assert_eq!(write_pause(&*catalog).await.unwrap(), Some((revision, pause.clone())));
        let refused = commit_system(&*catalog, SystemWrite::Task, put()).await;
        assert!(matches!(refused, Err(catalog::Error::Paused)), "{refused:?}");
        // One that was begun again has another end.
        let again = pause_changes(&*catalog, &pause).await.unwrap();
        assert!(!resume_changes(&*catalog, Some(revision)).await.unwrap());
        assert!(resume_changes(&*catalog, Some(again)).await.unwrap());
        assert!(!resume_changes(&*catalog, None).await.unwrap());
        commit_system(&*catalog, SystemWrite::Task, put()).await.unwrap();
        let conflict = commit_system(&*catalog, SystemWrite::Task, put()).await;
        assert!(matches!(conflict, Err(catalog::Error::Conflict { key }) if key == "x"));
    }
}
