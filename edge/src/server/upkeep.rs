//! Work started beside the serving threads: the load of live versions, and the maintenance of disk and counters.

use std::sync::Arc;
use std::time::Duration;

use devanture_config::edge_toml::EdgeFile;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::background;
use super::error::StartError;
use super::most_requested::{self, Requests};
use super::sole_work::SoleWork;
use super::stores::Stores;
use super::takeover::Arrival;
use devanture_base::telemetry::{Exposition, TALLY_EVERY};
use devanture_serve::live::{Live, Loader};
use devanture_store::blobs::FreeSpace;
use devanture_store::catalog;

/// Interval of moving samples into histograms.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Loads live versions, and waits for a limited time: with few apps all versions are loaded by then, and no request
/// waits.
///
/// # Errors
/// As [`Arrival::check_served`].
pub(super) fn load_live(
    control: &Runtime,
    (loader, live): (&Loader, &Live),
    requests: Requests,
    (arrival, file): (&mut Arrival, &EdgeFile),
) -> Result<JoinHandle<()>, StartError> {
    let loading = control.spawn(loader.clone().load_all(live.clone(), requests));
    control.block_on(arrival.wait_loaded(live));
    arrival.check_served(live, file.take_over_damaged)?;
    Ok(loading)
}

/// Starts the maintenance of disk and counters, for as long as the edge runs.
pub(super) fn start_upkeep(
    (file, stores, live): (&EdgeFile, &Stores, &Live),
    (control, sole): (&Runtime, &SoleWork),
    free_space: &Arc<FreeSpace>,
    (metrics, loader, requests): (&Exposition, &Loader, &most_requested::Record),
) {
    if let Some(tier) = &stores.tier {
        tier.start(sole, &stores.catalog, live.clone());
    }
    control.spawn(Arc::clone(free_space).watch());
    control.spawn(catalog::watch_in_place(Arc::clone(&stores.catalog)));
    control.spawn(loader.clone().keep_process_memory(live.clone()));
    control.spawn(keep_up(metrics.clone(), loader.clone(), Duration::from_secs(file.watch.before_s)));
    sole.spawn(requests.clone().keep_writing());
    background::start_scrub(file, sole, stores);
}

/// Maintains the metrics, for as long as the edge runs.
async fn keep_up(metrics: Exposition, loader: Loader, span: Duration) {
    let (mut upkeep, mut notes) = (tokio::time::interval(METRICS_UPKEEP), tokio::time::interval(TALLY_EVERY));
    loop {
        tokio::select! {
            _ = upkeep.tick() => metrics.upkeep(),
            _ = notes.tick() => loader.tallies().note(span),
        }
    }
}
