//! The metrics, in Prometheus' form.

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::requests;

/// The histogram of the seconds that instances take to be healthy.
pub const INSTANCE_START: &str = "devanture_instance_start_seconds";
/// Bounds of its buckets, in seconds: a program that is compiled is up in some hundredths, a large one within a minute.
const INSTANCE_START_BOUNDS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

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
        let latency = requests::gather_and_render();
        self.0.render() + &latency
    }

    /// Renders the gauges that `set` sets, as text that follows [`Exposition::render`]'s: series that come and go are
    /// set again each time.
    #[must_use]
    pub fn of_now(set: impl FnOnce()) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            set();
        });
        recorder.handle().render()
    }

    /// Moves counts and samples to where they are rendered from; to be called every few seconds, or samples pile up.
    pub fn upkeep(&self) {
        requests::gather();
        self.0.run_upkeep();
    }
}

/// A recorder to be, which knows the buckets of histograms: without them the exporter would make summaries of them.
/// Those of requests are no business of its, since `requests` writes them.
fn with_buckets() -> PrometheusBuilder {
    let matcher = Matcher::Full(INSTANCE_START.to_owned());
    let set = PrometheusBuilder::new().set_buckets_for_metric(matcher, &INSTANCE_START_BOUNDS);
    // Only an empty list of bounds is refused.
    set.unwrap_or_else(|_| PrometheusBuilder::new())
}

/// Gives every metric its sentence.
pub fn describe() {
    describe_versions();
    describe_connections();
    describe_counter!("devanture_requests_total", "Requests answered, by app, environment, version and status class.");
    describe_counter!("devanture_response_bytes_total", "Bytes of response bodies sent, by app and environment.");
    describe_counter!(
        "devanture_delta_answers_total",
        "Answers made with a dictionary of the visitor, by app and form."
    );
    describe_counter!("devanture_delta_saved_bytes_total", "Bytes that these were shorter than without, by app.");
    describe_histogram!("devanture_request_seconds", "Seconds from a request's head to its answer's last byte.");
    describe_counter!("devanture_acme_orders_total", "Orders of certificates that ended, by outcome.");
    describe_gauge!(
        "devanture_acme_names",
        "Names that want a certificate by ACME, by state: valid, expired, missing."
    );
    describe_gauge!("devanture_acme_expires_seconds", "Seconds until the first certificate by ACME expires, or since.");
    describe_gauge!(
        "devanture_certificate_expiry_timestamp_seconds",
        "End of the first certificate from a file that ends, in seconds since 1970 UTC."
    );
    describe_gauge!(
        "devanture_catalog_replaced",
        "1 where the catalog was moved or replaced while the edge runs: what is live is served, and nothing can be changed."
    );
    describe_counter!("devanture_pushes_total", "Pushes that ended, by app, environment and outcome.");
    describe_counter!("devanture_push_bytes_total", "Bytes of blobs taken from pushes, by app.");
    describe_counter!("devanture_logins_total", "Attempts to log in, by outcome: ok, refused, limited, busy.");
    describe_counter!("devanture_tokens_refused_total", "Requests with a token that was unknown, revoked or expired.");
    describe_counter!(
        "devanture_refresh_tokens_reused_total",
        "Logins that were ended since an old refresh token was presented."
    );
    describe_counter!("devanture_switches_total", "Times a live pointer was moved, by app and environment.");
    describe_counter!("devanture_collections_total", "Collections of what nothing refers to, by outcome.");
    describe_counter!("devanture_collected_versions_total", "Versions that collections took.");
    describe_counter!("devanture_collected_files_total", "Files that collections deleted.");
    describe_counter!("devanture_scrubbed_files_total", "Stored files that were read and are as they were.");
    describe_counter!("devanture_scrubbed_bytes_total", "Bytes of the stored files that were read to check them.");
    describe_counter!("devanture_scrub_damaged_files_total", "Damaged files that reading all stored files found.");
    describe_counter!("devanture_collected_bytes_total", "Bytes of the files that collections deleted.");
    describe_counter!("devanture_upstream_errors_total", "Requests to backends that failed, by app and reason.");
    describe_gauge!(
        "devanture_app_memory_bytes",
        "Bytes of memory that loaded versions take, by app and kind: versions (paths, heads and rules), files (held in memory)."
    );
    describe_gauge!(
        "devanture_upstream_members",
        "Backends of an upstream, by app, environment, upstream and state: up, draining, ejected, unwell."
    );
    describe_gauge!("devanture_upstream_requests", "Requests under way to them, by app, environment and upstream.");
    describe_gauge!("devanture_upstream_waiting", "Requests that wait for one, by app, environment and upstream.");
    describe_gauge!(
        "devanture_instances",
        "Instances of backends, by app, environment, process and state: starting, healthy, unhealthy, waiting, crash-loop, warm, stopping."
    );
    describe_gauge!("devanture_instance_memory_bytes", "Memory of an instance, by app, environment and name.");
    describe_gauge!("devanture_instance_memory_limit_bytes", "Its limit, by app, environment and name.");
    describe_gauge!("devanture_persist_bytes", "Bytes that an environment keeps in `persist`, by app and environment.");
    describe_gauge!("devanture_persist_full", "1 where that is more than it may, by app and environment.");
    describe_gauge!("devanture_disk_free_bytes", "Free bytes of the disk of data_dir.");
    describe_gauge!(
        "devanture_disk_short",
        "1 where that is less than disk_free_bytes_min, and new files are refused."
    );
    describe_gauge!("devanture_instance_processes", "Processes of an instance, by app, environment and name.");
    describe_gauge!(
        "devanture_instance_tmp_bytes",
        "Temporary files of an instance in its own tmpfs, by app, environment and name."
    );
    describe_counter!(
        "devanture_instance_restarts_total",
        "Instances that ended by themselves and were started again, by app, environment and process."
    );
    describe_histogram!("devanture_instance_start_seconds", "Seconds from an instance's start to its health, by app.");
    describe_counter!(
        "devanture_kept_assets_total",
        "Requests answered with an asset of another version than the one that was live as they came."
    );
    describe_counter!("devanture_deltas_made_total", "Deltas made, by form and quality.");
    describe_counter!("devanture_variants_made_total", "Variants made, by form and quality.");
    describe_counter!("devanture_access_log_dropped_total", "Lines of the access log that were dropped.");
    describe_counter!("devanture_smoke_checks_total", "Smoke checks before a switch, by app, environment and outcome.");
    describe_counter!("devanture_watches_total", "Watched switches, by app, environment and outcome.");
}

/// Metrics of connections, and of what they hold.
fn describe_connections() {
    describe_counter!("devanture_connections_total", "Connections taken, by listener and protocol.");
    describe_counter!("devanture_connections_refused_total", "Connections closed at once, by listener and reason.");
    describe_gauge!("devanture_connections_open", "Connections open now, by listener.");
    describe_gauge!(
        "devanture_connections_max",
        "Connections that may be open at once, by listener: visitors, admin; fewer than were set where file descriptors are short."
    );
    describe_gauge!(
        "devanture_response_memory_bytes",
        "Bytes of responses that are held because their clients have not taken them."
    );
    describe_counter!(
        "devanture_slow_responses_ended_total",
        "Responses that were reset because their clients took nothing while that memory was used up."
    );
    describe_counter!("devanture_handshakes_failed_total", "TLS handshakes that failed, by reason.");
    describe_gauge!("devanture_handshakes_open", "TLS handshakes under way, by listener.");
    describe_gauge!("devanture_handshakes_queued", "TLS handshakes that wait for processor time, by listener.");
}

/// Metrics of stored and loaded versions.
fn describe_versions() {
    describe_counter!(
        "devanture_delta_misses_total",
        "Requests that named a dictionary and were sent no delta, by reason: bad_field, not_accepted, not_made, not_modified, not_preferred, other_origin, range."
    );
    describe_counter!(
        "devanture_deltas_left_out_total",
        "Deltas that were made and are not served, counted at each load of their version, by reason: damaged, open_files."
    );
    describe_gauge!(
        "devanture_damaged_files",
        "Files of a live version that are damaged or missing on the disk, by app and environment: their paths answer 503."
    );
    describe_gauge!(
        "devanture_unloaded_versions",
        "1 where a version that should be live cannot be loaded, by app and environment."
    );
    describe_gauge!(
        "devanture_lost_secrets",
        "Secrets whose key is not at hand, by app and environment: no instance starts there."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_instances_take_to_start_is_reported_in_buckets() {
        let recorder = with_buckets().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            for seconds in [0.3, 100.0] {
                metrics::histogram!(INSTANCE_START, "app" => "shop").record(seconds);
            }
        });
        let text = recorder.handle().render();
        for line in [
            "# TYPE devanture_instance_start_seconds histogram",
            "devanture_instance_start_seconds_bucket{app=\"shop\",le=\"0.25\"} 0",
            "devanture_instance_start_seconds_bucket{app=\"shop\",le=\"0.5\"} 1",
            "devanture_instance_start_seconds_bucket{app=\"shop\",le=\"60\"} 1",
            "devanture_instance_start_seconds_bucket{app=\"shop\",le=\"+Inf\"} 2",
            "devanture_instance_start_seconds_count{app=\"shop\"} 2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
    }
}
