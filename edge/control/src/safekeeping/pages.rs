//! Whether the catalog itself is whole, for those who read or copy all of it.

use devanture_config::api::CatalogPages;

use crate::ledger::Error;
use devanture_store::catalog::{self, Catalog};

/// Reads the pages of a catalog, with at most so many bytes in a second.
///
/// # Errors
/// Where the store fails; damage is none. Of a catalog that is elsewhere by now, and of a disk that takes no copy, the
/// log speaks.
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
