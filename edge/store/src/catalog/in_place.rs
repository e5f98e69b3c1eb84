//! Watches that the catalog's file stays where it was opened, since an edge with a moved or replaced file serves on and
//! stores nothing; reports known damage; and runs the maintenance of the catalog.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;

use super::{Catalog, Error};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Checks the file in a loop, for as long as the edge runs, and logs each change.
pub async fn watch_in_place(catalog: Arc<dyn Catalog>) {
    let (mut was_in_place, mut was_damaged) = (true, false);
    loop {
        let is_damaged = catalog.state().is_damaged;
        gauge!("devanture_catalog_damaged").set(u8::from(is_damaged));
        match (was_damaged, is_damaged) {
            (false, true) => tracing::error!(
                "a page of the catalog is damaged: what is live is served on, and a start may fail; restore a backup, or \
                 stop the edge and call `devanture-edge repair`"
            ),
            (true, false) => tracing::info!("every page of the catalog is whole again"),
            _ => {}
        }
        was_damaged = is_damaged;
        let found = match catalog.check_in_place() {
            Err(error @ Error::Replaced { .. }) => Err(error),
            // The file is in place, and the next edge has it; or a right is missing, which the check of the disk
            // reports.
            Ok(()) | Err(_) => Ok(()),
        };
        let is_in_place = found.is_ok();
        gauge!("devanture_catalog_replaced").set(u8::from(!is_in_place));
        match (was_in_place, found) {
            (true, Err(error)) => tracing::error!(
                %error,
                "what is live is served on, and nothing can be changed: move the file back, or restore it and restart"
            ),
            (false, Ok(())) => tracing::info!("the catalog is back in its place"),
            _ => {}
        }
        was_in_place = is_in_place;
        // The reason is reported by the check of the disk, and by each commit.
        if let Err(error) = catalog.look_after().await {
            tracing::debug!(%error, "the catalog cannot be written yet");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
