//! Repairs stored files: takes those that are damaged or missing from a backup.

use std::path::Path;

use async_trait::async_trait;
use devanture_config::api::VerifyReport;

use super::folder;
use super::references::{self, Look};
use super::verify::{VerifyOptions, verify};
use crate::blobs::{self, Blobs, Key};
use crate::catalog::Catalog;
use crate::ledger::Error;

/// Reads all of it as [`verify`] does, takes what is damaged or missing from the backup in `from`, where there is one,
/// and reports what is left.
///
/// # Errors
/// Where a store fails; `bad_request` where `from` is no backup.
pub async fn repair(
    catalog: &dyn Catalog,
    blobs: &dyn Blobs,
    options: &VerifyOptions,
    from: Option<&Path>,
) -> Result<VerifyReport, Error> {
    let mut report = verify(catalog, blobs, options).await?;
    let Some(from) = from.filter(|_| !report.damaged.is_empty()) else { return Ok(report) };
    let backup = folder::open_for_reading(from).await?;
    let mut repairer = Repairer { blobs, backup: &*backup, repaired: 0 };
    let gone = references::go_through(catalog, blobs, options.app.as_ref(), &mut repairer).await?;
    (report.damaged, report.repaired) = (gone.damaged, repairer.repaired);
    Ok(report)
}

struct Repairer<'m> {
    blobs: &'m dyn Blobs,
    backup: &'m dyn Blobs,
    repaired: u64,
}

#[async_trait]
impl Look for Repairer<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        // What was damaged is set aside by now.
        if self.blobs.size(key).await?.is_some() {
            return Ok(true);
        }
        match folder::copy(self.backup, self.blobs, key).await {
            Ok(_) => {
                self.repaired = self.repaired.saturating_add(1);
                Ok(true)
            }
            Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
