//! The metrics, in Prometheus' form.

use std::time::Instant;

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::descriptions::{Kind, METRICS};
use super::{counters, labels, requests};

/// The histogram of the seconds that instances take to be healthy.
pub const INSTANCE_START: &str = "devanture_instance_start_seconds";
/// Bounds of its buckets, in seconds: a program that is compiled is up in some hundredths, a large one within a minute.
const INSTANCE_START_BOUNDS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// The histogram of the seconds in which a version is prepared for a switch.
pub const PREPARE: &str = "devanture_prepare_seconds";
/// Its bounds in seconds: from files that are here to a large site from a slow bucket, or instances that take their
/// time.
const PREPARE_BOUNDS: [f64; 10] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];
/// The histogram of requests to the bucket of the stored files.
pub const BUCKET_REQUEST: &str = "devanture_bucket_request_seconds";
/// Its bounds in seconds: from a store in the same rack to a large object over a slow line.
const BUCKET_REQUEST_BOUNDS: [f64; 11] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

/// The text that `/metrics` answers.
#[derive(Clone)]
pub struct Exposition(PrometheusHandle);

impl Exposition {
    /// Installs the process' recorder; a second edge in one process shares the first one's.
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

    /// The metrics as text, with every request that was counted until now.
    #[must_use]
    pub fn render(&self) -> String {
        let requests = requests::gather_and_render();
        self.0.render() + &requests + &counters::render()
    }

    /// Moves counts and samples to where they are rendered from; to be called every few seconds, or samples pile up.
    pub fn upkeep(&self) {
        requests::gather();
        labels::review(Instant::now());
        self.0.run_upkeep();
    }
}

/// A recorder to be, which knows the buckets of histograms: without them the exporter would make summaries of them.
/// Those of requests are no business of its, since `requests` writes them.
fn with_buckets() -> PrometheusBuilder {
    let named = |name: &str| Matcher::Full(name.to_owned());
    let set = PrometheusBuilder::new()
        .set_buckets_for_metric(named(INSTANCE_START), &INSTANCE_START_BOUNDS)
        .and_then(|set| set.set_buckets_for_metric(named(BUCKET_REQUEST), &BUCKET_REQUEST_BOUNDS))
        .and_then(|set| set.set_buckets_for_metric(named(PREPARE), &PREPARE_BOUNDS));
    // Only an empty list of bounds is refused.
    set.unwrap_or_else(|_| PrometheusBuilder::new())
}

/// Gives every metric its sentence.
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
