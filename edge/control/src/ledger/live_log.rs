//! The live log: a hash chain of all live versions, for readers who do not trust the edge. Entries are written in the
//! commit that moves the pointer.

use devanture_config::api::{DeployKind, LiveLog, LiveLogEntry, WentLive};
use devanture_config::{AppName, PlaceName};

use super::{Actor, Error, Ledger, Page};
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::signing::{LiveLogRecord, live_log_key, live_log_prefix};
use devanture_store::records::{self, LivePointer};

/// Most oldest entries removed along with a new entry: after a lowered limit, a log shrinks switch by switch.
const TRIMMED_MAX: usize = 8;

/// Reason for a move of the live pointer.
pub(crate) struct Moves<'m> {
    /// Actor.
    pub(crate) actor: &'m Actor,
    /// Kind.
    pub(crate) kind: DeployKind,
    /// Time, in milliseconds since 1970 UTC.
    pub(crate) at_ms: u64,
    /// Deploy, or change of settings.
    pub(crate) deploy: &'m str,
    /// Fingerprints of the keys that signed the version.
    pub(crate) signed_by: Vec<String>,
}

impl Ledger {
    /// Adds a live-log entry to the commit that moves the pointer. Of two commits with the same number, one conflicts.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(crate) async fn log_live(
        &self,
        commit: &mut Commit,
        (app, environment): (&AppName, &PlaceName),
        pointer: &LivePointer,
        moves: Moves<'_>,
    ) -> Result<(), Error> {
        let prefix = live_log_prefix(app, environment);
        let last = self.catalog.list(&prefix, None, true, 1).await?;
        let last = last.first().and_then(|(key, record)| {
            let number: u64 = key.rsplit('/').next()?.parse().ok()?;
            let entry = records::read::<LiveLogRecord>(key, record);
            let entry = entry.inspect_err(|error| tracing::error!(%error, "a live log goes on behind a damaged entry"));
            Some((number, entry.ok().map(|entry| entry.hash)))
        });
        let Moves { actor, kind, at_ms, deploy, signed_by } = moves;
        let what = WentLive {
            at_ms,
            version: pointer.version,
            settings: pointer.settings,
            deploy: deploy.to_owned(),
            kind,
            who: actor.name.clone(),
            signed_by,
        };
        let entry = LiveLogEntry::after((app, environment), last, what);
        let key = live_log_key(app, environment, entry.number);
        let oldest_kept = entry.number.saturating_sub(self.limits().live_log_entries_max.saturating_sub(1));
        for (old, _) in self.catalog.list(&prefix, None, false, TRIMMED_MAX).await? {
            if old < live_log_key(app, environment, oldest_kept) {
                commit.changes.push(Change::Delete(old));
            }
        }
        commit.checks.push(Check::Absent(key.clone()));
        commit.changes.push(Change::Put(key, records::write(&LiveLogRecord::from(entry))?));
        Ok(())
    }

    /// Returns the live versions of an environment over time, oldest first.
    ///
    /// # Errors
    /// `not_found` for an unknown app, `bad_request` for an invalid cursor.
    pub async fn live_log(&self, app: &AppName, environment: &PlaceName, page: &Page) -> Result<LiveLog, Error> {
        self.must_exist(app).await?;
        let after = match &page.after {
            None => None,
            Some(after) => {
                let number: u64 = after.parse().map_err(|_not_a_number| page.bad_cursor())?;
                Some(live_log_key(app, environment, number))
            }
        };
        let limit = page.limit.saturating_add(1);
        let found = self.catalog.list(&live_log_prefix(app, environment), after.as_deref(), false, limit).await?;
        let mut entries = Vec::new();
        for (key, record) in &found {
            // An unreadable entry is omitted, which breaks the chain there.
            let entry = records::read::<LiveLogRecord>(key, record);
            let entry = entry.inspect_err(|error| tracing::error!(%error, "an entry of a live log is passed over"));
            entries.extend(entry.map(LiveLogEntry::from));
        }
        let next = page.next(&entries, |entry| entry.number.to_string());
        entries.truncate(page.limit);
        Ok(LiveLog { app: app.clone(), environment: environment.clone(), entries, next })
    }
}
