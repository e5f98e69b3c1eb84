//! Pause of all changes while the last changes are copied to another store: a record checked by every commit, so that
//! all nodes pause from the same revision on.
//!
//! The pause expires. Each node counts the seconds since first seeing the record, by a monotonic clock, and the first
//! node at the end deletes the record. A node started meanwhile counts from its start.

use serde::{Deserialize, Serialize};

use super::system_write::{SystemWrite, commit_system};
use devanture_store::catalog::{self, Catalog, Change, Check, Commit, Revision};
use devanture_store::records;

/// Key of the record.
pub const PAUSE_KEY: &str = "changes-paused";

/// `changes-paused`: all changes are paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WritePause {
    /// Start, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Seconds until the pause expires.
    pub seconds: u64,
}

/// Adds the pause check to a commit. The check comes last, so that the caller's own failed check is reported first.
pub(super) fn unless_paused(mut commit: Commit) -> Commit {
    commit.checks.push(Check::Absent(PAUSE_KEY.to_owned()));
    commit
}

/// Maps a failed commit to [`catalog::Error::Paused`] if the check of [`unless_paused`] failed.
pub(super) fn paused(error: catalog::Error) -> catalog::Error {
    match error {
        catalog::Error::Conflict { key } if key == PAUSE_KEY => catalog::Error::Paused,
        error => error,
    }
}

/// The pause and its revision, if changes are paused.
///
/// # Errors
/// Errors of the catalog.
pub async fn write_pause(catalog: &dyn Catalog) -> Result<Option<(Revision, WritePause)>, catalog::Error> {
    let Some(record) = catalog.get(PAUSE_KEY).await? else { return Ok(None) };
    Ok(Some((record.revision, records::read(PAUSE_KEY, &record)?)))
}

/// Pauses all changes: on return, no node commits any change, and all earlier commits are readable locally. An existing
/// pause begins again.
///
/// # Errors
/// Errors of the catalog.
pub async fn pause_changes(catalog: &dyn Catalog, pause: &WritePause) -> Result<Revision, catalog::Error> {
    let changes = vec![Change::Put(PAUSE_KEY.to_owned(), records::write(pause)?)];
    commit_system(catalog, SystemWrite::Pause, Commit { checks: Vec::new(), changes }).await
}

/// Ends the pause, or only the pause of revision `at`. Returns true if a pause was ended.
///
/// # Errors
/// Errors of the catalog.
pub async fn resume_changes(catalog: &dyn Catalog, at: Option<Revision>) -> Result<bool, catalog::Error> {
    let Some(record) = catalog.get(PAUSE_KEY).await? else { return Ok(false) };
    let checks = vec![Check::At(PAUSE_KEY.to_owned(), at.unwrap_or(record.revision))];
    let changes = vec![Change::Delete(PAUSE_KEY.to_owned())];
    match commit_system(catalog, SystemWrite::Pause, Commit { checks, changes }).await {
        Ok(_) => Ok(true),
        // Another node has ended the pause, or another pause has begun.
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
        // A pause begun again has a new revision.
        let again = pause_changes(&*catalog, &pause).await.unwrap();
        assert!(!resume_changes(&*catalog, Some(revision)).await.unwrap());
        assert!(resume_changes(&*catalog, Some(again)).await.unwrap());
        assert!(!resume_changes(&*catalog, None).await.unwrap());
        commit_system(&*catalog, SystemWrite::Task, put()).await.unwrap();
        let conflict = commit_system(&*catalog, SystemWrite::Task, put()).await;
        assert!(matches!(conflict, Err(catalog::Error::Conflict { key }) if key == "x"));
    }
}
