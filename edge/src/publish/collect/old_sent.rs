//! Ends what pushes wrote down that they have sent, where no version came of it within the grace period.

use super::{PAGE, Pass};
use crate::catalog::sent::{self, SentRecord};
use crate::catalog::{Change, Commit, records};
use crate::publish::{Error, Publisher};

impl Publisher {
    /// Deletes the records that may name files which this pass may take.
    pub(super) async fn end_old_sent(&self, pass: &Pass) -> Result<(), Error> {
        if pass.dry_run {
            return Ok(());
        }
        let mut after: Option<String> = None;
        loop {
            let page = self.catalog.list(sent::SENT_PREFIX, after.as_deref(), false, PAGE).await?;
            let is_old = |key: &str, record: &_| {
                // A file system's clock may be a moment behind the one that `at_ms` is of, so the very second counts, too.
                // What cannot be read says nothing.
                records::read::<SentRecord>(key, record).map_or(true, |sent| sent.at_ms / 1_000 <= pass.before_s)
            };
            let old = page.iter().filter(|(key, record)| is_old(key, record));
            let changes: Vec<Change> = old.map(|(key, _)| Change::Delete(key.clone())).collect();
            if !changes.is_empty() {
                self.collected(Commit { checks: Vec::new(), changes }).await?;
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
                _ => return Ok(()),
            }
        }
    }
}
