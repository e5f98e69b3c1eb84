//! Repairs stored files: takes those that are damaged or missing from a backup.

use async_trait::async_trait;
use devanture_config::api::VerifyReport;

use super::fetch::{Fetcher, Stored};
use super::location::Location;
use super::references::{self, Look};
use super::store;
use super::verify::{VerifyOptions, verify};
use crate::blobs::s3::Variables;
use crate::blobs::{Blobs, Key};
use crate::catalog::Catalog;
use crate::ledger::Error;

/// Reads all of it as [`verify`] does, stores again what a bucket has lost, takes what is damaged or missing from the backups in `from`, where there are some,
/// and reports what is left.
///
/// # Errors
/// Where a store fails; `bad_request` where `from` has no backup.
pub async fn repair(
    catalog: &dyn Catalog,
    blobs: &dyn Blobs,
    options: &VerifyOptions,
    from: Option<(&Location, &Variables)>,
) -> Result<VerifyReport, Error> {
    let mut report = verify(catalog, blobs, options).await?;
    let mut mender = Mender { blobs, files: 0 };
    references::go_through(catalog, blobs, options.app.as_ref(), &mut mender).await?;
    report.repaired = mender.files;
    let Some((from, variables)) = from.filter(|_| !report.damaged.is_empty()) else { return Ok(report) };
    let backup = store::open_to_read(from, variables).await?;
    let mut fetcher = Fetcher::new(&*backup, blobs).await?;
    references::go_through(catalog, blobs, options.app.as_ref(), &mut fetcher).await?;
    fetcher.finish().await?;
    let gone = references::go_through(catalog, blobs, options.app.as_ref(), &mut Stored(blobs)).await?;
    report.damaged = gone.damaged;
    report.repaired = report.repaired.saturating_add(fetcher.files);
    Ok(report)
}

/// Stores again what a bucket that nodes share has lost and this node still has.
struct Mender<'r> {
    blobs: &'r dyn Blobs,
    files: u64,
}

#[async_trait]
impl Look for Mender<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        if self.blobs.mend(key).await? {
            self.files = self.files.saturating_add(1);
        }
        Ok(true)
    }
}
