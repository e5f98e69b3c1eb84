//! All metrics with kind, name and description. `docs/operating.md` has the same table.

use std::fmt::Write as _;

use Kind::{Counter, Gauge, Histogram};

/// Kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Value that only grows.
    Counter,
    /// Value that rises and falls.
    Gauge,
    /// Samples counted by size.
    Histogram,
}

impl Kind {
    /// Returns the name of the kind in Prometheus text format.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// All metrics.
pub const METRICS: &[(Kind, &str, &str)] = &[
    (Counter, "devanture_requests_total", "Requests answered, by app, environment, version and status class."),
    (Counter, "devanture_response_bytes_total", "Bytes of response bodies sent, by app and environment."),
    (
        Counter,
        "devanture_held_requests_total",
        "Requests of visitors who were held on an earlier version than the live one (`pin`), by app and environment.",
    ),
    (Counter, "devanture_delta_answers_total", "Answers made with a dictionary of the visitor, by app and form."),
    (Counter, "devanture_delta_saved_bytes_total", "Bytes that these were shorter than without, by app."),
    (Histogram, "devanture_request_seconds", "Seconds from a request's head to its answer's last byte."),
    (Counter, "devanture_acme_orders_total", "Orders of certificates that ended, by outcome."),
    (Gauge, "devanture_acme_names", "Names that want a certificate by ACME, by state: valid, expired, missing."),
    (Gauge, "devanture_acme_expires_seconds", "Seconds until the first certificate by ACME expires, or since."),
    (
        Gauge,
        "devanture_certificate_expiry_timestamp_seconds",
        "End of a certificate, by its first name and its source: file, acme, cluster; of more than a hundred of one source, those that end first. In seconds since 1970 UTC.",
    ),
    (
        Gauge,
        "devanture_catalog_replaced",
        "1 where the catalog was moved or replaced while the edge runs: what is live is served, and nothing can be changed.",
    ),
    (
        Gauge,
        "devanture_catalog_damaged",
        "1 where a page of the catalog was found damaged: what is live is served, and a start may fail.",
    ),
    (Counter, "devanture_pushes_total", "Pushes that ended, by app, environment and outcome."),
    (Counter, "devanture_push_bytes_total", "Bytes of blobs taken from pushes, by app."),
    (Counter, "devanture_logins_total", "Attempts to log in, by outcome: ok, refused, limited, busy."),
    (
        Counter,
        "devanture_identity_tokens_total",
        "Identity tokens that were presented, by the trust that took them, and the outcome: ok, refused, replayed, limited or unavailable.",
    ),
    (Counter, "devanture_tokens_refused_total", "Requests with a token that was unknown, revoked or expired."),
    (
        Counter,
        "devanture_refresh_tokens_reused_total",
        "Logins that were ended since an old refresh token was presented.",
    ),
    (Counter, "devanture_switches_total", "Times a live pointer was moved, by app and environment."),
    (Counter, "devanture_collections_total", "Collections of what nothing refers to, by outcome."),
    (Counter, "devanture_collected_versions_total", "Versions that collections took."),
    (Counter, "devanture_collected_files_total", "Files that collections deleted."),
    (Counter, "devanture_scrubbed_files_total", "Stored files that were read and are as they were."),
    (Counter, "devanture_scrubbed_bytes_total", "Bytes of the stored files that were read to check them."),
    (Counter, "devanture_scrub_damaged_files_total", "Damaged files that reading all stored files found."),
    (Counter, "devanture_collected_bytes_total", "Bytes of the files that collections deleted."),
    (
        Counter,
        "devanture_bucket_requests_total",
        "Requests to the bucket of the stored files, by operation (get, head, list, put, delete) and outcome: ok, missing, failed.",
    ),
    (
        Counter,
        "devanture_bucket_bytes_total",
        "Bytes of objects read from it and written to it, by direction: in, out.",
    ),
    (
        Histogram,
        "devanture_bucket_request_seconds",
        "Seconds of these requests, by operation; of a large object that is written, all of its parts, and of a read, until its first byte.",
    ),
    (
        Counter,
        "devanture_bucket_mismatches_total",
        "Objects of the bucket that had other bytes than their name says; none was stored or served.",
    ),
    (
        Counter,
        "devanture_bucket_objects_stored_again_total",
        "Objects that the bucket had lost and that were stored again from the disk of a node.",
    ),
    (
        Counter,
        "devanture_local_reads_total",
        "Reads of stored files in front of the bucket, by outcome: hit (on the local disk), miss (fetched).",
    ),
    (
        Counter,
        "devanture_local_files_replaced_total",
        "Damaged files of the local disk that were replaced by their objects in the bucket.",
    ),
    (Counter, "devanture_evicted_files_total", "Blobs and manifests that left the local disk and stay in the bucket."),
    (Counter, "devanture_evicted_bytes_total", "Their bytes, variants and deltas included."),
    (
        Counter,
        "devanture_app_busy_total",
        "Requests that were refused since their app had as many under way as it may, by app.",
    ),
    (Counter, "devanture_upstream_errors_total", "Requests to backends that failed, by app and reason."),
    (
        Gauge,
        "devanture_app_memory_bytes",
        "Bytes of memory that loaded versions take, by app and kind: versions (paths, heads and rules), files (held in memory).",
    ),
    (
        Gauge,
        "devanture_memory_bytes",
        "Bytes of memory, by part: loaded (all loaded versions with their files, equal files once), files (of these, the files), manifests (of pushes under way), process (all that it has in RAM).",
    ),
    (Gauge, "devanture_memory_bytes_max", "The most that each part of that memory may take."),
    (
        Gauge,
        "devanture_upstream_members",
        "Backends of an upstream, by app, environment, upstream and state: up, draining, ejected, unwell.",
    ),
    (Gauge, "devanture_upstream_requests", "Requests under way to them, by app, environment and upstream."),
    (Gauge, "devanture_upstream_waiting", "Requests that wait for one, by app, environment and upstream."),
    (
        Gauge,
        "devanture_instances",
        "Instances of backends, by app, environment, process and state: starting, healthy, unhealthy, waiting, crash-loop, warm, stopping.",
    ),
    (Gauge, "devanture_instance_memory_bytes", "Memory of an instance, by app, environment and name."),
    (Gauge, "devanture_instance_memory_limit_bytes", "Its limit, by app, environment and name."),
    (Gauge, "devanture_persist_bytes", "Bytes that an environment keeps in `persist`, by app and environment."),
    (Gauge, "devanture_persist_full", "1 where that is more than it may, by app and environment."),
    (Gauge, "devanture_disk_free_bytes", "Free bytes of the disk of data_dir."),
    (Gauge, "devanture_disk_short", "1 where that is less than disk_free_bytes_min, and new files are refused."),
    (
        Gauge,
        "devanture_disk_unwritable",
        "1 where nothing can be written to data_dir: what is live is served, and nothing can be changed.",
    ),
    (Gauge, "devanture_http3_missing", "1 while HTTP/3 is wanted and its UDP port cannot be listened on."),
    (Gauge, "devanture_instance_processes", "Processes of an instance, by app, environment and name."),
    (
        Gauge,
        "devanture_instance_tmp_bytes",
        "Temporary files of an instance in its own tmpfs, by app, environment and name.",
    ),
    (
        Counter,
        "devanture_instance_restarts_total",
        "Instances that ended by themselves and were started again, by app, environment and process.",
    ),
    (Counter, "devanture_schedule_runs_total", "Runs of schedules that ended, by app, environment and outcome."),
    (
        Counter,
        "devanture_webhook_deliveries_total",
        "Attempts to send messages to webhooks, by app and outcome: delivered, retried, failed; dropped for messages beyond webhook_waiting_max.",
    ),
    (Gauge, "devanture_webhook_messages_waiting", "Messages to webhooks that wait, on the node that sends them."),
    (Counter, "devanture_webhooks_disabled_total", "Webhooks that were disabled as their receivers failed, by app."),
    (
        Histogram,
        "devanture_prepare_seconds",
        "Seconds in which this node prepared a version for a switch by another node of the cluster, by outcome: ok, failed.",
    ),
    (Histogram, "devanture_instance_start_seconds", "Seconds from an instance's start to its health."),
    (
        Counter,
        "devanture_integrity_reports_total",
        "Messages of browsers about what pages load without a hash, by app; each may hold several reports.",
    ),
    (
        Counter,
        "devanture_kept_assets_total",
        "Requests answered with an asset of another version than the one that was live as they came.",
    ),
    (Counter, "devanture_deltas_made_total", "Deltas made, by form and quality."),
    (Counter, "devanture_variants_made_total", "Variants made, by form and quality."),
    (Counter, "devanture_access_log_dropped_total", "Lines of the access log that were dropped."),
    (Counter, "devanture_smoke_checks_total", "Smoke checks before a switch, by app, environment and outcome."),
    (Counter, "devanture_watches_total", "Watched switches, by app, environment and outcome."),
    (
        Counter,
        "devanture_canaries_total",
        "Canaries that this node ended by itself, by app, environment and outcome: aborted, finished.",
    ),
    (Counter, "devanture_connections_total", "Connections taken, by listener and protocol."),
    (Counter, "devanture_connections_refused_total", "Connections closed at once, by listener and reason."),
    (Gauge, "devanture_connections_open", "Connections open now, by listener."),
    (
        Gauge,
        "devanture_connections_max",
        "Connections that may be open at once, by listener: visitors, admin; fewer than were set where file descriptors are short.",
    ),
    (
        Gauge,
        "devanture_response_memory_bytes",
        "Bytes of responses that are held because their clients have not taken them, and of what clients of HTTP/3 sent behind gaps.",
    ),
    (
        Counter,
        "devanture_slow_responses_ended_total",
        "Responses that were reset because their clients took nothing while that memory was used up.",
    ),
    (Counter, "devanture_quic_lost_packets_total", "Packets of HTTP/3 that were lost, of connections that ended."),
    (
        Counter,
        "devanture_quic_migrations_total",
        "Connections of HTTP/3 whose client went on from another address, and answered there.",
    ),
    (
        Counter,
        "devanture_quic_retries_total",
        "Clients of HTTP/3 that were asked to show that they are where they say.",
    ),
    (Counter, "devanture_handshakes_failed_total", "TLS handshakes that failed, by reason."),
    (Gauge, "devanture_handshakes_open", "TLS handshakes under way, by listener."),
    (Gauge, "devanture_handshakes_queued", "TLS handshakes that wait for processor time, by listener."),
    (
        Counter,
        "devanture_delta_misses_total",
        "Requests that named a dictionary and were sent no delta, by reason: bad_field, not_accepted, not_made, not_modified, not_preferred, other_origin, range.",
    ),
    (
        Counter,
        "devanture_deltas_left_out_total",
        "Deltas that were made and are not served, counted at each load of their version, by reason: damaged.",
    ),
    (
        Gauge,
        "devanture_damaged_files",
        "Files of a live version that are damaged or missing on the disk, by app and environment: their paths answer 503, but for those that are still in memory.",
    ),
    (Gauge, "devanture_loading_versions", "Live versions that a start has not loaded yet."),
    (
        Gauge,
        "devanture_idle_versions",
        "Live versions that are not in memory for want of room: their next request loads them.",
    ),
    (
        Gauge,
        "devanture_unloaded_versions",
        "1 where a version that should be live cannot be loaded, by app and environment.",
    ),
    (
        Gauge,
        "devanture_lost_secrets",
        "Secrets whose key is not at hand, by app and environment: no instance starts there.",
    ),
    (Gauge, "devanture_build_info", "1, with the version of the program."),
    (
        Counter,
        "process_cpu_seconds_total",
        "Seconds of processor time that the process took, of the user and of the system.",
    ),
    (Gauge, "process_resident_memory_bytes", "Bytes of memory that the process has in RAM."),
    (Gauge, "process_virtual_memory_bytes", "Bytes of its address space."),
    (Gauge, "process_open_fds", "File descriptors that it has open."),
    (Gauge, "process_max_fds", "File descriptors that it may have open."),
    (Gauge, "process_threads", "Its threads."),
    (Gauge, "process_start_time_seconds", "Its start, in seconds since 1970 UTC."),
    (Gauge, "devanture_disk_size_bytes", "Size of the disk of data_dir."),
    (
        Gauge,
        "devanture_stored_bytes",
        "Bytes of the data folder, by kind: blobs, manifests, variants, deltas, quarantine, collected, tmp; counted in the background every hour.",
    ),
    (Gauge, "devanture_stored_files", "Files of these kinds."),
    (Gauge, "devanture_catalog_age_seconds", "Seconds since etcd answered last, where the catalog is there."),
    (Gauge, "devanture_catalog_bytes", "Bytes of the file of the catalog."),
    (Counter, "devanture_catalog_reconnects_total", "Connections to etcd that were lost or left since the start."),
    (Gauge, "devanture_catalog_revision", "The revision of the catalog that this node has."),
    (Gauge, "devanture_apps", "Apps, without deleted ones."),
    (Gauge, "devanture_environments", "Environments in which a version is live."),
    (
        Gauge,
        "devanture_queue_length",
        "Work that waits or is under way, by queue: compression (versions to compress better), uploads (pushes under way), loads (previews being loaded).",
    ),
    (
        Gauge,
        "devanture_last_success_timestamp_seconds",
        "End of the last one that did its work, by task: backup, collection, scrub, stored (the count of stored bytes); in seconds since 1970 UTC.",
    ),
];

/// Returns the kind and description of a metric.
pub(super) fn find(name: &str) -> Option<(Kind, &'static str)> {
    METRICS.iter().find(|(_, known, _)| *known == name).map(|(kind, _, help)| (*kind, *help))
}

/// Writes the header lines of a metric.
pub(super) fn write_head(text: &mut String, name: &str) {
    let Some((kind, help)) = find(name) else { return };
    // Writing to a string cannot fail.
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.word()).ok();
}
