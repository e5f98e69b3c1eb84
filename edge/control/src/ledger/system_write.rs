//! Commits of the edge for itself, without an entry of the audit log: [`SystemWrite`] lists all of them.

use super::write_pause::{paused, unless_paused};
use devanture_store::catalog::{self, Catalog, Change, Commit, Revision};

/// Writes of the edge for itself, without an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SystemWrite {
    /// Certificates by ACME that nodes share, their account, and the history of orders.
    Acme,
    /// The end of what was deleted or is beyond what is kept: the log tells what it took.
    Collection,
    /// The dictionaries of a version: they follow from what was pushed, and their version has an entry.
    Dictionaries,
    /// The removal of an alias whose time had come.
    ExpiredAlias,
    /// The entry of the history about a deploy that changed nothing but what is stored; its version has an entry of the
    /// audit log where it is new.
    History,
    /// The entry of a live log about a change that nobody signs: the change itself has its entry of the audit log.
    LiveLog,
    /// That the files of a version had their pass at the best level: its push has its entry.
    Levels,
    /// When tokens were used last.
    LastUse,
    /// The next pair of tokens of a login: who they are was said when they logged in.
    Refresh,
    /// Records of another store that are copied into this one, which nothing serves from yet.
    Copy,
    /// The pause of all changes, and its end: the copy of records that wants it is logged.
    Pause,
    /// The secrets that proofs of hostnames, and challenges for passkeys, are made with.
    ProofSecret,
    /// The number of the user id of an environment: the push that needs it has its entry.
    Uid,
    /// The times and the outcomes of schedules: what they run is said by the version, whose push has its entry.
    Schedule,
    /// When a task of the upkeep last did its work.
    Task,
    /// Messages to webhooks that are about no change of the catalog, and what became of messages.
    Webhook,
    /// The upload journal of a push, so that it can be resumed, and its end: its version has an entry.
    Sent,
}

impl SystemWrite {
    /// Whether it goes on while changes are paused.
    const fn is_exempt_from_pause(self) -> bool {
        matches!(self, Self::Copy | Self::Pause)
    }

    /// As [`Action::may_use_reserve`].
    const fn may_use_reserve(self) -> bool {
        matches!(self, Self::Collection | Self::ExpiredAlias | Self::LiveLog | Self::Refresh)
    }
}

/// Makes a commit that is the edge's own.
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

/// Most changes of one of the commits that [`commit_in_parts`] makes: fewer than a catalog takes at once, as some
/// commits have more to say.
pub(crate) const PART_CHANGES_MAX: usize = 100;

/// Makes changes of the edge's own that need not happen together, some at a time.
///
/// # Errors
/// As [`Catalog::commit`]; some of them may have been made.
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

/// The revision of a commit; `None` if another commit won the race, and the records have to be read again.
pub(crate) fn unless_conflict(committed: Result<Revision, catalog::Error>) -> Result<Option<Revision>, catalog::Error> {
    match committed {
        Ok(revision) => Ok(Some(revision)),
        Err(catalog::Error::Conflict { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
