//! Ends what pushes wrote down that they have sent, where no version came of it within the grace period.

use super::Pass;
use crate::catalog::Change;
use crate::catalog::scan::Scan;
use crate::ledger::{Error, SystemWrite, commit_in_parts};
use crate::records;
use crate::records::sent::{self, SentRecord};
use crate::retention::Retention;

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
                // A file system's clock may be a moment behind the one that `at_ms` is of, so the very second counts, too.
                // What cannot be read says nothing.
                records::read::<SentRecord>(key, record).map_or(true, |sent| sent.at_ms / 1_000 <= pass.before_s)
            };
            let old = page.iter().filter(|(key, record)| is_old(key, record));
            let changes: Vec<Change> = old.map(|(key, _)| Change::Delete(key.clone())).collect();
            commit_in_parts(&*self.ledger.catalog, SystemWrite::Collection, changes).await?;
        }
    }
}
