//! Repairs stored files: replaces damaged or missing files from a backup.

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

/// Reads all files as [`verify`](super::verify) does, restores bucket objects lost or changed from the local copy,
/// takes damaged or missing files from the backups in `from`, if given, and reports the remaining damage.
///
/// # Errors
/// Errors of a store; `bad_request` if `from` has no backup.
pub async fn repair(
    catalog: &dyn Catalog,
    blobs: &dyn Blobs,
    options: &VerifyOptions,
    from: Option<(&Location, &Variables)>,
) -> Result<VerifyReport, Error> {
    // A missing backup must be reported even without damage.
    let backup = match from {
        Some((from, variables)) => Some(store::open_to_read(from, variables).await?),
        None => None,
    };
    let Found { mut report, lost } = look_through(catalog, blobs, options).await?;
    for key in lost {
        // Another node may have won the race.
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
