//! Verifies the catalog and every file referenced by versions, with derived files, and lists versions with missing
//! files. On a node, objects of the bucket are compared with local files.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use devanture_base::durable;
use devanture_config::AppName;
use devanture_config::api::{CatalogPages, DamagedVersion, VerifyReport};
use devanture_store::blobs::{Blobs, Key, VariantInfo};
use devanture_store::catalog::Catalog;
use devanture_store::{blobs, catalog};

use super::references::{self, Look};
use crate::ledger::Error;

/// Largest file read at once, in bytes.
const SMALL_BYTES_MAX: u64 = 256 * 1_024;

/// Extent and rate of a verification.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Restriction to one app.
    pub app: Option<AppName>,
    /// Bytes read per second at most.
    pub bytes_per_second_max: u64,
    /// True to read the objects of a shared bucket instead of only comparing lengths.
    pub read_bucket: bool,
}

impl VerifyOptions {
    /// Returns the read rate of bucket objects, if read.
    pub(super) fn bucket_rate(&self) -> Option<u64> {
        self.read_bucket.then_some(self.bytes_per_second_max.max(1))
    }
}

/// Result of a verification.
pub(super) struct Found {
    pub(super) report: VerifyReport,
    /// Files undamaged locally, but lost or damaged in the bucket.
    pub(super) lost: HashSet<Key>,
}

/// Verifies all files. Damaged files are set aside, so that no client gets them; objects of a bucket stay unchanged.
///
/// # Errors
/// Errors of a store, except damage.
pub async fn verify(catalog: &dyn Catalog, blobs: &dyn Blobs, options: &VerifyOptions) -> Result<VerifyReport, Error> {
    let Found { report, lost } = look_through(catalog, blobs, options).await?;
    Ok(VerifyReport { bucket: of_bucket(catalog, blobs, options, &lost).await?, ..report })
}

/// As [`verify`], with files lost by the bucket in place of their versions.
///
/// # Errors
/// As [`verify`].
pub(super) async fn look_through(
    catalog: &dyn Catalog,
    blobs: &dyn Blobs,
    options: &VerifyOptions,
) -> Result<Found, Error> {
    let pages = match &options.app {
        Some(_) => CatalogPages::Unchecked,
        None => pages_of(catalog, options.bytes_per_second_max.max(1)).await?,
    };
    let mut reader = Reader {
        blobs,
        rate: options.bytes_per_second_max.max(1),
        shared: blobs.shared_sizes().await?,
        bucket_rate: options.bucket_rate(),
        unpaused_bytes: 0,
        report: VerifyReport { catalog: pages, ..VerifyReport::default() },
        lost: HashSet::new(),
    };
    let gone = match references::go_through(catalog, blobs, options.app.as_ref(), &mut reader).await {
        Err(error) if pages.is_damaged() => {
            tracing::error!(%error, "not all versions are checked, as their records cannot be read");
            references::Gone::default()
        }
        gone => gone?,
    };
    let Reader { report, lost, .. } = reader;
    let quarantined = blobs.quarantined().await?;
    let report = VerifyReport { versions: gone.versions, damaged: gone.damaged, quarantined, ..report };
    Ok(Found { report, lost })
}

/// Returns the versions with files lost by the bucket.
async fn of_bucket(
    catalog: &dyn Catalog,
    blobs: &dyn Blobs,
    options: &VerifyOptions,
    lost: &HashSet<Key>,
) -> Result<Vec<DamagedVersion>, Error> {
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    Ok(references::go_through(catalog, blobs, options.app.as_ref(), &mut NotAmong(lost)).await?.damaged)
}

/// Finds the versions of known lost files.
struct NotAmong<'l>(&'l HashSet<Key>);

#[async_trait]
impl Look for NotAmong<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        Ok(!self.0.contains(&key))
    }
}

struct Reader<'r> {
    blobs: &'r dyn Blobs,
    rate: u64,
    /// Objects of the shared bucket, if any.
    shared: Option<HashMap<Key, u64>>,
    /// Read rate of its objects, if read.
    bucket_rate: Option<u64>,
    /// Bytes of small files not yet compensated by a pause.
    unpaused_bytes: u64,
    report: VerifyReport,
    lost: HashSet<Key>,
}

impl Reader<'_> {
    /// Returns true if the file is undamaged. Small files share one pause, since a pause per file would take longer
    /// than reading.
    async fn read(&mut self, key: Key, size: u64) -> Result<bool, Error> {
        let is_small = size <= SMALL_BYTES_MAX;
        if self.unpaused_bytes > SMALL_BYTES_MAX {
            let bytes = std::mem::take(&mut self.unpaused_bytes);
            let micros = bytes.saturating_mul(1_000_000).checked_div(self.rate).unwrap_or_default();
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
        match self.blobs.check(key, if is_small { u64::MAX } else { self.rate }).await {
            Ok(bytes) => {
                let unpaused = if is_small { bytes } else { 0 };
                self.unpaused_bytes = self.unpaused_bytes.saturating_add(unpaused);
                self.report.files = self.report.files.saturating_add(1);
                self.report.bytes = self.report.bytes.saturating_add(bytes);
                Ok(true)
            }
            Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => {
                self.blobs.suspect(key);
                Ok(false)
            }
            // An unreadable sector counts as damage.
            Err(error @ blobs::Error::Disk(durable::Error::Io { .. })) => {
                tracing::warn!(?key, %error, "a stored file cannot be read");
                self.blobs.suspect(key);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Compares an undamaged file with its object, which may be missing from the listing if stored since.
    async fn compare(&mut self, key: Key, size: u64) -> Result<(), Error> {
        let Some(shared) = &self.shared else { return Ok(()) };
        if self.bucket_rate.is_none() && shared.get(&key) == Some(&size) {
            return Ok(());
        }
        match self.blobs.check_shared(key, self.bucket_rate).await {
            Ok(()) => Ok(()),
            Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => {
                self.lost.insert(key);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl Look for Reader<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        let size = self.blobs.size(key).await?.unwrap_or(0);
        let is_whole = self.read(key, size).await?;
        if is_whole {
            self.compare(key, size).await?;
        }
        if let Key::Blob(blob) = key {
            let unreadable = self.blobs.check_lists(blob).await?;
            self.report.derived = self.report.derived.saturating_add(unreadable);
            let variants = self.blobs.stored_variants(blob).await?;
            let variant = |info: &VariantInfo| (Key::Variant(blob, info.form), info.size);
            let mut derived: Vec<(Key, u64)> = variants.iter().map(variant).collect();
            let deltas = self.blobs.deltas(blob).await?;
            derived.extend(deltas.iter().map(|info| (Key::Delta(blob, info.dictionary, info.form), info.size)));
            for (key, size) in derived {
                if !self.read(key, size).await? {
                    self.report.derived = self.report.derived.saturating_add(1);
                }
            }
        }
        Ok(is_whole)
    }
}

// Check of the catalog's pages, for readers of the whole catalog.

/// Reads the pages of a catalog, with a limit on bytes per second.
///
/// # Errors
/// Errors of the store, except damage. A moved catalog, or a disk too full for a copy, is only logged.
pub(super) async fn pages_of(catalog: &dyn Catalog, bytes_per_second_max: u64) -> Result<CatalogPages, Error> {
    match catalog.check_pages(bytes_per_second_max).await {
        Ok(()) => Ok(CatalogPages::Whole),
        Err(catalog::Error::Damaged { .. }) => Ok(CatalogPages::Damaged),
        Err(
            error @ (catalog::Error::Full
            | catalog::Error::HandedOver
            | catalog::Error::Replaced { .. }
            | catalog::Error::Unreadable { .. }
            | catalog::Error::Unwritable { .. }),
        ) => {
            tracing::warn!(%error, "the pages of the catalog are not checked");
            Ok(CatalogPages::Unchecked)
        }
        Err(error) => Err(error.into()),
    }
}
