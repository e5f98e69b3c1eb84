//! The local disk in front of a bucket: blobs missing in the bucket are reported at the start, and unused blobs are
//! evicted from the disk beyond a limit.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::{Digest, VersionId};

use super::sole_work::SoleWork;
use devanture_base::clock;
use devanture_control::ledger::{Error, stored_manifest};
use devanture_serve::live::Live;
use devanture_store::blobs::{self, EvictReport, FreeSpace, Key, TieredBlobs};
use devanture_store::catalog::Catalog;
use devanture_store::catalog::scan::Scan;
use devanture_store::records;
use devanture_store::s3::Bucket;

/// Pause between two checks of the disk.
const PAUSE: Duration = Duration::from_secs(3_600);
/// Pause between two checks while the free space is too low.
const PAUSE_SHORT: Duration = Duration::from_secs(60);
/// Pause before the first check: a start has enough work.
const FIRST_AFTER: Duration = Duration::from_secs(300);
/// Seconds for which written or read blobs stay without a reference: a push may rely on a blob, and assets of recently
/// live versions are still served (law 10).
const UNUSED_S: u64 = 24 * 3_600;

/// The node's disk in front of a bucket.
#[derive(Clone)]
pub(super) struct LocalTier {
    pub(super) tiered: Arc<TieredBlobs>,
    pub(super) bucket: Bucket,
    /// Size above which unused blobs are evicted.
    pub(super) bytes_max: u64,
    /// Required free space: below, all unused blobs are evicted.
    pub(super) free_space: Arc<FreeSpace>,
}

impl LocalTier {
    /// Probes the bucket, and maintains the disk from now on.
    pub(super) fn start(&self, sole: &SoleWork, catalog: &Arc<dyn Catalog>, live: Live) {
        let bucket = self.bucket.clone();
        // In the background: a node starts without its bucket.
        sole.spawn(async move {
            let report = blobs::probe(&bucket).await;
            if report.is_good() {
                tracing::info!(bucket = report.bucket, "the bucket does all that is needed");
            }
            for check in &report.checks {
                if let Some((reason, hint)) = &check.fault {
                    tracing::error!(
                        bucket = report.bucket,
                        check = check.name,
                        reason,
                        hint,
                        "the bucket lacks something"
                    );
                }
            }
        });
        let (tier, catalog) = (self.clone(), Arc::clone(catalog));
        sole.spawn(async move {
            tokio::time::sleep(FIRST_AFTER).await;
            live.loaded().await;
            loop {
                match tier.tidy(&*catalog).await {
                    Ok(report) if report.files > 0 => {
                        tracing::info!(
                            files = report.files,
                            bytes = report.bytes,
                            left = report.left_bytes,
                            "files that are not live left the local disk"
                        );
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "the local disk could not be looked through"),
                }
                tokio::time::sleep(if tier.free_space.is_short() { PAUSE_SHORT } else { PAUSE }).await;
            }
        });
    }

    /// Evicts unused blobs beyond the limit. Blobs removed from the bucket by a collection stay as long as space
    /// remains: if the bucket lost a blob, the disk has the last copy.
    async fn tidy(&self, catalog: &dyn Catalog) -> Result<EvictReport, Error> {
        let kept = self.kept(catalog).await?;
        let keeps = |key: Key| kept.contains(&key);
        let unused_since_s = (clock::now_ms() / 1_000).saturating_sub(UNUSED_S);
        let bytes_max = if self.free_space.is_short() { 0 } else { self.bytes_max };
        Ok(self.tiered.evict(&keeps, bytes_max, unused_since_s).await?)
    }

    /// Returns the manifests and files of all versions that are live or have an alias.
    async fn kept(&self, catalog: &dyn Catalog) -> Result<HashSet<Key>, Error> {
        let mut versions: HashSet<VersionId> = HashSet::new();
        let mut pointers = Scan::new(catalog, records::LIVE_PREFIX);
        while let Some((key, record)) = pointers.next().await? {
            versions.extend(records::read::<records::LivePointer>(&key, &record)?.versions());
        }
        let mut aliases = Scan::new(catalog, records::ALIASES_PREFIX);
        while let Some((key, record)) = aliases.next().await? {
            versions.insert(records::read::<records::AliasRecord>(&key, &record)?.version);
        }
        let mut kept = HashSet::new();
        for version in versions {
            // If a manifest is unreadable, no blob is evicted: the version's files would be among the evicted blobs.
            let manifest = stored_manifest(&*self.tiered, version).await?;
            let blobs: Vec<Digest> = manifest.blobs().map(|(digest, _)| digest).collect();
            kept.extend(blobs.into_iter().map(Key::Blob));
            kept.insert(Key::Manifest(version));
        }
        Ok(kept)
    }
}
