//! The metrics, in Prometheus' form. What is counted per request is prepared when a version is loaded.

use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the latency histogram, in seconds.
const LATENCY_BOUNDS_S: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Status classes, `1xx` to `5xx`.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The text that `/metrics` answers.
#[derive(Clone)]
pub struct Exposition(PrometheusHandle);

impl Exposition {
    /// Installs the process' recorder; a second edge in one process shares the first one's.
    #[must_use]
    pub fn install() -> Self {
        static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
        let handle = HANDLE.get_or_init(|| {
            let builder = PrometheusBuilder::new();
            let matcher = Matcher::Full("devanture_request_seconds".to_owned());
            // Only an empty list of bounds is refused.
            let builder =
                builder.set_buckets_for_metric(matcher, LATENCY_BOUNDS_S).unwrap_or_else(|_| PrometheusBuilder::new());
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).ok();
            describe();
            handle
        });
        Self(handle.clone())
    }

    /// The metrics as text.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// What `set` sets, as text that follows [`Exposition::render`]'s: series that come and go are set anew each time.
    #[must_use]
    pub fn of_now(set: impl FnOnce()) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            set();
        });
        recorder.handle().render()
    }

    /// Moves what was recorded into the histograms; to be called every few seconds, or samples pile up.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// Gives every metric its sentence.
pub fn describe() {
    describe_counter!("devanture_requests_total", "Requests answered, by app, environment, version and status class.");
    describe_counter!("devanture_response_bytes_total", "Bytes of response bodies sent, by app and environment.");
    describe_histogram!("devanture_request_seconds", "Seconds from a request's head to its answer's last byte.");
    describe_counter!("devanture_connections_total", "Connections taken, by listener and protocol.");
    describe_counter!("devanture_connections_refused_total", "Connections closed at once, by listener and reason.");
    describe_gauge!("devanture_connections_open", "Connections open now, by listener.");
    describe_counter!("devanture_handshakes_failed_total", "TLS handshakes that failed, by reason.");
    describe_counter!("devanture_acme_orders_total", "Orders of certificates that ended, by outcome.");
    describe_gauge!(
        "devanture_acme_names",
        "Names that want a certificate by ACME, by state: valid, expired, missing."
    );
    describe_gauge!("devanture_acme_expires_seconds", "Seconds until the first certificate by ACME expires, or since.");
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
    describe_counter!("devanture_collected_bytes_total", "Bytes of the files that collections deleted.");
    describe_counter!("devanture_upstream_errors_total", "Requests to backends that failed, by app and reason.");
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
    describe_counter!(
        "devanture_instance_restarts_total",
        "Instances that ended by themselves and were started again, by app, environment and process."
    );
    describe_histogram!("devanture_instance_start_seconds", "Seconds from an instance's start to its health, by app.");
    describe_counter!(
        "devanture_kept_assets_total",
        "Requests for an asset that the live version lacks, saved by another."
    );
    describe_counter!("devanture_variants_made_total", "Variants made, by form and quality.");
    describe_counter!("devanture_access_log_dropped_total", "Lines of the access log that were dropped.");
    describe_counter!("devanture_smoke_checks_total", "Smoke checks before a switch, by app, environment and outcome.");
    describe_counter!("devanture_watches_total", "Watched switches, by app, environment and outcome.");
}

/// The counters of one version in one place, ready for the hot path: no look-up by name is left.
pub struct RequestMetrics {
    by_class: [Counter; 5],
    bytes: Counter,
    seconds: Histogram,
}

impl RequestMetrics {
    /// Prepares the counters for `app`, `environment` and the short id `version`.
    #[must_use]
    pub fn new(app: &str, environment: &str, version: &str) -> Self {
        let by_class = CLASSES.map(|class| {
            counter!("devanture_requests_total", "app" => app.to_owned(), "environment" => environment.to_owned(),
                "version" => version.to_owned(), "status" => class)
        });
        let labels = [("app", app.to_owned()), ("environment", environment.to_owned())];
        Self {
            by_class,
            bytes: counter!("devanture_response_bytes_total", &labels),
            seconds: histogram!("devanture_request_seconds", &labels),
        }
    }

    /// Counts one request.
    pub fn count(&self, status: http::StatusCode, body_bytes: u64, seconds: f64) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.by_class.get(class) {
            counter.increment(1);
        }
        self.bytes.increment(body_bytes);
        self.seconds.record(seconds);
    }
}
