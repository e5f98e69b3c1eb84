//! Watches that the catalog's file stays where it was opened: one that was moved or replaced serves on and stores nothing.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;

use super::{Catalog, Error};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks again and again, for as long as the edge runs, and logs each change.
pub async fn watch_in_place(catalog: Arc<dyn Catalog>) {
    let mut was_in_place = true;
    loop {
        let found = match catalog.check_in_place() {
            // It is where it was, and the next edge has it.
            Err(Error::HandedOver) => Ok(()),
            found => found,
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
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
