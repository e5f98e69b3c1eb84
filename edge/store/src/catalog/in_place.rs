//! Watches that the catalog's file stays where it was opened, as one that was moved or replaced serves on and stores
//! nothing; shows whether it is known to be damaged; and has it look after itself.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;

use super::{Catalog, Error};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks again and again, for as long as the edge runs, and logs each change.
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
            // It is where it was, and the next edge has it; or a right lacks, which the look at the disk reports.
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
        // Why it cannot be written is reported by the look at the disk, and by each commit.
        if let Err(error) = catalog.look_after().await {
            tracing::debug!(%error, "the catalog cannot be written yet");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
