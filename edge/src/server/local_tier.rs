//! The local disk in front of a bucket: what the bucket lacks is reported at the start, and what is not live leaves the
//! disk once it takes too much of it.

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

/// Pause between two looks at what the disk holds.
const PAUSE: Duration = Duration::from_secs(3_600);
/// The same while the disk has less free than is to stay free.
const PAUSE_SHORT: Duration = Duration::from_secs(60);
/// Pause before the first one: a start has enough to do.
const FIRST_AFTER: Duration = Duration::from_secs(300);
/// Seconds for which what was written or read stays, whatever refers to it: a push may rely on it, and the assets of
/// what was live a while ago answer (law 10).
const UNUSED_S: u64 = 24 * 3_600;

/// The disk of this node in front of a bucket.
#[derive(Clone)]
pub(super) struct LocalTier {
    pub(super) tiered: Arc<TieredBlobs>,
    pub(super) bucket: Bucket,
    /// Bytes beyond which what is not live leaves the disk.
    pub(super) bytes_max: u64,
    /// What is to stay free on the disk: where it is not, all that is not live leaves it.
    pub(super) free_space: Arc<FreeSpace>,
}

impl LocalTier {
    /// Tries the bucket, and looks after the disk from now on.
    pub(super) fn start(&self, sole: &SoleWork, catalog: &Arc<dyn Catalog>, live: Live) {
        let bucket = self.bucket.clone();
        // Not waited for: a node starts without its bucket.
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

    /// Removes what is beyond the limit. What a collection took stays as long as there is room: should the bucket have
    /// lost it, this is the last copy.
    async fn tidy(&self, catalog: &dyn Catalog) -> Result<EvictReport, Error> {
        let kept = self.kept(catalog).await?;
        let keeps = |key: Key| kept.contains(&key);
        let unused_since_s = (clock::now_ms() / 1_000).saturating_sub(UNUSED_S);
        let bytes_max = if self.free_space.is_short() { 0 } else { self.bytes_max };
        Ok(self.tiered.evict(&keeps, bytes_max, unused_since_s).await?)
    }

    /// The manifests and files of all versions that are live or that aliases point to.
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
            // Where one cannot be read, nothing leaves: its files would be among those.
            let manifest = stored_manifest(&*self.tiered, version).await?;
            let blobs: Vec<Digest> = manifest.blobs().map(|(digest, _)| digest).collect();
            kept.extend(blobs.into_iter().map(Key::Blob));
            kept.insert(Key::Manifest(version));
        }
        Ok(kept)
    }
}
