//! Commits of the edge itself, without an audit entry; [`SystemWrite`] lists all.

use super::write_pause::{paused, unless_paused};
use devanture_store::catalog::{self, Catalog, Change, Commit, Revision};

/// Writes of the edge itself, without an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SystemWrite {
    /// ACME certificates shared by nodes, their account, and the history of orders.
    Acme,
    /// End of deleted or surplus items, as reported in the log.
    Collection,
    /// Dictionaries of a version: derived from the pushed files, whose version has an entry.
    Dictionaries,
    /// Removal of an expired alias.
    ExpiredAlias,
    /// History entry about a deploy that only stored a version; a new version has its own audit entry.
    History,
    /// Live-log entry about an unsigned change, which has its own audit entry.
    LiveLog,
    /// Completion of the best-level recompression of a version, whose push has its entry.
    Levels,
    /// Last use of tokens.
    LastUse,
    /// Next token pair of a login, whose beginning has its entry.
    Refresh,
    /// Records copied from another store, before any edge serves the copy.
    Copy,
    /// Pause of all changes, and its end; the copy that needs the pause is logged.
    Pause,
    /// Secrets for hostname proofs and passkey challenges.
    ProofSecret,
    /// User id of an environment: the push that needs the id has its entry.
    Uid,
    /// Times and outcomes of schedules, defined by a version whose push has its entry.
    Schedule,
    /// Last run of a maintenance task.
    Task,
    /// Webhook messages without a change of the catalog, and outcomes of messages.
    Webhook,
    /// Upload journal of a push, for its resumption, and the journal's end; the version has an entry.
    Sent,
}

impl SystemWrite {
    /// Returns true for writes that continue while changes are paused.
    const fn is_exempt_from_pause(self) -> bool {
        matches!(self, Self::Copy | Self::Pause)
    }

    /// As [`Action::may_use_reserve`].
    const fn may_use_reserve(self) -> bool {
        matches!(self, Self::Collection | Self::ExpiredAlias | Self::LiveLog | Self::Refresh)
    }
}

/// Commits a write of the edge itself.
///
/// # Errors
/// As [`Catalog::commit`].
pub(crate) async fn commit_system(
    catalog: &dyn Catalog,
    why: SystemWrite,
    commit: Commit,
) -> Result<Revision, catalog::Error> {
    tracing::trace!(?why, "a commit of the edge's own");
    let commit = if why.is_exempt_from_pause() { commit } else { unless_paused(commit) };
    let committed = match why.may_use_reserve() {
        true => catalog.commit_reserved(commit).await,
        false => catalog.commit(commit).await,
    };
    committed.map_err(paused)
}

/// Most changes per commit of [`commit_in_parts`]: below the catalog's limit, since some commits add more changes.
pub(crate) const PART_CHANGES_MAX: usize = 100;

/// Commits independent changes of the edge itself, in several commits.
///
/// # Errors
/// As [`Catalog::commit`]; some changes may have been made.
pub(crate) async fn commit_in_parts(
    catalog: &dyn Catalog,
    why: SystemWrite,
    changes: Vec<Change>,
) -> Result<(), catalog::Error> {
    for part in changes.chunks(PART_CHANGES_MAX) {
        commit_system(catalog, why, Commit { checks: Vec::new(), changes: part.to_vec() }).await?;
    }
    Ok(())
}

/// Returns the revision of a commit; `None` if another commit won the race, and the records must be read again.
pub(crate) fn unless_conflict(committed: Result<Revision, catalog::Error>) -> Result<Option<Revision>, catalog::Error> {
    match committed {
        Ok(revision) => Ok(Some(revision)),
        Err(catalog::Error::Conflict { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
