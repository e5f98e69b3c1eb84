//! Eviction: blobs leave the local disk beyond a bound, least recently read first. The bucket keeps all blobs, and
//! files of live versions are never evicted.

use std::collections::HashSet;

use metrics::counter;

use super::store::TieredBlobs;
use crate::blobs::{Blobs as _, Error, Key};

/// The result of an eviction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EvictReport {
    /// Blobs and manifests that left the disk, variants and deltas included.
    pub files: u64,
    /// Bytes of the removed files.
    pub bytes: u64,
    /// Bytes of all remaining files, including those that must stay.
    pub left_bytes: u64,
}

impl TieredBlobs {
    /// Removes blobs from the local disk, with their variants and deltas, least recently read first, until at most
    /// `bytes_max` are left. Keys in `keeps` stay, and so do files written or read at or after `unused_since_s`, in
    /// seconds since 1970: a push may rely on them.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub async fn evict(
        &self,
        keeps: &(dyn Fn(Key) -> bool + Sync),
        bytes_max: u64,
        unused_since_s: u64,
    ) -> Result<EvictReport, Error> {
        let (mut report, mut candidates) = (EvictReport::default(), Vec::new());
        for first in 0..=u8::MAX {
            for usage in self.local.usage(first).await? {
                report.left_bytes = report.left_bytes.saturating_add(usage.bytes);
                let used_s = usage.put_s.max(self.shared.uses.of(usage.key));
                if used_s < unused_since_s && !keeps(usage.key) {
                    candidates.push((used_s, usage.key, usage.bytes));
                }
            }
        }
        candidates.sort_unstable();
        for (_, key, bytes) in candidates {
            if report.left_bytes <= bytes_max {
                break;
            }
            self.drop_local(key, bytes, &mut report).await?;
        }
        Ok(report)
    }

    /// Removes files from the local disk without an object in the bucket, after a collection by a different node. Keys
    /// in `keeps` stay: the bucket may have lost their objects.
    ///
    /// # Errors
    /// [`Error::Disk`]; [`Error::Remote`] if the bucket cannot be listed.
    pub async fn drop_collected(
        &self,
        keeps: &(dyn Fn(Key) -> bool + Sync),
        unused_since_s: u64,
    ) -> Result<EvictReport, Error> {
        let mut report = EvictReport::default();
        for first in 0..=u8::MAX {
            // Before the bucket is listed: every later put is on the disk first.
            let here = self.local.usage(first).await?;
            if here.is_empty() {
                continue;
            }
            let stored: HashSet<Key> = self.stored_part(first).await?.into_iter().map(|(key, ..)| key).collect();
            for usage in here {
                let is_collected = !stored.contains(&usage.key) && usage.put_s < unused_since_s && !keeps(usage.key);
                report.left_bytes = report.left_bytes.saturating_add(usage.bytes);
                if is_collected {
                    self.drop_local(usage.key, usage.bytes, &mut report).await?;
                }
            }
        }
        Ok(report)
    }

    async fn drop_local(&self, key: Key, bytes: u64, report: &mut EvictReport) -> Result<(), Error> {
        self.local.delete(key).await?;
        if let Key::Blob(blob) = key {
            self.shared.lookups.forget(blob);
        }
        report.files = report.files.saturating_add(1);
        report.bytes = report.bytes.saturating_add(bytes);
        report.left_bytes = report.left_bytes.saturating_sub(bytes);
        counter!("devanture_evicted_files_total").increment(1);
        counter!("devanture_evicted_bytes_total").increment(bytes);
        Ok(())
    }
}
