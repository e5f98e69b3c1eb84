//! Metrics in Prometheus format.

use std::time::Instant;

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::descriptions::{Kind, METRICS};
use super::{counters, labels, requests};

/// Histogram of the seconds until an instance is healthy.
pub const INSTANCE_START: &str = "devanture_instance_start_seconds";
/// Bucket bounds in seconds: a compiled program is up in some hundredths, a large program within a minute.
const INSTANCE_START_BOUNDS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Histogram of the seconds to prepare a version for a switch.
pub const PREPARE: &str = "devanture_prepare_seconds";
/// Bucket bounds in seconds: from local files to a large site from a slow bucket, or slow instances.
const PREPARE_BOUNDS: [f64; 10] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];
/// Histogram of requests to the bucket of stored files.
pub const BUCKET_REQUEST: &str = "devanture_bucket_request_seconds";
/// Bucket bounds in seconds: from a store in the same rack to a large object over a slow line.
const BUCKET_REQUEST_BOUNDS: [f64; 11] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

/// Text of `/metrics`.
#[derive(Clone)]
pub struct Exposition(PrometheusHandle);

impl Exposition {
    /// Installs the recorder of the process; a second edge in the process shares the recorder of the first.
    #[must_use]
    pub fn install() -> Self {
        static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
        let handle = HANDLE.get_or_init(|| {
            let recorder = with_buckets().build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).ok();
            describe();
            handle
        });
        Self(handle.clone())
    }

    /// Returns the metrics as text, including every request counted so far.
    #[must_use]
    pub fn render(&self) -> String {
        let requests = requests::gather_and_render();
        self.0.render() + &requests + &counters::render()
    }

    /// Moves counts and samples to the rendered state; must be called every few seconds, or samples accumulate.
    pub fn upkeep(&self) {
        requests::gather();
        labels::review(Instant::now());
        self.0.run_upkeep();
    }
}

/// Returns a builder with histogram buckets: without buckets the exporter would create summaries. `requests` writes the
/// histograms of requests, which are not included.
fn with_buckets() -> PrometheusBuilder {
    let named = |name: &str| Matcher::Full(name.to_owned());
    let set = PrometheusBuilder::new()
        .set_buckets_for_metric(named(INSTANCE_START), &INSTANCE_START_BOUNDS)
        .and_then(|set| set.set_buckets_for_metric(named(BUCKET_REQUEST), &BUCKET_REQUEST_BOUNDS))
        .and_then(|set| set.set_buckets_for_metric(named(PREPARE), &PREPARE_BOUNDS));
    // Only an empty list of bounds is refused.
    set.unwrap_or_else(|_| PrometheusBuilder::new())
}

/// Registers the description of every metric.
pub fn describe() {
    for (kind, name, help) in METRICS {
        match kind {
            Kind::Counter => describe_counter!(*name, *help),
            Kind::Gauge => describe_gauge!(*name, *help),
            Kind::Histogram => describe_histogram!(*name, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_instances_take_to_start_is_reported_in_buckets() {
        let recorder = with_buckets().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            for seconds in [0.3, 100.0] {
                metrics::histogram!(INSTANCE_START).record(seconds);
            }
        });
        let text = recorder.handle().render();
        for line in [
            "# TYPE devanture_instance_start_seconds histogram",
            "devanture_instance_start_seconds_bucket{le=\"0.25\"} 0",
            "devanture_instance_start_seconds_bucket{le=\"0.5\"} 1",
            "devanture_instance_start_seconds_bucket{le=\"60\"} 1",
            "devanture_instance_start_seconds_bucket{le=\"+Inf\"} 2",
            "devanture_instance_start_seconds_count 2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
    }
}
