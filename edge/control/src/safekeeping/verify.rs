//! Reads the catalog, and every file that versions refer to, with what was made of it, and names the versions that lack
//! some. Of a node, the objects of the bucket are compared with its files.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use devanture_config::AppName;
use devanture_config::api::{CatalogPages, DamagedVersion, VerifyReport};

use super::pages::pages_of;
use super::references::{self, Look};
use crate::ledger::Error;
use devanture_base::durable;
use devanture_store::blobs::{self, Blobs, Key, VariantInfo};
use devanture_store::catalog::Catalog;

/// Bytes up to which a file is read at once.
const SMALL_BYTES_MAX: u64 = 256 * 1_024;

/// What is read, and how fast.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Of this app alone.
    pub app: Option<AppName>,
    /// Bytes that are read in a second at most.
    pub bytes_per_second_max: u64,
    /// Whether the objects of a bucket that nodes share are read, and not their lengths compared alone.
    pub read_bucket: bool,
}

impl VerifyOptions {
    /// How fast the objects of the bucket are read, if they are.
    pub(super) fn bucket_rate(&self) -> Option<u64> {
        self.read_bucket.then_some(self.bytes_per_second_max.max(1))
    }
}

/// What was found.
pub(super) struct Found {
    pub(super) report: VerifyReport,
    /// Files that are whole here, and not in the bucket.
    pub(super) lost: HashSet<Key>,
}

/// Reads all of it. What is damaged is set aside, so that nobody gets it; objects of a bucket stay as they are.
///
/// # Errors
/// Where a store fails; damage is none.
pub async fn verify(catalog: &dyn Catalog, blobs: &dyn Blobs, options: &VerifyOptions) -> Result<VerifyReport, Error> {
    let Found { report, lost } = look_through(catalog, blobs, options).await?;
    Ok(VerifyReport { bucket: of_bucket(catalog, blobs, options, &lost).await?, ..report })
}

/// As [`verify`], with the files that the bucket has lost in place of their versions.
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

/// The versions with files that the bucket has lost.
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

/// Finds the versions of files that are known to be lost.
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
    /// What the bucket that nodes share has, where there is one.
    shared: Option<HashMap<Key, u64>>,
    /// How fast its objects are read, if they are.
    bucket_rate: Option<u64>,
    /// Bytes of small files that no pause was made for yet.
    unpaused_bytes: u64,
    report: VerifyReport,
    lost: HashSet<Key>,
}

impl Reader<'_> {
    /// Whether the file is whole. A pause after each small one would take longer than they do: many have one together.
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
            // A sector that cannot be read is damage, too.
            Err(error @ blobs::Error::Disk(durable::Error::Io { .. })) => {
                tracing::warn!(?key, %error, "a stored file cannot be read");
                self.blobs.suspect(key);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Compares a file that is whole with its object, which the listing may not have if it was put since.
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
