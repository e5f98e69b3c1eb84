//! Tests of the metrics of versions prepared for other nodes.
//!
//! The tests run on one thread, so that the recorder counts no other test.

use devanture_config::{PlaceName, VersionId};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::collections::world::{name, world};
use super::other_nodes::service;
use crate::cluster::{PrepareRequest, Service as _};

#[tokio::test]
async fn a_node_measures_how_long_it_prepares_versions_and_how_often_it_fails_to() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, service) = (name(0), service(&world));
    let stored = world.push(&app, &[1].into()).await.unwrap().version;
    let revision = world.catalog.state().revision;
    let prepare = async |version: VersionId| {
        let (app, environment) = (app.clone(), PlaceName::prod());
        let request = PrepareRequest { app, environment, version, settings: None, coming: None, revision };
        service.prepare(&request, &|_line| {}).await.is_ok()
    };
    let counted = || {
        let text = recorder.handle().render();
        ["ok", "failed"].map(|outcome| {
            let series = format!("devanture_prepare_seconds_count{{outcome=\"{outcome}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok())
        })
    };
    assert!(prepare(stored).await && prepare(stored).await);
    assert_eq!(counted(), [Some(2), None]);
    assert!(!prepare(VersionId::of(b"another")).await);
    assert_eq!(counted(), [Some(2), Some(1)]);
}
