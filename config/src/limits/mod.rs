//! Limits of the edge: name in `[limits]` of `edge.toml`, default and meaning.

mod definition;
mod per_app;
#[cfg(test)]
mod tests;

use definition::limits;
pub use per_app::{AppLimits, PER_APP, zero_is_no_limit};

limits! {
    /// Bytes of all files of a bundle together.
    bundle_bytes_max = 4_294_967_296 in 1 ..= 1_099_511_627_776,
    /// Files in a bundle, and folders of its backend.
    bundle_files_max = 100_000 in 1 ..= 10_000_000,
    /// Bytes of one file of a bundle.
    file_bytes_max = 2_147_483_648 in 1 ..= 1_099_511_627_776,
    /// Bytes of a path in a bundle; a request's path may have three times as many for percent-encoding, or 8,000.
    path_bytes_max = 4_096 in 16 ..= 65_536,
    /// Bytes of one segment of a path in a bundle.
    segment_bytes_max = 255 in 16 ..= 65_536,
    /// Rules of a version in one environment: redirects, rewrites, fields and `[cache]` together.
    rules_max = 10_000 in 0 ..= 100_000,
    /// Bytes of memory for rules during reading and checks, 25 for each byte of rule files and of rules in the settings; one app has half at most. Pushes and switches wait for their turn; rules beyond the half are read one version at a time.
    rules_memory_bytes_max = 268_435_456 in 1_048_576 ..= 1_099_511_627_776,
    /// Bytes of a page that gets the hashes of its resources (`integrity`); longer pages are served unchanged.
    integrity_page_bytes_max = 1_048_576 in 0 ..= 67_108_864,
    /// Pages of a version that get the hashes of their resources; further pages are served unchanged.
    integrity_pages_max = 2_000 in 0 ..= 100_000,
    /// Bytes of the import map with the hashes of modules in one page; a page with a larger map is served unchanged.
    integrity_map_bytes_max = 131_072 in 0 ..= 1_048_576,
    /// Modules of a version followed to their imports for import maps; beyond, pages are served unchanged.
    integrity_modules_max = 10_000 in 0 ..= 1_000_000,
    /// Steps to look up the resources of a version's pages, one for each address and each KiB of a script, in all environments together; beyond, pages are served unchanged.
    integrity_steps_max = 2_000_000 in 0 ..= 1_000_000_000,
    /// Bytes of memory to look up the resources of a version's pages during a push; further pages are served unchanged.
    integrity_memory_bytes_max = 67_108_864 in 0 ..= 17_179_869_184,
    /// Distinct browser reports of one environment about resources without a hash; the report of the fewest messages is dropped first.
    integrity_reports_kept_max = 100 in 0 ..= 10_000,
    /// Apps with stored browser reports about resources without a hash: the apps with the latest reports.
    integrity_reports_apps_max = 256 in 0 ..= 100_000,
    /// Bytes of a message with browser reports; a longer message is counted and not read.
    integrity_report_bytes_max = 65_536 in 0 ..= 1_048_576,
    /// Milliseconds for the arrival of a message with browser reports; a slower message is counted and not read.
    integrity_report_ms_max = 10_000 in 1 ..= 600_000,
    /// Messages with browser reports read at once, of all apps, and an eighth of the number for one app; further messages are counted and not read.
    integrity_reports_reading_max = 64 in 0 ..= 4_096,
    /// Maximum ratio of an unpacked bundle to its archive.
    archive_ratio_max = 200 in 1 ..= 100_000,
    /// Bytes of a manifest.
    manifest_bytes_max = 67_108_864 in 1_024 ..= 1_073_741_824,
    /// Bytes of a manifest without its files: the settings of all environments, and the links of the backend's folder.
    manifest_settings_bytes_max = 4_194_304 in 1_024 ..= 67_108_864,
    /// Milliseconds for the arrival of a manifest.
    manifest_ms_max = 600_000 in 1_000 ..= 86_400_000,
    /// Manifests of more than 64 KiB received at once, at most half for one environment and three quarters for one app; further manifests get 503 with `Retry-After`.
    manifests_reading_max = 16 in 1 ..= 256,
    /// Bytes of memory for manifests during reception and during pushes, four times their length each; further manifests get 503 with `Retry-After`.
    manifest_memory_bytes_max = 536_870_912 in 1_048_576 ..= 1_099_511_627_776,
    /// Bytes of a request's body to the admin listener, other than a blob, a bundle or a manifest.
    admin_body_bytes_max = 1_048_576 in 1_024 ..= 67_108_864,
    /// Milliseconds for the arrival of a body to the admin listener, other than a blob, a bundle or a manifest.
    admin_body_ms_max = 30_000 in 100 ..= 86_400_000,
    /// Bodies of more than 64 KiB to the admin listener received at once, other than blobs, bundles and manifests; at most half for one app, or for one account or token of all apps; further bodies get 503 with `Retry-After`.
    admin_bodies_receiving_max = 64 in 1 ..= 10_000,
    /// Milliseconds between two bytes of a request's body to the admin listener.
    admin_body_idle_ms_max = 60_000 in 100 ..= 86_400_000,
    /// Pushes and archives received at once, at most half for one environment and three quarters for one app; further ones get 503 with `Retry-After`.
    pushes_max = 64 in 1 ..= 10_000,
    /// Milliseconds between two requests of a push before the push is forgotten.
    push_idle_ms_max = 3_600_000 in 1_000 ..= 604_800_000,
    /// Bytes of the blobs in one request with many blobs.
    blob_batch_bytes_max = 2_097_152 in 65_536 ..= 67_108_864,
    /// Blobs of one request with many blobs.
    blob_batch_blobs_max = 1_000 in 1 ..= 10_000,
    /// Requests with many blobs received at once, at most half for one environment and three quarters for one app; further requests get 503 with `Retry-After`.
    blob_batches_max = 64 in 1 ..= 10_000,
    /// Blobs received at once in requests of their own, at most half for one environment and three quarters for one app; further blobs get 503 with `Retry-After`.
    blobs_receiving_max = 256 in 1 ..= 10_000,
    /// Bytes of memory for the loaded versions of one app: their paths, heads and rules, and files in memory: at most a quarter of the limit less six times the memory of the versions without files, and a sixteenth in any case.
    app_memory_bytes_max = 536_870_912 in 1_048_576 ..= 1_099_511_627_776,
    /// Bytes of memory for the loaded versions of all apps together, with files in memory. Beyond, the environments with the fewest requests are unloaded first, and loaded again by their next request. 0 is half of the memory available to the process.
    loaded_memory_bytes_max = 0 in 0 ..= 1_099_511_627_776,
    /// Bytes of RAM for the whole process. From nine tenths on, the environments with the fewest requests are unloaded, no more files are put in memory, and compression after a switch waits; no request is refused. 0 is no limit.
    process_memory_bytes_max = 0 in 0 ..= 1_099_511_627_776,
    /// Loaded previews of one app, of versions and of aliases.
    previews_loaded_max = 32 in 1 ..= 10_000,
    /// Milliseconds without a request after which a loaded preview is evicted.
    preview_loaded_idle_ms_max = 900_000 in 100 ..= 86_400_000,
    /// Requests that wait for previews of one app to load; further requests get 503.
    preview_requests_waiting_max = 256 in 1 ..= 100_000,
    /// Bytes of a file for compression; larger files are sent uncompressed.
    compress_file_bytes_max = 268_435_456 in 0 ..= 4_294_967_296,
    /// Bytes of a file or variant for serving from memory while a version with the file is loaded.
    memory_file_bytes_max = 4_194_304 in 0 ..= 1_073_741_824,
    /// Bytes of all files and variants in memory, with some 200 bytes of overhead for each; one app leaves at least as many bytes free as the app uses. Files without room are read from the disk during each response. A start fills a sixteenth with files without recent requests.
    memory_bytes_max = 268_435_456 in 0 ..= 1_099_511_627_776,
    /// Stored files open at a time, at most an eighth of the file descriptors of the process; further files are opened on demand.
    open_files_max = 4_096 in 1 ..= 1_048_576,
    /// Versions of one environment whose fingerprinted assets are served after a switch, within the grace period.
    grace_versions_max = 16 in 0 ..= 1_000,
    /// Milliseconds after a switch for which fingerprinted assets of the replaced version are served.
    grace_ms_max = 86_400_000 in 0 ..= 31_536_000_000,
    /// Earlier versions of one environment with pinned visitors (`pin`), within the grace period and as long as memory allows.
    pinned_versions_max = 3 in 0 ..= 100,
    /// Characters of the message of a pause.
    pause_message_characters_max = 2_000 in 0 ..= 65_536,
    /// Paths still served in a pause.
    pause_paths_max = 100 in 0 ..= 10_000,
    /// Characters of the reason of a lock.
    lock_reason_characters_max = 500 in 0 ..= 65_536,
    /// Apps, including deleted, restorable apps.
    apps_max = 10_000 in 1 ..= 1_000_000,
    /// Environments, and whole apps, with separate series in the metrics; the rest is summed as `_other`.
    metrics_environments_max = 100 in 0 ..= 100_000,
    /// Environments of one app: every environment with a live version now or before, or with a history, settings or hostnames; `preview` counts only with more than the history of pushes to aliases.
    environments_max = 100 in 1 ..= 10_000,
    /// Entries of an environment's history for switches, and as many again for other entries; also the records of an app's removed versions. Older entries are forgotten.
    history_entries_max = 10_000 in 100 ..= 1_000_000,
    /// Bytes of the entries of an environment's history for switches, and as many again for other entries. Older entries are forgotten.
    history_bytes_max = 16_777_216 in 65_536 ..= 1_099_511_627_776,
    /// Bytes of one entry of a history. Half may be a push's description of itself; a longer entry loses the end of its log and of its details.
    history_entry_bytes_max = 65_536 in 16_384 ..= 1_048_576,
    /// Stored versions of one app.
    versions_max = 10_000 in 1 ..= 1_000_000,
    /// Bytes of the files of all stored versions of one app and of pushes under way, equal files once, without compressed forms; 0 is no limit.
    stored_bytes_per_app_max = 0 in 0 ..= 1_125_899_906_842_624,
    /// Pushes of one app begun within an hour, including archives; each node of a cluster counts separately. 0 is no limit.
    pushes_per_hour_per_app_max = 0 in 0 ..= 1_000_000,
    /// Simultaneous requests of one app's visitors, including downloads and event streams; further requests get 503 with `Retry-After`. Each node of a cluster counts separately. 0 is no limit.
    requests_per_app_max = 0 in 0 ..= 10_000_000,
    /// Bytes of response bodies sent to one app's visitors in a second, all connections together; further bytes wait. Each node of a cluster counts separately. 0 is no limit.
    sent_bytes_per_second_per_app_max = 0 in 0 ..= 1_099_511_627_776,
    /// Aliases of one app.
    aliases_max = 1_000 in 0 ..= 1_000_000,
    /// Withdrawn paths of one app; beyond, withdrawals end for paths that existed only in removed versions.
    withdrawn_paths_max = 1_000 in 0 ..= 100_000,
    /// Versions removed by one collection; the next collection removes more.
    collect_versions_max = 10_000 in 1 ..= 1_000_000,
    /// Files removed by one collection; the next collection removes more.
    collect_files_max = 1_000_000 in 1 ..= 100_000_000,
    /// Unreferenced files that a collection removes without a check of their proportion, if any app is stored.
    collect_unreferenced_files_max = 1_000 in 0 ..= 100_000_000,
    /// Further unreferenced files of a collection, in percent of the referenced files; with more unreferenced files, the collection removes none.
    collect_unreferenced_percent_max = 100 in 0 ..= 1_000_000,
    /// Bytes of stored files read in a second by checks (`retention.scrub_days`).
    scrub_bytes_per_second_max = 16_777_216 in 65_536 ..= 1_099_511_627_776,
    /// Milliseconds of a push for deltas before its switch; unfinished deltas are made after the switch.
    delta_ms_max = 2_000 in 0 ..= 600_000,
    /// Milliseconds of each of the two passes after a switch: for missing deltas, and for the best level; unfinished work is done after the next switch.
    delta_background_ms_max = 600_000 in 0 ..= 86_400_000,
    /// Bytes of deltas added to the disk by one push or switch.
    delta_bytes_max = 67_108_864 in 0 ..= 1_099_511_627_776,
    /// Bytes of a file for use as a dictionary, and for delivery as a delta.
    dictionary_bytes_max = 8_388_608 in 1_024 ..= 1_073_741_824,
    /// Bytes, as transferred, of the scripts and styles under stable names that pages of one version offer as dictionaries.
    dictionary_offered_bytes_max = 4_194_304 in 0 ..= 1_073_741_824,
    /// Files of one version that serve as dictionaries; beyond, the largest files.
    dictionary_files_max = 2_000 in 0 ..= 100_000,
    /// Deltas of one app made in a minute on demand, for browsers with a dictionary without a delta.
    on_demand_deltas_per_minute_max = 60 in 0 ..= 100_000,
    /// Settings and secrets of one environment.
    settings_max = 500 in 0 ..= 10_000,
    /// Bytes of the name of a setting.
    setting_name_bytes_max = 128 in 1 ..= 4_096,
    /// Bytes of the value of a setting.
    setting_value_bytes_max = 65_536 in 0 ..= 1_048_576,
    /// Bytes of the names and values of all settings of one environment together.
    settings_bytes_max = 262_144 in 0 ..= 16_777_216,
    /// Stored revisions of the settings of one environment, and switches whose revisions are stored in addition.
    settings_revisions_max = 50 in 1 ..= 10_000,
    /// Open connections; fewer if the process may not open twice as many files. Each connection in the last sixteenth closes an older connection without active requests.
    connections_max = 65_536 in 1 ..= 10_000_000,
    /// Open connections from one address; 0 is no limit.
    connections_per_address_max = 0 in 0 ..= 10_000_000,
    /// Bytes of a request's head.
    header_bytes_max = 65_536 in 8_192 ..= 1_048_576,
    /// Fields in a request's head; over HTTP/2 and HTTP/3 each cookie counts as one field, as browsers send them.
    header_fields_max = 100 in 10 ..= 10_000,
    /// Open streams of one connection over HTTP/2 or HTTP/3; over HTTP/3 at most 16 before the first request's head.
    streams_max = 128 in 1 ..= 10_000,
    /// Requests on one connection; the connection is closed after the last request.
    requests_per_connection_max = 1_000_000 in 1 ..= 1_000_000_000_000,
    /// Streams reset by a client of HTTP/2 or HTTP/3, or for the client's errors, in one second beyond completed streams; as many again for streams with a ready response.
    resets_per_second_max = 200 in 1 ..= 1_000_000,
    /// Frames of HTTP/2 or HTTP/3 on one connection in one second without a request or bytes of a request.
    control_frames_per_second_max = 10_000 in 100 ..= 10_000_000,
    /// Bytes of one request's body accepted from a client of HTTP/2 or HTTP/3 before the edge passes any on.
    stream_window_bytes = 524_288 in 65_535 ..= 2_147_483_647,
    /// Bytes of all requests' bodies accepted from a client of HTTP/2 or HTTP/3 on one connection before the edge passes any on; over HTTP/3 at most 131_072 before the first request's head.
    connection_window_bytes = 1_048_576 in 65_535 ..= 2_147_483_647,
    /// Milliseconds for a TLS handshake.
    handshake_ms_max = 10_000 in 100 ..= 600_000,
    /// Simultaneous TLS handshakes on one listener of one thread; further connections wait in the system's backlog.
    handshakes_max = 2_048 in 1 ..= 1_000_000,
    /// Simultaneous TLS handshakes from one address, of IPv6 one /64, on one listener of one thread; further connections from the address are closed. 0 is no limit.
    handshakes_per_address_max = 512 in 0 ..= 1_000_000,
    /// Milliseconds after which a TLS handshake waiting for its client may be closed in favour of a new connection, if no place is free.
    handshake_stall_ms_max = 1_000 in 0 ..= 600_000,
    /// Milliseconds until a request's head is complete, over HTTP/3 from the opening of its stream; a stream without any byte at this time ends its connection.
    header_ms_max = 15_000 in 100 ..= 600_000,
    /// Milliseconds of idle time of a connection.
    idle_ms_max = 120_000 in 100 ..= 86_400_000,
    /// Milliseconds without progress of a client during the transfer of a body.
    write_ms_max = 60_000 in 100 ..= 86_400_000,
    /// Bytes of responses in memory for slow clients, and of data received behind gaps from clients of HTTP/3, on all connections together; beyond, responses of the slowest clients are reset, or their connections closed.
    response_memory_bytes_max = 268_435_456 in 1_048_576 ..= 1_099_511_627_776,
    /// Bytes of `response_memory_bytes_max` for all clients of one address, of IPv6 one /64; 0 is no limit.
    response_memory_bytes_per_address_max = 134_217_728 in 0 ..= 1_099_511_627_776,
    /// Bytes of `response_memory_bytes_max` for one connection, all streams together; a further stream waits until other bytes are sent.
    response_memory_bytes_per_connection_max = 262_144 in 65_536 ..= 1_073_741_824,
    /// Milliseconds between two bytes of a visitor's request body, over HTTP/2 and HTTP/3.
    body_ms_max = 60_000 in 100 ..= 86_400_000,
    /// Milliseconds for which the rest of a request is read and discarded after its response, so the client sees the response before the request is stopped: over HTTP/2 and HTTP/3 by a reset of the stream, over HTTP/1.1 by the end of the connection.
    linger_ms_max = 2_000 in 0 ..= 60_000,
    /// Bytes read and discarded after a response (`linger_ms_max`), on one connection at once.
    linger_bytes_max = 16_777_216 in 0 ..= 1_073_741_824,
    /// Bytes of a proxied request's body.
    proxy_body_bytes_max = 1_099_511_627_776 in 0 ..= 1_099_511_627_776,
    /// Idle connections to one member of an upstream, on each serving thread.
    upstream_idle_max = 32 in 0 ..= 10_000,
    /// Milliseconds after which a connection to a member of an upstream takes no further request, busy or not.
    upstream_connection_age_ms_max = 300_000 in 1_000 ..= 86_400_000,
    /// Simultaneous requests to one member of an upstream, including upgraded connections; `connections_max` of the upstream may set fewer.
    upstream_requests_max = 16_384 in 1 ..= 1_000_000,
    /// Open sockets to backends, of all apps, including idle sockets, at most a quarter of the file descriptors of the process; an app gets a further socket while the app has fewer than three times the number of free sockets, or, in the last sixteenth, fewer than five, and otherwise 503 `busy`.
    upstream_sockets_max = 65_536 in 1 ..= 1_000_000,
    /// Minimum milliseconds for which a DNS answer about a backend's name is used, and the pause before a retry after a failure; each further failure doubles the pause, up to a minute.
    upstream_dns_ms_min = 1_000 in 10 ..= 3_600_000,
    /// Maximum milliseconds for which a DNS answer about a backend's name is used, even with a longer time to live.
    upstream_dns_ms_max = 300_000 in 10 ..= 86_400_000,
    /// Milliseconds for which the last addresses of a backend's name are used after DNS reports no address.
    upstream_dns_hold_ms = 30_000 in 0 ..= 86_400_000,
    /// Members added to one upstream by the API.
    upstream_members_max = 256 in 0 ..= 10_000,
    /// Upstreams below `[upstreams]` of a version in one environment.
    upstreams_max = 100 in 0 ..= 10_000,
    /// Members of all upstreams of a version in one environment together: declared members, and declared members together with members added by the API.
    upstream_members_per_version_max = 1_000 in 0 ..= 100_000,
    /// Simultaneous health checks of members of upstreams, an eighth for one app; a further check waits for its turn, without counting as failed. An app begins at most ten times its eighth in a second.
    upstream_checks_max = 256 in 1 ..= 100_000,
    /// Minimum milliseconds between two health checks of a member, even if the upstream sets fewer.
    upstream_check_interval_ms_min = 1_000 in 10 ..= 3_600_000,
    /// Maximum milliseconds of one health check of a member, even if the upstream sets more.
    upstream_check_ms_max = 30_000 in 100 ..= 86_400_000,
    /// Instances of one environment, of all processes together.
    instances_max = 64 in 0 ..= 100_000,
    /// Instances of all apps together; an app has at most three quarters of the instances left by other apps, in all its environments, previews and versions, and none of the last sixteenth, but five if as many are left.
    instances_total_max = 512 in 0 ..= 1_000_000,
    /// Bytes of memory of one instance with its child processes; a backend may set fewer.
    instance_memory_bytes_max = 1_073_741_824 in 16_777_216 ..= 1_099_511_627_776,
    /// Processes of one instance; all processes together may have 32 times as many threads.
    instance_processes_max = 512 in 8 ..= 4_194_304,
    /// Processes and threads of all instances of an app together, in all environments and previews.
    app_tasks_max = 16_384 in 64 ..= 4_194_304,
    /// Open files of a process of an instance.
    instance_open_files_max = 16_384 in 64 ..= 1_048_576,
    /// Processor time of one instance in percent of one core, with control groups; 0 is no limit.
    instance_cpu_percent_max = 0 in 0 ..= 100_000,
    /// Bytes of the temporary files of one instance; in a tmpfs of the instance, temporary files count as memory too.
    instance_tmp_bytes_max = 268_435_456 in 1_048_576 ..= 1_099_511_627_776,
    /// Temporary files and folders of one instance.
    instance_tmp_files_max = 16_384 in 64 ..= 100_000_000,
    /// Bytes of one container image, unpacked, in blocks of 4 KiB.
    image_bytes_max = 2_147_483_648 in 1_048_576 ..= 1_099_511_627_776,
    /// Milliseconds to get one container image from its registry.
    image_pull_ms_max = 300_000 in 1_000 ..= 86_400_000,
    /// Container images of an app stored on one node.
    images_per_app_max = 100 in 1 ..= 100_000,
    /// Bytes kept free on the disk of `data_dir`, or a sixteenth of a smaller disk: with less, the edge refuses new files with `disk_full`, and serves and switches as before.
    disk_free_bytes_min = 268_435_456 in 0 ..= 1_125_899_906_842_624,
    /// Bytes of an environment in `persist`, and of all previews of an app together, including temporary files on the disk; no single file is larger.
    persist_bytes_max = 10_737_418_240 in 1_048_576 ..= 1_125_899_906_842_624,
    /// Files and folders of an environment in `persist`, and of all previews of an app together.
    persist_files_max = 1_000_000 in 64 ..= 100_000_000,
    /// Snapshots of an environment's `persist` folder, on each node.
    snapshots_max = 20 in 1 ..= 10_000,
    /// Bytes of all snapshots of an environment together, on each node.
    snapshot_bytes_max = 10_737_418_240 in 1_048_576 ..= 1_125_899_906_842_624,
    /// Milliseconds after which an automatic snapshot is removed, at the time of the next automatic snapshot.
    snapshot_age_ms_max = 2_592_000_000 in 60_000 ..= 315_360_000_000,
    /// Milliseconds of one task on an environment's `persist` folder, for example an archive.
    data_task_ms_max = 3_600_000 in 1_000 ..= 86_400_000,
    /// Maximum milliseconds for the start of an instance, even if the backend sets more.
    instance_start_ms_max = 600_000 in 100 ..= 86_400_000,
    /// Maximum milliseconds for active requests of an ending instance, even if the backend sets more.
    instance_drain_ms_max = 600_000 in 0 ..= 86_400_000,
    /// Maximum milliseconds from SIGTERM until an instance is killed, even if the backend sets more.
    instance_stop_ms_max = 60_000 in 0 ..= 86_400_000,
    /// Milliseconds that a purge waits for the instances of the purged versions; the next collection removes the files of instances that take longer.
    purge_wait_ms_max = 30_000 in 0 ..= 3_600_000,
    /// Consecutive exits, without a minute of health in between, after which a deploy gives up on a backend.
    instance_crashes_max = 3 in 1 ..= 1_000,
    /// Milliseconds before the first restart of an exited instance; each further exit doubles the pause.
    instance_restart_ms_min = 500 in 1 ..= 86_400_000,
    /// Maximum milliseconds before the restart of an exited instance.
    instance_restart_ms_max = 60_000 in 1 ..= 86_400_000,
    /// Milliseconds after a switch within which the edge undoes the switch automatically if all its new instances fail; 0 is never.
    instance_trial_ms = 60_000 in 0 ..= 3_600_000,
    /// Milliseconds between two health checks of an instance.
    instance_health_ms = 5_000 in 50 ..= 3_600_000,
    /// Consecutive failed health checks after which an instance gets no requests; after twice as many the instance is restarted.
    instance_unhealthy_after = 3 in 1 ..= 1_000,
    /// Milliseconds for the command `release` of a backend.
    release_ms_max = 600_000 in 100 ..= 86_400_000,
    /// Maximum milliseconds for a command of a schedule, even with a longer `timeout_ms`.
    schedule_ms_max = 3_600_000 in 100 ..= 86_400_000,
    /// Simultaneous commands of schedules of all apps on a node; further commands wait for their turn.
    scheduled_runs_max = 8 in 1 ..= 10_000,
    /// Simultaneous commands of schedules of one app on a node.
    scheduled_runs_per_app_max = 2 in 1 ..= 10_000,
    /// Simultaneous commands of `devanture run` of all apps on a node; at most half for one environment, and three quarters for one app.
    runs_max = 16 in 0 ..= 1_000,
    /// Milliseconds for a command of `devanture run`.
    run_ms_max = 3_600_000 in 100 ..= 86_400_000,
    /// Milliseconds from SIGTERM until a command of `devanture run` is killed.
    run_stop_ms = 5_000 in 0 ..= 600_000,
    /// Bytes of one file of the log of an environment's instances.
    instance_log_bytes_max = 8_388_608 in 4_096 ..= 1_099_511_627_776,
    /// Files of the log of an environment's instances; the oldest file is removed first.
    instance_log_files_max = 4 in 1 ..= 1_000,
    /// Bytes of a line of an instance's log; the rest of a longer line begins a new line.
    instance_log_line_bytes_max = 16_384 in 256 ..= 1_048_576,
    /// Previews with running instances; the previews without a request for longest end first.
    previews_running_max = 8 in 0 ..= 10_000,
    /// Milliseconds without a request after which the instances of a preview end.
    preview_idle_ms_max = 300_000 in 100 ..= 86_400_000,
    /// Maximum milliseconds for which replaced instances stay for a rollback, even if the backend sets more.
    instance_warm_ms_max = 3_600_000 in 0 ..= 86_400_000,
    /// Hostnames of one environment.
    hostnames_max = 1_000 in 0 ..= 100_000,
    /// Hostnames of one app, of all environments together.
    hostnames_per_app_max = 2_000 in 0 ..= 100_000,
    /// Simultaneous DNS queries about hostnames, a quarter for one app; a further query waits.
    dns_lookups_max = 16 in 1 ..= 1_000,
    /// Milliseconds for one DNS query about a hostname; the wait for its turn is at most twice as long.
    dns_time_ms_max = 5_000 in 10 ..= 60_000,
    /// Names with a certificate by ACME; further names get a certificate of the local authority.
    acme_names_max = 10_000 in 1 ..= 1_000_000,
    /// Names of one app with a certificate by ACME; existing certificates are unaffected.
    acme_names_per_app_max = 100 in 1 ..= 1_000_000,
    /// Simultaneous orders at the authority; half for one app.
    acme_orders_max = 4 in 1 ..= 100,
    /// Orders begun within an hour, including failed orders.
    acme_orders_per_hour_max = 60 in 1 ..= 10_000,
    /// Orders of one app begun within an hour.
    acme_orders_per_hour_per_app_max = 10 in 1 ..= 10_000,
    /// Milliseconds before a retry of a name's first failed order; each further failure doubles the pause.
    acme_retry_ms_min = 60_000 in 100 ..= 86_400_000,
    /// Maximum milliseconds before a retry of a failed order.
    acme_retry_ms_max = 86_400_000 in 100 ..= 604_800_000,
    /// Checks of `[[smoke]]` of a version in one environment.
    smoke_checks_max = 100 in 0 ..= 1_000,
    /// Maximum milliseconds for one check of `[[smoke]]`, even if the check sets more.
    smoke_ms_max = 60_000 in 1 ..= 600_000,
    /// Bytes of a decoded response searched for the text of a `[[smoke]]` check.
    smoke_body_bytes_max = 1_048_576 in 1_024 ..= 67_108_864,
    /// Seconds for which a switch may be watched.
    watch_s_max = 3_600 in 1 ..= 86_400,
    /// Switches watched at once, at most half of one environment and three quarters of one app; further watches are refused with `Retry-After`.
    watches_max = 100 in 0 ..= 10_000,
    /// Signing keys required by one environment.
    signers_per_environment_max = 16 in 1 ..= 32,
    /// Signatures of one version; a further signature replaces the oldest signature not required by any environment of the app.
    signatures_per_version_max = 32 in 1 ..= 100,
    /// Entries of an environment's log of live versions; the oldest are dropped first.
    live_log_entries_max = 10_000 in 1 ..= 1_000_000,
    /// Webhooks of one app.
    webhooks_per_app_max = 10 in 0 ..= 20,
    /// Messages waiting for one webhook; a further message replaces the oldest.
    webhook_waiting_max = 100 in 1 ..= 10_000,
    /// Listed messages of one webhook that were sent or given up.
    webhook_deliveries_kept = 50 in 0 ..= 10_000,
    /// Messages to webhooks of all apps sent at once, at most a quarter of one app; further messages wait for their turn.
    webhook_sends_max = 32 in 1 ..= 1_000,
    /// Attempts to send messages to webhooks of one app in a minute; further attempts wait.
    webhook_messages_per_minute_per_app_max = 120 in 1 ..= 10_000,
    /// Tests of the webhooks of one app in a minute, on each node; further tests get 429 with `Retry-After`.
    webhook_tests_per_minute_per_app_max = 20 in 1 ..= 1_000,
    /// Milliseconds for one attempt to send a message to a webhook.
    webhook_ms_max = 15_000 in 100 ..= 60_000,
    /// Milliseconds of failures of a receiver before its webhook is disabled.
    webhook_failing_ms_max = 432_000_000 in 60_000 ..= 31_536_000_000,
    /// Unexpired share links of one app.
    share_links_per_app_max = 100 in 0 ..= 10_000,
    /// Milliseconds of a share link's life.
    share_link_ms_max = 7_776_000_000 in 60_000 ..= 31_536_000_000,
    /// Milliseconds for which a visitor of a protected preview or environment stays logged in after the password or a login.
    visitor_login_ms_max = 43_200_000 in 60_000 ..= 2_592_000_000,
    /// Simultaneous logins of visitors through the provider of `[oidc]` on this node, and as many requests of logins with the device grant; further logins get 503.
    visitor_logins_at_once_max = 64 in 1 ..= 10_000,
    /// Tokens of all apps together.
    tokens_max = 10_000 in 1 ..= 1_000_000,
    /// Unexpired tokens of one app.
    tokens_per_app_max = 500 in 1 ..= 1_000_000,
    /// Accounts.
    accounts_max = 1_000 in 0 ..= 100_000,
    /// Milliseconds of the life of an invitation to set an account's password, by default and at most.
    invitation_ms_max = 604_800_000 in 60_000 ..= 31_536_000_000,
    /// Valid logins of one account; a further login ends the oldest.
    logins_per_account_max = 64 in 1 ..= 10_000,
    /// Milliseconds of the life of a login's access token.
    access_token_ms_max = 900_000 in 1_000 ..= 86_400_000,
    /// Milliseconds after a login at which the password is required again, with or without refreshes.
    refresh_token_ms_max = 2_592_000_000 in 1_000 ..= 31_536_000_000,
    /// Milliseconds within which a refresh token may be presented again while its successor is unused.
    refresh_grace_ms_max = 10_000 in 0 ..= 60_000,
    /// Valid browser sessions of one account or token; a further session ends the oldest.
    sessions_per_account_max = 32 in 1 ..= 32,
    /// Milliseconds after the last request at which a browser session ends.
    session_idle_ms_max = 43_200_000 in 1_000 ..= 31_536_000_000,
    /// Milliseconds after the start at which a browser session ends, with or without use.
    session_ms_max = 604_800_000 in 1_000 ..= 31_536_000_000,
    /// Maximum milliseconds of the life of a token made by an account in a newly confirmed session.
    account_token_ms_max = 31_536_000_000 in 1_000 ..= 315_360_000_000,
    /// Milliseconds for which a browser session counts as confirmed.
    confirmation_ms_max = 300_000 in 1_000 ..= 86_400_000,
    /// Passkeys of one account.
    passkeys_per_account_max = 10 in 0 ..= 16,
    /// Milliseconds of the life of a passkey challenge.
    challenge_ms_max = 300_000 in 1_000 ..= 3_600_000,
    /// Minimum number of characters of an account's password.
    password_characters_min = 12 in 8 ..= 128,
    /// Argon2id: KiB of memory for one password.
    argon2_memory_kib = 19_456 in 7_168 ..= 1_048_576,
    /// Argon2id: passes over the memory.
    argon2_passes = 2 in 1 ..= 100,
    /// Argon2id: lanes.
    argon2_lanes = 1 in 1 ..= 16,
    /// Passwords hashed at once, each with `argon2_memory_kib` and a separate thread.
    argon2_at_once_max = 2 in 1 ..= 64,
    /// Passwords waiting for a check, at most half from visitors; further checks are refused with `Retry-After`.
    argon2_waiting_max = 32 in 0 ..= 10_000,
    /// Attempts to log in to one account within `login_window_ms`, except from addresses of earlier logins; and from one address at one password of visitors.
    login_attempts_per_account_max = 10 in 1 ..= 1_000,
    /// Attempts to log in from one address, of IPv6 one /64, within `login_window_ms`.
    login_attempts_per_address_max = 100 in 1 ..= 10_000,
    /// Milliseconds for which an attempt to log in counts.
    login_window_ms = 900_000 in 1_000 ..= 86_400_000,
    /// Accounts and addresses with remembered attempts to log in.
    login_keys_max = 10_000 in 100 ..= 1_000_000,
    /// Bytes of an identity token in an exchange for a token of the edge.
    identity_token_bytes_max = 8_192 in 1_024 ..= 65_536,
    /// Milliseconds until an identity token expires; a token with a longer life is refused.
    identity_token_ms_max = 86_400_000 in 60_000 ..= 604_800_000,
    /// Unexpired tokens of one app obtained by one `[[trust]]`, or by one person through `[oidc]`; `tokens_per_app_max` is for all others.
    tokens_per_trust_max = 200 in 1 ..= 100_000,
    /// Exchanged, unexpired identity tokens, remembered so that each is exchanged once, at most half of one `[[trust]]`; further tokens are refused.
    identity_tokens_max = 10_000 in 1 ..= 1_000_000,
    /// Keys of one issuer of identity tokens; a longer list is refused.
    identity_keys_max = 100 in 1 ..= 1_000,
    /// Bytes of an issuer's list of keys, and of the discovery document.
    identity_keys_bytes_max = 262_144 in 1_024 ..= 4_194_304,
    /// Milliseconds to fetch the discovery document and the keys.
    identity_fetch_ms_max = 10_000 in 100 ..= 60_000,
    /// Milliseconds between two requests for the keys of an issuer for identity tokens with an unknown key; after a failure a sixth of the time.
    identity_fetch_pause_ms_min = 60_000 in 100 ..= 3_600_000,
    /// Milliseconds for which fetched keys of an issuer are used while the issuer is unreachable or sets no shorter time.
    identity_keys_ms_max = 86_400_000 in 600_000 ..= 604_800_000,
    /// Changes by one token or account in a minute; the bytes of sent files do not count.
    writes_per_minute_max = 60_000 in 1 ..= 1_000_000,
    /// Entries of the audit log; beyond, entries of the app with the most entries are dropped.
    audit_entries_max = 100_000 in 100 ..= 10_000_000,
    /// Days for which an entry of the audit log is stored.
    audit_days_max = 400 in 1 ..= 36_500,
    /// Unwritten lines of the access log; further lines are dropped and counted.
    log_lines_max = 65_536 in 16 ..= 10_000_000,
    /// Readers of `logs` at once.
    log_readers_max = 64 in 0 ..= 10_000,
    /// Readers of `logs` of one app at once; one environment takes at most half of them.
    log_readers_per_app_max = 8 in 0 ..= 10_000,
    /// Lines waiting for one reader of `logs`; further lines are dropped, and their number is reported to the reader.
    log_reader_lines_max = 1_024 in 1 ..= 1_000_000,
    /// Bytes of the last lines of one app in memory for `logs`; 0 stores none.
    log_kept_bytes_max = 65_536 in 0 ..= 67_108_864,
    /// Apps with last lines in memory for `logs`: the apps with the latest requests.
    log_kept_apps_max = 256 in 0 ..= 100_000,
    /// Bytes of recent traffic of one app's versions, for charts; 0 stores none.
    traffic_kept_bytes_max = 262_144 in 0 ..= 67_108_864,
    /// Apps with stored traffic: the apps with the latest requests.
    traffic_kept_apps_max = 256 in 0 ..= 100_000,
}
