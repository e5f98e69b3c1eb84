//! Stops a collection that would delete more files than an intact catalog explains.
//!
//! A lost catalog, or a catalog restored from an old copy, references few of the stored files. Without the check, the
//! first collection would delete all other files.

use devanture_config::api::CollectStopped;

use super::Pass;
use super::mark::Marked;
use crate::ledger::Error;
use crate::retention::Retention;

impl Retention {
    /// Returns true if any record of an app or push shows that files were ever stored; an empty catalog explains no
    /// files.
    pub(super) async fn knows_files(&self) -> Result<bool, Error> {
        for prefix in ["apps/", "sent/"] {
            if !self.ledger.catalog.list(prefix, None, false, 1).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the figures of a disproportionate collection; `None` for a collection that may proceed.
    pub(super) async fn out_of_proportion(
        &self,
        pass: &Pass,
        marked: &Marked,
    ) -> Result<Option<CollectStopped>, Error> {
        if !marked.unreadable.is_empty() {
            return Ok(None);
        }
        let mut unreferenced = 0_u64;
        for first in 0..=u8::MAX {
            let listed = self.blobs.list_part(first).await?;
            let old = listed.iter().filter(|(key, _, put_s)| *put_s < pass.before_s && !marked.holds(*key));
            unreferenced = unreferenced.saturating_add(u64::try_from(old.count()).unwrap_or(u64::MAX));
        }
        let referenced = marked.count();
        let in_proportion = referenced.saturating_mul(self.ledger.limits().collect_unreferenced_percent_max) / 100;
        let always = if pass.knows_files { self.ledger.limits().collect_unreferenced_files_max } else { 0 };
        let stopped = CollectStopped { referenced, unreferenced };
        Ok((unreferenced > in_proportion.max(always)).then_some(stopped))
    }
}
