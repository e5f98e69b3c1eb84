//! Repairs stored files: takes those that are damaged or missing from a backup.

use devanture_config::api::VerifyReport;

use super::fetch::{Fetcher, Stored};
use super::location::Location;
use super::references;
use super::store;
use super::verify::{VerifyOptions, verify};
use crate::blobs::Blobs;
use crate::blobs::s3::Variables;
use crate::catalog::Catalog;
use crate::ledger::Error;

/// Reads all of it as [`verify`] does, takes what is damaged or missing from the backups in `from`, where there are some,
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
    let Some((from, variables)) = from.filter(|_| !report.damaged.is_empty()) else { return Ok(report) };
    let backup = store::open_to_read(from, variables).await?;
    let mut fetcher = Fetcher::new(&*backup, blobs).await?;
    references::go_through(catalog, blobs, options.app.as_ref(), &mut fetcher).await?;
    fetcher.finish().await?;
    let gone = references::go_through(catalog, blobs, options.app.as_ref(), &mut Stored(blobs)).await?;
    (report.damaged, report.repaired) = (gone.damaged, fetcher.files);
    Ok(report)
}
