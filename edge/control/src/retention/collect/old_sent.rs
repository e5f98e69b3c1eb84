//! Deletes upload journals without a version within the grace period, or with purged blobs.

use std::collections::HashSet;

use devanture_config::{AppName, Digest};

use super::Pass;
use crate::ledger::{Error, SystemWrite, commit_in_parts};
use crate::retention::Retention;
use devanture_store::blobs::Key;
use devanture_store::catalog::Change;
use devanture_store::catalog::scan::Scan;
use devanture_store::records;
use devanture_store::records::sent::{self, SentRecord};

impl Retention {
    /// Deletes the journals that may name files deletable by the pass.
    pub(super) async fn end_old_sent(&self, pass: &Pass) -> Result<(), Error> {
        if pass.dry_run {
            return Ok(());
        }
        let mut uploads = Scan::new(&*self.ledger.catalog, sent::SENT_PREFIX);
        loop {
            let page = uploads.next_page().await?;
            if page.is_empty() {
                return Ok(());
            }
            let is_old = |key: &str, record: &_| {
                // The file system's clock may be slightly behind the clock of `at_ms`, so the same second counts too.
                // Unreadable journals are deleted.
                records::read::<SentRecord>(key, record).map_or(true, |sent| sent.at_ms / 1_000 <= pass.before_s)
            };
            let old = page.iter().filter(|(key, record)| is_old(key, record));
            let changes: Vec<Change> = old.map(|(key, _)| Change::Delete(key.clone())).collect();
            commit_in_parts(&*self.ledger.catalog, SystemWrite::Collection, changes).await?;
        }
    }

    /// Deletes the journals of an app that name one of the purged `files`: a later process must not derive from a
    /// journal that the app has sent blobs now held only by another app (law 11).
    pub(super) async fn end_sent_of(&self, app: &AppName, files: &[(Key, u64)]) -> Result<(), Error> {
        let blob = |(key, _): &(Key, u64)| match key {
            Key::Blob(digest) => Some(*digest),
            _ => None,
        };
        let purged: HashSet<Digest> = files.iter().filter_map(blob).collect();
        let mut uploads = Scan::new(&*self.ledger.catalog, sent::sent_prefix(app));
        loop {
            let page = uploads.next_page().await?;
            if page.is_empty() {
                return Ok(());
            }
            let is_purged = |key: &str, record: &_| {
                records::read::<SentRecord>(key, record)
                    .is_ok_and(|sent| sent.blobs.iter().any(|digest| purged.contains(digest)))
            };
            let ended = page.iter().filter(|(key, record)| is_purged(key, record));
            let changes: Vec<Change> = ended.map(|(key, _)| Change::Delete(key.clone())).collect();
            commit_in_parts(&*self.ledger.catalog, SystemWrite::Collection, changes).await?;
        }
    }
}
