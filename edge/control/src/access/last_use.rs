//! Last use of tokens and sessions: kept in memory and written every minute, so that requests do not wait for a write,
//! except the first request of a long idle session.

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

/// Time for which the use of a token pair is remembered: longer than the maximum of `refresh_grace_ms_max`.
const PAIR_MS_MAX: u64 = 120_000;
/// Remembered pairs before expired pairs are removed.
const PAIRS_BEFORE_LOOK: usize = 256;
/// Writes between two removals of ended sessions and passkeys.
const WRITES_BETWEEN_REMOVALS: u64 = 60;
/// Interval of writes.
const WRITTEN_EVERY: Duration = Duration::from_secs(60);
/// Longest wait of a request for the write of its use.
const WRITE_MAX: Duration = Duration::from_secs(1);
/// Fraction of a session's idle time after which a use is written at once.
const LATE_PART: u64 = 4;
/// Uses per commit.
const WRITTEN_AT_ONCE: usize = 100;

/// Use of a token: id, time and origin.
type Use = (String, (u64, Option<IpAddr>));

/// Uses not yet written, and used pairs of logins. Contains only recognized credentials.
#[derive(Default)]
pub(super) struct LastUse {
    tokens: Mutex<HashMap<String, (u64, Option<IpAddr>)>>,
    /// Latest pair whose access token was used, with the time, by login id.
    pairs: Mutex<HashMap<String, (u64, u64)>>,
}

impl LastUse {
    /// Records a use of a token or session.
    pub(super) fn note(&self, id: &str, from: Option<IpAddr>) {
        let mut tokens = self.tokens.lock();
        tokens.insert(id.to_owned(), (clock::now_ms(), from));
    }

    /// Records a use of the access token of a login's pair, soon after the pair replaced another.
    pub(super) fn note_pair(&self, login: &str, generation: u64) {
        let now_ms = clock::now_ms();
        let mut pairs = self.pairs.lock();
        if pairs.len() >= PAIRS_BEFORE_LOOK {
            pairs.retain(|_, (_, used_ms)| now_ms.saturating_sub(*used_ms) < PAIR_MS_MAX);
        }
        let (latest, used_ms) = pairs.entry(login.to_owned()).or_default();
        (*latest, *used_ms) = (generation.max(*latest), now_ms);
    }

    /// Returns true if the access token of the login's pair, or of a later pair, was used.
    pub(super) fn is_pair_used(&self, login: &str, generation: u64) -> bool {
        let pairs = self.pairs.lock();
        pairs.get(login).is_some_and(|(latest, _)| *latest >= generation)
    }

    /// Forgets a deleted token or login.
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

    /// Marks entries as written, unless used since.
    fn written(&self, id: &str, written_ms: u64) {
        let mut tokens = self.tokens.lock();
        if tokens.get(id).is_some_and(|(at_ms, _)| *at_ms <= written_ms) {
            tokens.remove(id);
        }
    }
}

/// Returns the key of a token's or session's use; a session's key contains the key of its token or account.
fn used_by(id: &str) -> String {
    if id.len() == tokens::ID_BYTES.saturating_mul(2) { records::token_key(id) } else { sessions::session_key(id) }
}

impl Credentials {
    /// Returns time and origin of the last use of a token or session.
    pub(super) async fn last_used(&self, id: &str) -> Result<Option<UsedRecord>, Error> {
        if let Some(used) = self.used.unwritten(id) {
            return Ok(Some(used));
        }
        let key = identities::used_key(id);
        let record = self.catalog.get(&key).await?;
        Ok(record.map(|record| records::read(&key, &record)).transpose()?)
    }

    /// Runs forever: writes the last uses every minute, and deletes ended sessions and passkeys every hour.
    pub async fn keep_last_uses(&self) {
        for number in 1_u64.. {
            tokio::time::sleep(WRITTEN_EVERY).await;
            self.write_last_uses().await;
            if number % WRITES_BETWEEN_REMOVALS == 1 {
                self.remove_ended_sessions().await;
            }
        }
    }

    /// Writes the pending uses; failed writes are repeated with later uses.
    pub async fn write_last_uses(&self) {
        let uses: Vec<_> = self.used.all().into_iter().collect();
        for uses in uses.chunks(WRITTEN_AT_ONCE) {
            if let Err(error) = self.write_uses(uses).await {
                tracing::warn!(%error, "the last use of tokens could not be written");
                return;
            }
        }
    }

    /// Writes the latest use of a session begun at `created_ms`, if much of its idle time has passed since the written
    /// use: another node would soon consider the session ended.
    pub(super) async fn write_late_use(&self, id: &str, created_ms: u64) {
        let Some((at_ms, from)) = self.used.latest(id) else { return };
        let key = identities::used_key(id);
        let record = self.catalog.get(&key).await.ok().flatten();
        let written = record.and_then(|record| records::read::<UsedRecord>(&key, &record).ok());
        let written_ms = written.map_or(0, |used| used.at_ms).max(created_ms);
        if at_ms.saturating_sub(written_ms) < self.limits.session_idle_ms_max / LATE_PART {
            return;
        }
        // A failed write is repeated with later uses.
        let uses = [(id.to_owned(), (at_ms, from))];
        if let Ok(Err(error)) = tokio::time::timeout(WRITE_MAX, self.write_uses(&uses)).await {
            tracing::warn!(%error, "the last use of a session could not be written");
        }
    }

    /// Writes uses in one commit, or one by one after a concurrent revocation.
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

    /// Returns false if a token was changed concurrently.
    async fn commit_uses(&self, uses: &[Use]) -> Result<bool, Error> {
        let mut commit = Commit::default();
        for (id, (at_ms, from)) in uses {
            // A revoked token's use is not written: the record would never be deleted.
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
