//! Gauges that are read for each scrape beside those of what is served: certificates, the catalog's file, the disk.

use std::path::Path;
use std::sync::Arc;

use devanture_config::edge_toml::EdgeFile;
use tokio::runtime::Runtime;

use super::stores::{CATALOG_NAME, Stores};
use crate::blobs::Survey;
use crate::ledger::{show_task, show_tasks};
use crate::telemetry::{self, GaugeSource};
use crate::tls::Certificates;

/// Starts to count what the data folder holds, and gives what each scrape reads.
pub(super) fn start(
    file: &EdgeFile,
    data_dir: &Path,
    control: &Runtime,
    stores: &Stores,
    certificates: &Certificates,
) -> Vec<GaugeSource> {
    let apps = file.metrics.apps.as_ref().map(|apps| apps.iter().map(ToString::to_string).collect());
    telemetry::choose_apps(apps, usize::try_from(file.limits.metrics_environments_max).unwrap_or(usize::MAX));
    let survey = Survey::new(data_dir.to_owned());
    control.spawn(Arc::clone(&survey).watch(|| show_task("stored", telemetry::now_ms())));
    let catalog = Arc::clone(&stores.catalog);
    control.spawn(async move { show_tasks(&*catalog).await });
    let certificates = certificates.clone();
    let path = data_dir.join(CATALOG_NAME);
    vec![
        Box::new(move |gauges| survey.add_metrics(gauges)),
        Box::new(move |gauges| certificates.add_metrics(gauges)),
        Box::new(move |gauges| {
            if let Ok(catalog) = std::fs::metadata(&path) {
                #[allow(clippy::cast_precision_loss, reason = "exact up to 9 PB")]
                gauges.add("devanture_catalog_bytes", &[], catalog.len() as f64);
            }
        }),
    ]
}
