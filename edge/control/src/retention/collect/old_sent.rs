//! Ends what pushes wrote down that they have sent, where no version came of it within the grace period, or where it
//! was purged.

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
    /// Deletes the records that may name files which this pass may take.
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
                // A file system's clock may be a moment behind the one that `at_ms` is of, so the very second counts,
                // too. What cannot be read says nothing.
                records::read::<SentRecord>(key, record).map_or(true, |sent| sent.at_ms / 1_000 <= pass.before_s)
            };
            let old = page.iter().filter(|(key, record)| is_old(key, record));
            let changes: Vec<Change> = old.map(|(key, _)| Change::Delete(key.clone())).collect();
            commit_in_parts(&*self.ledger.catalog, SystemWrite::Collection, changes).await?;
        }
    }

    /// Deletes those records of an app that name one of `files`, which it has purged: a later process must not take it
    /// from them that the app has sent what only another one still has (law 11).
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
