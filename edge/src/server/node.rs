//! Parts for operations on the whole node: its folders, and gauges read at each scrape in addition to the gauges of
//! live versions, certificates, the catalog file and the disk.

use std::path::Path;
use std::sync::Arc;

use devanture_config::HostPattern;
use devanture_config::edge_toml::EdgeFile;

use super::cluster::Cluster;
use super::sole_work::SoleWork;
use super::stores::{CATALOG_NAME, Stores};
use devanture_base::clock;
use devanture_base::telemetry;
use devanture_control::admin::{CertificateOf, Node};
use devanture_control::ledger::show_task;
use devanture_serve::handler::read_integrity_reports;
use devanture_serve::tls::{self, Certificates};
use devanture_store::blobs::{CacheUse, Survey};

/// Starts to count the content of the data folder, and returns the parts for scrapes.
pub(super) fn start(
    (file, base): (&EdgeFile, &Path),
    data_dir: &Path,
    sole: &SoleWork,
    stores: &Stores,
    (certificates, cluster): (&Certificates, &Option<Cluster>),
) -> Node {
    let apps = file.metrics.apps.as_ref().map(|apps| apps.iter().map(ToString::to_string).collect());
    telemetry::choose_apps(apps, usize::try_from(file.limits.metrics_environments_max).unwrap_or(usize::MAX));
    let most = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    telemetry::keep_traffic(most(file.limits.traffic_kept_bytes_max), most(file.limits.traffic_kept_apps_max));
    let of_integrity = (file.limits.integrity_reports_kept_max, file.limits.integrity_reports_apps_max);
    telemetry::keep_integrity_reports(most(of_integrity.0), most(of_integrity.1));
    read_integrity_reports(&file.limits);
    let survey = Survey::new(data_dir.to_owned());
    sole.spawn(Arc::clone(&survey).watch(|| show_task("stored", clock::now_ms())));
    let cache = stores.tier.as_ref().map(|tier| CacheUse::new(Arc::clone(&survey), tier.bytes_max));
    let of_visitors = certificates.clone();
    let certificate_of: CertificateOf = Box::new(move |host: &HostPattern| of_visitors.certificate_of(host));
    let (certificates, identity) = (certificates.clone(), cluster.as_ref().map(Cluster::identity));
    let path = data_dir.join(CATALOG_NAME);
    let followed = Arc::clone(&stores.catalog);
    let gauges: Vec<telemetry::GaugeSource> = vec![
        Box::new(move |gauges| {
            let state = followed.state();
            gauges.add("devanture_catalog_revision", &[], telemetry::gauge_value(state.revision));
            if let Some(age) = state.age {
                gauges.add("devanture_catalog_age_seconds", &[], age.as_secs_f64());
                gauges.add("devanture_catalog_reconnects_total", &[], telemetry::gauge_value(state.reconnects));
            }
        }),
        Box::new(move |gauges| survey.add_metrics(gauges)),
        Box::new(move |gauges| certificates.add_metrics(gauges)),
        Box::new(move |gauges| {
            if let Some(identity) = &identity {
                tls::add_end(gauges, (&identity.node, "cluster"), identity.ends_s());
            }
        }),
        Box::new(move |gauges| {
            if let Ok(catalog) = std::fs::metadata(&path) {
                gauges.add("devanture_catalog_bytes", &[], telemetry::gauge_value(catalog.len()));
            }
        }),
    ];
    let key_file = file.secrets_key_file().map(|path| base.join(path));
    Node { gauges, cache, certificate_of, data_dir: data_dir.to_owned(), key_file }
}
