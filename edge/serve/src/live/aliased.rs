//! Aliases: pointers to versions that are loaded at the first request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use devanture_config::VersionId;

use super::{Current, Place};
use devanture_store::records::AliasRecord;

/// The target of an alias.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Aliased {
    pub(super) version: VersionId,
    /// The time of the last move, in milliseconds since 1970 UTC.
    pub(super) since_ms: u64,
}

impl Place {
    /// The target, if the place is an alias.
    pub(super) fn aliased(&self) -> Option<Arc<Aliased>> {
        self.aliased.lock().clone()
    }

    /// Moves the alias to the record's target. Only the follower calls the function.
    pub(super) fn follow_alias(&self, alias: &AliasRecord) {
        self.ends_ms.store(alias.expires_ms.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.point_alias(Aliased { version: alias.version, since_ms: alias.switched_ms });
        tracing::debug!(app = %self.app, alias = %self.name, version = %alias.version.short(), "set");
    }

    /// Moves the alias, and unloads the previous target.
    pub(super) fn point_alias(&self, next: Aliased) {
        let mut aliased = self.aliased.lock();
        if aliased.as_deref() != Some(&next) {
            *aliased = Some(Arc::new(next));
            self.unload();
        }
    }

    /// Shows the version loaded for the alias; false if the alias was moved since.
    pub(super) fn show_alias(&self, pointed: &Arc<Aliased>, current: &Arc<Current>) -> bool {
        let aliased = self.aliased.lock();
        let is_still = aliased.as_ref().is_some_and(|now| Arc::ptr_eq(now, pointed));
        if is_still {
            self.current.store(Some(Arc::clone(current)));
        }
        is_still
    }

    /// Unloads the alias if `which` matches; the next request loads the alias again.
    pub(super) fn hide_alias(&self, which: impl Fn(&Arc<Current>) -> bool) {
        let _pointed = self.aliased.lock();
        if self.current.load().as_ref().is_some_and(which) {
            self.unload();
        }
    }

    fn unload(&self) {
        if let Some(before) = self.current.swap(None) {
            before.unload();
        }
    }
}
