//! Repairs stored files: takes those that are damaged or missing from a backup.

use devanture_config::api::VerifyReport;

use super::fetch::Fetcher;
use super::location::Location;
use super::progress::unreported;
use super::references;
use super::store;
use super::verify::{Found, VerifyOptions, look_through};
use crate::ledger::Error;
use devanture_store::blobs::Blobs;
use devanture_store::catalog::Catalog;
use devanture_store::s3::Variables;

/// Reads all of it as [`verify`](super::verify) does, stores again what a bucket has lost or has with other bytes and
/// this node has, takes what is damaged or missing from the backups in `from`, where there are some, and reports what
/// is left.
///
/// # Errors
/// Where a store fails; `bad_request` where `from` has no backup.
pub async fn repair(
    catalog: &dyn Catalog,
    blobs: &dyn Blobs,
    options: &VerifyOptions,
    from: Option<(&Location, &Variables)>,
) -> Result<VerifyReport, Error> {
    // A backup that is not there is no matter of what is damaged.
    let backup = match from {
        Some((from, variables)) => Some(store::open_to_read(from, variables).await?),
        None => None,
    };
    let Found { mut report, lost } = look_through(catalog, blobs, options).await?;
    for key in lost {
        // Another node may have been quicker.
        if blobs.mend(key, options.bucket_rate()).await? {
            report.repaired = report.repaired.saturating_add(1);
        }
    }
    let Some(backup) = backup.filter(|_| !report.damaged.is_empty()) else { return Ok(report) };
    blobs.make_folders().await?;
    let mut fetcher = Fetcher::new(&*backup, blobs, &unreported).await?;
    references::go_through(catalog, blobs, options.app.as_ref(), &mut fetcher).await?;
    fetcher.finish().await?;
    let gone = references::go_through(catalog, blobs, options.app.as_ref(), &mut fetcher.stored()).await?;
    report.damaged = gone.damaged;
    report.damaged_in_backup = fetcher.damaged();
    report.repaired = report.repaired.saturating_add(fetcher.progress().files);
    Ok(report)
}
