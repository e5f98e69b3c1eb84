//! Reads every file that versions refer to, with what was made of it, and names the versions that lack some.

use async_trait::async_trait;
use devanture_config::AppName;
use devanture_config::api::VerifyReport;

use super::references::{self, Look};
use crate::blobs::{self, Blobs, Key};
use crate::catalog::Catalog;
use crate::ledger::Error;

/// What is read, and how fast.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Of this app alone.
    pub app: Option<AppName>,
    /// Bytes that are read in a second at most.
    pub bytes_per_second_max: u64,
}

/// Reads all of it. What is damaged is set aside, so that nobody gets it.
///
/// # Errors
/// Where a store fails; damage is none.
pub async fn verify(catalog: &dyn Catalog, blobs: &dyn Blobs, options: &VerifyOptions) -> Result<VerifyReport, Error> {
    let mut reader = Reader { blobs, rate: options.bytes_per_second_max, report: VerifyReport::default() };
    let gone = references::go_through(catalog, blobs, options.app.as_ref(), &mut reader).await?;
    let quarantined = blobs.quarantined().await?;
    Ok(VerifyReport { versions: gone.versions, damaged: gone.damaged, quarantined, ..reader.report })
}

struct Reader<'r> {
    blobs: &'r dyn Blobs,
    rate: u64,
    report: VerifyReport,
}

impl Reader<'_> {
    /// Whether the file is whole.
    async fn read(&mut self, key: Key) -> Result<bool, Error> {
        match self.blobs.check(key, self.rate).await {
            Ok(bytes) => {
                self.report.files = self.report.files.saturating_add(1);
                self.report.bytes = self.report.bytes.saturating_add(bytes);
                Ok(true)
            }
            Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => Ok(false),
            // A sector that cannot be read is damage, too.
            Err(error @ blobs::Error::Io { .. }) => {
                tracing::warn!(?key, %error, "a stored file cannot be read");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl Look for Reader<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        let is_whole = self.read(key).await?;
        if let Key::Blob(blob) = key {
            let variants = self.blobs.variants(blob).await?;
            let mut derived: Vec<Key> = variants.iter().map(|info| Key::Variant(blob, info.form)).collect();
            let deltas = self.blobs.deltas(blob).await?;
            derived.extend(deltas.iter().map(|info| Key::Delta(blob, info.dictionary, info.form)));
            for key in derived {
                if !self.read(key).await? {
                    self.report.derived = self.report.derived.saturating_add(1);
                }
            }
        }
        Ok(is_whole)
    }
}
