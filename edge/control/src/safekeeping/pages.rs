//! Check of the catalog's pages, for readers of the whole catalog.

use devanture_config::api::CatalogPages;

use crate::ledger::Error;
use devanture_store::catalog::{self, Catalog};

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
