//! When tokens and sessions were used last: in memory, and written every minute, so that no request waits for a write
//! but the first one of a session that has rested for long.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Credentials, tokens};
use crate::ledger::{Error, SystemWrite, commit_system, from_text};
use devanture_base::clock;
use devanture_store::catalog::{self, Change, Check, Commit};
use devanture_store::records::identities::{self, UsedRecord};
use devanture_store::records::{self, sessions};

/// Time for which the use of a pair of tokens is remembered: longer than `refresh_grace_ms_max` can be.
const PAIR_MS_MAX: u64 = 120_000;
/// Pairs that are remembered before those are forgotten that were used longer ago.
const PAIRS_BEFORE_LOOK: usize = 256;
/// Writes between two removals of sessions and passkeys that have ended.
const WRITES_BETWEEN_REMOVALS: u64 = 60;
/// Interval of writes.
const WRITTEN_EVERY: Duration = Duration::from_secs(60);
/// Longest wait of a request for the write of its use.
const WRITE_MAX: Duration = Duration::from_secs(1);
/// The part of a session's idle time after which its use is written at once.
const LATE_PART: u64 = 4;
/// Uses that one commit writes.
const WRITTEN_AT_ONCE: usize = 100;

/// The use of a token: its id, when and from where.
type Use = (String, (u64, Option<IpAddr>));

/// The uses that are not written yet, and the pairs of logins that were used. Only what was recognised is in it.
#[derive(Default)]
pub(super) struct LastUse {
    tokens: Mutex<HashMap<String, (u64, Option<IpAddr>)>>,
    /// By the id of the login: the latest pair of which the access token was shown, and when.
    pairs: Mutex<HashMap<String, (u64, u64)>>,
}

impl LastUse {
    /// A token or a session was used now.
    pub(super) fn note(&self, id: &str, from: Option<IpAddr>) {
        let mut tokens = self.tokens.lock();
        tokens.insert(id.to_owned(), (clock::now_ms(), from));
    }

    /// The access token of a login's pair was used, so shortly after it replaced another that this counts.
    pub(super) fn note_pair(&self, login: &str, generation: u64) {
        let now_ms = clock::now_ms();
        let mut pairs = self.pairs.lock();
        if pairs.len() >= PAIRS_BEFORE_LOOK {
            pairs.retain(|_, (_, used_ms)| now_ms.saturating_sub(*used_ms) < PAIR_MS_MAX);
        }
        let (latest, used_ms) = pairs.entry(login.to_owned()).or_default();
        (*latest, *used_ms) = (generation.max(*latest), now_ms);
    }

    /// Whether the access token of this pair of a login, or of a later one, was used.
    pub(super) fn is_pair_used(&self, login: &str, generation: u64) -> bool {
        let pairs = self.pairs.lock();
        pairs.get(login).is_some_and(|(latest, _)| *latest >= generation)
    }

    /// A token or a login was removed.
    pub(super) fn forget(&self, id: &str) {
        self.tokens.lock().remove(id);
        self.pairs.lock().remove(id);
    }

    fn latest(&self, id: &str) -> Option<(u64, Option<IpAddr>)> {
        self.tokens.lock().get(id).copied()
    }

    fn unwritten(&self, id: &str) -> Option<UsedRecord> {
        self.latest(id).map(|(at_ms, from)| UsedRecord { at_ms, from: from_text(from) })
    }

    fn all(&self) -> HashMap<String, (u64, Option<IpAddr>)> {
        self.tokens.lock().clone()
    }

    /// Marks entries as written, unless they were used since.
    fn written(&self, id: &str, written_ms: u64) {
        let mut tokens = self.tokens.lock();
        if tokens.get(id).is_some_and(|(at_ms, _)| *at_ms <= written_ms) {
            tokens.remove(id);
        }
    }
}

/// The key of the token or the session with this id: that of a session holds that of its token or account.
fn used_by(id: &str) -> String {
    if id.len() == tokens::ID_BYTES.saturating_mul(2) { records::token_key(id) } else { sessions::session_key(id) }
}

impl Credentials {
    /// When and from where a token or a session was used last.
    pub(super) async fn last_used(&self, id: &str) -> Result<Option<UsedRecord>, Error> {
        if let Some(used) = self.used.unwritten(id) {
            return Ok(Some(used));
        }
        let key = identities::used_key(id);
        let record = self.catalog.get(&key).await?;
        Ok(record.map(|record| records::read(&key, &record)).transpose()?)
    }

    /// Writes the last uses every minute, for as long as it is run, and removes sessions and passkeys that have ended
    /// every hour.
    pub async fn keep_last_uses(&self) {
        for number in 1_u64.. {
            tokio::time::sleep(WRITTEN_EVERY).await;
            self.write_last_uses().await;
            if number % WRITES_BETWEEN_REMOVALS == 1 {
                self.remove_ended_sessions().await;
            }
        }
    }

    /// Writes the last uses that are not written yet; what cannot be written now is written with the next ones.
    pub async fn write_last_uses(&self) {
        let uses: Vec<_> = self.used.all().into_iter().collect();
        for uses in uses.chunks(WRITTEN_AT_ONCE) {
            if let Err(error) = self.write_uses(uses).await {
                tracing::warn!(%error, "the last use of tokens could not be written");
                return;
            }
        }
    }

    /// Writes the latest use of a session that began at `created_ms`, if a good part of its idle time has passed since
    /// the one that is written: another node would soon take it for ended.
    pub(super) async fn write_late_use(&self, id: &str, created_ms: u64) {
        let Some((at_ms, from)) = self.used.latest(id) else { return };
        let key = identities::used_key(id);
        let record = self.catalog.get(&key).await.ok().flatten();
        let written = record.and_then(|record| records::read::<UsedRecord>(&key, &record).ok());
        let written_ms = written.map_or(0, |used| used.at_ms).max(created_ms);
        if at_ms.saturating_sub(written_ms) < self.limits.session_idle_ms_max / LATE_PART {
            return;
        }
        // Where it cannot be written now, it is with the next ones.
        let uses = [(id.to_owned(), (at_ms, from))];
        if let Ok(Err(error)) = tokio::time::timeout(WRITE_MAX, self.write_uses(&uses)).await {
            tracing::warn!(%error, "the last use of a session could not be written");
        }
    }

    /// Writes some of them in one commit, or, where a token was revoked at that moment, each in its own.
    async fn write_uses(&self, uses: &[Use]) -> Result<(), Error> {
        let written = |uses: &[Use]| uses.iter().for_each(|(id, (at_ms, _))| self.used.written(id, *at_ms));
        match self.commit_uses(uses).await? {
            true => written(uses),
            false => {
                for one in uses.chunks(1) {
                    if self.commit_uses(one).await? {
                        written(one);
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns whether no token was changed meanwhile.
    async fn commit_uses(&self, uses: &[Use]) -> Result<bool, Error> {
        let mut commit = Commit::default();
        for (id, (at_ms, from)) in uses {
            // One that was revoked is not written: the record would stay for ever.
            let key = used_by(id);
            let Some(record) = self.catalog.get(&key).await? else { continue };
            let used = UsedRecord { at_ms: *at_ms, from: from_text(*from) };
            commit.checks.push(Check::At(key, record.revision));
            commit.changes.push(Change::Put(identities::used_key(id), records::write(&used)?));
        }
        if commit.changes.is_empty() {
            return Ok(true);
        }
        match commit_system(&*self.catalog, SystemWrite::LastUse, commit).await {
            Ok(_) => Ok(true),
            Err(catalog::Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
