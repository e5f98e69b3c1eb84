//! Every limit of the edge: its name in `[limits]` of `edge.toml`, its default and its meaning.

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
    /// Bytes of a path in a bundle; a request's path may have three times as many, as each may be encoded, or 8,000.
    path_bytes_max = 4_096 in 16 ..= 65_536,
    /// Bytes of one segment of a path in a bundle.
    segment_bytes_max = 255 in 16 ..= 65_536,
    /// Rules of a version in one environment: redirects, rewrites, fields and `[cache]` together.
    rules_max = 10_000 in 0 ..= 100_000,
    /// Bytes of memory for rules while they are read and checked, 25 for each byte of the rule files and the rules in the settings; one app has half of it at most. Pushes and switches wait for their turn; rules that need more than that half are read one version at a time.
    rules_memory_bytes_max = 268_435_456 in 1_048_576 ..= 1_099_511_627_776,
    /// Bytes of a page that gets the hashes of what it loads (`integrity`); a longer one is served as it is.
    integrity_page_bytes_max = 1_048_576 in 0 ..= 67_108_864,
    /// Pages of a version that get the hashes of what they load; those beyond are served as they are.
    integrity_pages_max = 2_000 in 0 ..= 100_000,
    /// Bytes of the import map with the hashes of modules that one page gets; a page that reaches more is served as it is.
    integrity_map_bytes_max = 131_072 in 0 ..= 1_048_576,
    /// Modules of a version that are followed to what they import, for these; beyond, pages are served as they are.
    integrity_modules_max = 10_000 in 0 ..= 1_000_000,
    /// Steps of looking up what the pages of a version load, one for each address and each KiB of a script, in all environments together; beyond, pages are served as they are.
    integrity_steps_max = 2_000_000 in 0 ..= 1_000_000_000,
    /// Bytes of memory for what the pages of a version load, while a push looks it up; pages beyond are served as they are.
    integrity_memory_bytes_max = 67_108_864 in 0 ..= 17_179_869_184,
    /// Distinct reports of browsers about what pages load without a hash that are kept of one environment; that of the fewest messages goes.
    integrity_reports_kept_max = 100 in 0 ..= 10_000,
    /// Apps of which these reports are kept: those with the latest ones.
    integrity_reports_apps_max = 256 in 0 ..= 100_000,
    /// Bytes of a message of browsers with such reports; a longer one is counted, and not read.
    integrity_report_bytes_max = 65_536 in 0 ..= 1_048_576,
    /// Milliseconds that such a message may take to come in; one that takes longer is counted, and not read.
    integrity_report_ms_max = 10_000 in 1 ..= 600_000,
    /// Such messages that are read at once, of all apps, and an eighth of them of one app; others are counted, and not read.
    integrity_reports_reading_max = 64 in 0 ..= 4_096,
    /// How many times larger than its archive an unpacked bundle may be.
    archive_ratio_max = 200 in 1 ..= 100_000,
    /// Bytes of a manifest.
    manifest_bytes_max = 67_108_864 in 1_024 ..= 1_073_741_824,
    /// Bytes of a manifest beside its files: the settings of all environments, and the links of the backend's folder.
    manifest_settings_bytes_max = 4_194_304 in 1_024 ..= 67_108_864,
    /// Milliseconds that a manifest may take to come in.
    manifest_ms_max = 600_000 in 1_000 ..= 86_400_000,
    /// Manifests of more than 64 KiB received at once, at most half of them for one environment and three quarters for one app; further ones get 503 with `Retry-After`.
    manifests_reading_max = 16 in 1 ..= 256,
    /// Bytes of memory for manifests being received and those of pushes under way, four times their length each; further ones get 503 with `Retry-After`.
    manifest_memory_bytes_max = 536_870_912 in 1_048_576 ..= 1_099_511_627_776,
    /// Bytes of a request's body to the admin listener, where it is neither a blob nor a bundle nor a manifest.
    admin_body_bytes_max = 1_048_576 in 1_024 ..= 67_108_864,
    /// Milliseconds that such a body may take to come in.
    admin_body_ms_max = 30_000 in 100 ..= 86_400_000,
    /// Such bodies of more than 64 KiB received at once, at most half of them for one app, or one account or token of all apps; further ones get 503 with `Retry-After`.
    admin_bodies_receiving_max = 64 in 1 ..= 10_000,
    /// Milliseconds that the body of a request to the admin listener may rest between two of its bytes.
    admin_body_idle_ms_max = 60_000 in 100 ..= 86_400_000,
    /// Pushes, and archives, received at once, at most half of them for one environment and three quarters for one app; further ones get 503 with `Retry-After`.
    pushes_max = 64 in 1 ..= 10_000,
    /// Milliseconds that a push may rest between two of its requests before it is forgotten.
    push_idle_ms_max = 3_600_000 in 1_000 ..= 604_800_000,
    /// Bytes of the blobs of one request that carries many of them.
    blob_batch_bytes_max = 2_097_152 in 65_536 ..= 67_108_864,
    /// Blobs of one such request.
    blob_batch_blobs_max = 1_000 in 1 ..= 10_000,
    /// Such requests received at once, at most half of them for one environment and three quarters for one app; further ones get 503 with `Retry-After`.
    blob_batches_max = 64 in 1 ..= 10_000,
    /// Blobs received at once in requests of their own, at most half of them for one environment and three quarters for one app; further ones get 503 with `Retry-After`.
    blobs_receiving_max = 256 in 1 ..= 10_000,
    /// Bytes of memory for the loaded versions of one app: their paths, heads and rules, and files that are held in memory: at most a quarter of it less six times what the versions take by themselves, and a sixteenth in any case.
    app_memory_bytes_max = 536_870_912 in 1_048_576 ..= 1_099_511_627_776,
    /// Bytes of memory for the loaded versions of all apps together, with the files that are held in memory. Beyond, environments are unloaded, those first that were requested least; their next request loads them again. 0 is half of the memory that the process may use.
    loaded_memory_bytes_max = 0 in 0 ..= 1_099_511_627_776,
    /// Bytes of memory that the whole process may have in RAM. From nine tenths of it on, environments are unloaded, those first that were requested least, no more files are held in memory, and what is compressed behind a switch waits; no request is refused. 0 is no limit.
    process_memory_bytes_max = 0 in 0 ..= 1_099_511_627_776,
    /// Previews of one app, of versions and of aliases, that are kept loaded.
    previews_loaded_max = 32 in 1 ..= 10_000,
    /// Milliseconds without a request after which a loaded preview is evicted.
    preview_loaded_idle_ms_max = 900_000 in 100 ..= 86_400_000,
    /// Requests that wait for previews of one app to be loaded; a further one is answered 503.
    preview_requests_waiting_max = 256 in 1 ..= 100_000,
    /// Bytes of a file up to which it is compressed; larger ones are sent as they are.
    compress_file_bytes_max = 268_435_456 in 0 ..= 4_294_967_296,
    /// Bytes of a file or variant up to which it is held in memory while a version that has it is loaded.
    memory_file_bytes_max = 4_194_304 in 0 ..= 1_073_741_824,
    /// Bytes of files and variants that are held in memory in all, with some 200 bytes for each; one app leaves at least as many free as it takes. What has no room is read from the disk as it is sent. A start fills a sixteenth with files of what was not requested lately.
    memory_bytes_max = 268_435_456 in 0 ..= 1_099_511_627_776,
    /// Stored files that are kept open at a time, at most an eighth of the file descriptors of the process; others are opened when they are read.
    open_files_max = 4_096 in 1 ..= 1_048_576,
    /// Versions of one environment that answer for their fingerprinted assets after a switch, within the grace period.
    grace_versions_max = 16 in 0 ..= 1_000,
    /// Milliseconds after a switch within which a fingerprinted asset of the replaced version still answers.
    grace_ms_max = 86_400_000 in 0 ..= 31_536_000_000,
    /// Earlier versions of one environment that visitors are held on (`pin`), within the grace period and as long as memory allows.
    pinned_versions_max = 3 in 0 ..= 100,
    /// Characters of the message of a pause.
    pause_message_characters_max = 2_000 in 0 ..= 65_536,
    /// Paths that a pause may leave open.
    pause_paths_max = 100 in 0 ..= 10_000,
    /// Characters of the reason of a lock.
    lock_reason_characters_max = 500 in 0 ..= 65_536,
    /// Apps, deleted ones that can be restored among them.
    apps_max = 10_000 in 1 ..= 1_000_000,
    /// Environments with series of their own in the metrics, and apps with such of whole apps; what happens in the others is summed as `_other`.
    metrics_environments_max = 100 in 0 ..= 100_000,
    /// Environments of one app: those that something is, or was, live in, and those with a history, settings or hostnames; `preview` counts only with more than the history of pushes to aliases.
    environments_max = 100 in 1 ..= 10_000,
    /// Entries of an environment's history that are kept, and as many again that are no switches; also the records of an app's versions that are gone. Older ones are forgotten.
    history_entries_max = 10_000 in 100 ..= 1_000_000,
    /// Bytes of the entries of an environment's history that are switches, and as many again of those that are none. Older ones are forgotten.
    history_bytes_max = 16_777_216 in 65_536 ..= 1_099_511_627_776,
    /// Bytes of one entry of a history. Half of them may be what a push says of itself; of a longer entry the end of its log and of its details is cut.
    history_entry_bytes_max = 65_536 in 16_384 ..= 1_048_576,
    /// Versions that one app has stored.
    versions_max = 10_000 in 1 ..= 1_000_000,
    /// Bytes of the files of all stored versions of one app and of its pushes under way, equal files once, without their compressed forms; 0 is no limit.
    stored_bytes_per_app_max = 0 in 0 ..= 1_125_899_906_842_624,
    /// Pushes of one app that are begun within an hour, archives among them; each node of a cluster counts its own. 0 is no limit.
    pushes_per_hour_per_app_max = 0 in 0 ..= 1_000_000,
    /// Requests of visitors of one app that are under way at once, downloads and event streams among them; a further one is answered 503 with `Retry-After`. Each node of a cluster counts its own. 0 is no limit.
    requests_per_app_max = 0 in 0 ..= 10_000_000,
    /// Bytes of response bodies that visitors of one app are sent in a second, all connections together; what is beyond waits. Each node of a cluster counts its own. 0 is no limit.
    sent_bytes_per_second_per_app_max = 0 in 0 ..= 1_099_511_627_776,
    /// Aliases of one app.
    aliases_max = 1_000 in 0 ..= 1_000_000,
    /// Paths of one app that may be withdrawn at once; beyond it those end that only versions had which are gone.
    withdrawn_paths_max = 1_000 in 0 ..= 100_000,
    /// Versions that one collection takes; the next one takes more.
    collect_versions_max = 10_000 in 1 ..= 1_000_000,
    /// Files that one collection takes; the next one takes more.
    collect_files_max = 1_000_000 in 1 ..= 100_000_000,
    /// Unreferenced files that a collection takes without a look at their proportion, once any app is stored.
    collect_unreferenced_files_max = 1_000 in 0 ..= 100_000_000,
    /// Percent of the referenced files that a collection takes beyond that; where more are unreferenced, it takes none.
    collect_unreferenced_percent_max = 100 in 0 ..= 1_000_000,
    /// Bytes of stored files that are read in a second to check them (`retention.scrub_days`).
    scrub_bytes_per_second_max = 16_777_216 in 65_536 ..= 1_099_511_627_776,
    /// Milliseconds that a push takes for deltas before its switch; what has no time is made behind it.
    delta_ms_max = 2_000 in 0 ..= 600_000,
    /// Milliseconds that each of the two passes behind a switch may take: for deltas that are not there yet, and for the best level; what has no time is made at the next switch.
    delta_background_ms_max = 600_000 in 0 ..= 86_400_000,
    /// Bytes of deltas that one push, or one switch, adds to the disk.
    delta_bytes_max = 67_108_864 in 0 ..= 1_099_511_627_776,
    /// Bytes of a file up to which it serves as a dictionary, and is sent as a delta.
    dictionary_bytes_max = 8_388_608 in 1_024 ..= 1_073_741_824,
    /// Bytes, as they travel, of the scripts and styles under names that stay that pages of one version offer as dictionaries.
    dictionary_offered_bytes_max = 4_194_304 in 0 ..= 1_073_741_824,
    /// Files of one version that serve as dictionaries; of more, the largest ones.
    dictionary_files_max = 2_000 in 0 ..= 100_000,
    /// Deltas of one app that are made in a minute because browsers came with dictionaries that there were none for.
    on_demand_deltas_per_minute_max = 60 in 0 ..= 100_000,
    /// Settings and secrets of one environment.
    settings_max = 500 in 0 ..= 10_000,
    /// Bytes of the name of a setting.
    setting_name_bytes_max = 128 in 1 ..= 4_096,
    /// Bytes of the value of a setting.
    setting_value_bytes_max = 65_536 in 0 ..= 1_048_576,
    /// Bytes of the names and values of all settings of one environment together.
    settings_bytes_max = 262_144 in 0 ..= 16_777_216,
    /// Revisions of the settings of one environment that are kept, and switches whose revisions are kept beside them.
    settings_revisions_max = 50 in 1 ..= 10_000,
    /// Connections that are open at once; fewer where the process may not have twice as many files open. Of the last sixteenth, each has an older one end once nothing is under way on it.
    connections_max = 65_536 in 1 ..= 10_000_000,
    /// Connections from one address that are open at once; 0 is no limit.
    connections_per_address_max = 0 in 0 ..= 10_000_000,
    /// Bytes of a request's head.
    header_bytes_max = 65_536 in 8_192 ..= 1_048_576,
    /// Fields in a request's head; over HTTP/2 and HTTP/3 each cookie is one, as browsers send them.
    header_fields_max = 100 in 10 ..= 10_000,
    /// Streams of HTTP/2 or HTTP/3 that one connection may have open at once; over HTTP/3 at most 16 until the head of a request has come.
    streams_max = 128 in 1 ..= 10_000,
    /// Requests on one connection, which is closed after the last one.
    requests_per_connection_max = 1_000_000 in 1 ..= 1_000_000_000_000,
    /// Streams of HTTP/2 or HTTP/3 that a client may reset, or have reset for its mistakes, in one second beyond those it lets end; as many again of those whose answers are at hand.
    resets_per_second_max = 200 in 1 ..= 1_000_000,
    /// Frames of HTTP/2 or HTTP/3 of one connection in one second that carry neither a request nor bytes of one.
    control_frames_per_second_max = 10_000 in 100 ..= 10_000_000,
    /// Bytes of one request's body that a client of HTTP/2 or HTTP/3 may send before the edge has passed any on.
    stream_window_bytes = 524_288 in 65_535 ..= 2_147_483_647,
    /// Bytes of all requests' bodies that a client of HTTP/2 or HTTP/3 may send on one connection before the edge has passed any on; over HTTP/3 at most 131_072 until the head of a request has come.
    connection_window_bytes = 1_048_576 in 65_535 ..= 2_147_483_647,
    /// Milliseconds for a TLS handshake.
    handshake_ms_max = 10_000 in 100 ..= 600_000,
    /// TLS handshakes under way at once on one listener of one thread; further connections wait in the system's backlog.
    handshakes_max = 2_048 in 1 ..= 1_000_000,
    /// TLS handshakes under way at once from one address, of IPv6 one /64, on one listener of one thread; further connections from it are closed. 0 is no limit.
    handshakes_per_address_max = 512 in 0 ..= 1_000_000,
    /// Milliseconds after which a TLS handshake that waits for its client may be closed in favour of a new connection, when no place is free.
    handshake_stall_ms_max = 1_000 in 0 ..= 600_000,
    /// Milliseconds until a request's head is complete, over HTTP/3 from the opening of its stream; a stream of which no first byte has come by then ends its connection.
    header_ms_max = 15_000 in 100 ..= 600_000,
    /// Milliseconds that a connection may be idle.
    idle_ms_max = 120_000 in 100 ..= 86_400_000,
    /// Milliseconds without a byte taken by a client that is being sent a body.
    write_ms_max = 60_000 in 100 ..= 86_400_000,
    /// Bytes of responses that are held in memory because their clients have not taken them, and that clients of HTTP/3 sent behind gaps take, on all connections together; beyond, the slowest clients' responses are reset, or their connections closed.
    response_memory_bytes_max = 268_435_456 in 1_048_576 ..= 1_099_511_627_776,
    /// Bytes of these for all clients of one address, of IPv6 one /64; 0 is no limit.
    response_memory_bytes_per_address_max = 134_217_728 in 0 ..= 1_099_511_627_776,
    /// Bytes of these for one connection, all its streams together; a further stream waits until others were sent.
    response_memory_bytes_per_connection_max = 262_144 in 65_536 ..= 1_073_741_824,
    /// Milliseconds that the body of a visitor's request may rest between two of its bytes, over HTTP/2 and HTTP/3.
    body_ms_max = 60_000 in 100 ..= 86_400_000,
    /// Milliseconds for which the rest of a request is read and discarded after its response, so that the client sees the response before the request is stopped: over HTTP/2 and HTTP/3 by a reset of the stream, over HTTP/1.1 by the end of the connection.
    linger_ms_max = 2_000 in 0 ..= 60_000,
    /// Bytes that are so discarded on one connection at once.
    linger_bytes_max = 16_777_216 in 0 ..= 1_073_741_824,
    /// Bytes of a request's body that is proxied.
    proxy_body_bytes_max = 1_099_511_627_776 in 0 ..= 1_099_511_627_776,
    /// Idle connections that are kept open to one member of an upstream, on each serving thread.
    upstream_idle_max = 32 in 0 ..= 10_000,
    /// Milliseconds after which a connection to a member of an upstream takes no further request, however busy it is.
    upstream_connection_age_ms_max = 300_000 in 1_000 ..= 86_400_000,
    /// Requests, upgraded connections among them, that are under way to one member of an upstream at once; `connections_max` of the upstream may say less.
    upstream_requests_max = 16_384 in 1 ..= 1_000_000,
    /// Sockets to backends that are open at once, of all apps, idle ones among them, at most a quarter of the file descriptors of the process; an app gets one more while it has fewer than three times as many as are free, or, of the last sixteenth, fewer than five, and else 503 `busy`.
    upstream_sockets_max = 65_536 in 1 ..= 1_000_000,
    /// Milliseconds for which DNS is believed about a backend's name at least, and after which it is asked again where it failed; each further failure doubles that, up to a minute.
    upstream_dns_ms_min = 1_000 in 10 ..= 3_600_000,
    /// Milliseconds for which DNS is believed about a backend's name at most, whatever its time to live.
    upstream_dns_ms_max = 300_000 in 10 ..= 86_400_000,
    /// Milliseconds for which the last addresses of a backend's name stay after DNS said that it has none.
    upstream_dns_hold_ms = 30_000 in 0 ..= 86_400_000,
    /// Members that the API may add to one upstream.
    upstream_members_max = 256 in 0 ..= 10_000,
    /// Upstreams below `[upstreams]` that a version may have in one environment.
    upstreams_max = 100 in 0 ..= 10_000,
    /// Members of all upstreams of a version in one environment together: those that it declares, and with them those that the API adds.
    upstream_members_per_version_max = 1_000 in 0 ..= 100_000,
    /// Health checks of members of upstreams that are under way at once, of one app an eighth; a further one waits for its turn, and has not failed. An app begins ten times its eighth in a second at most.
    upstream_checks_max = 256 in 1 ..= 100_000,
    /// Milliseconds between two health checks of a member, however few its upstream says.
    upstream_check_interval_ms_min = 1_000 in 10 ..= 3_600_000,
    /// Milliseconds that one health check of a member may take, however long its upstream says.
    upstream_check_ms_max = 30_000 in 100 ..= 86_400_000,
    /// Instances of one environment, of all its processes together.
    instances_max = 64 in 0 ..= 100_000,
    /// Instances of all apps together; an app has no more than three quarters of those that the others leave, in all of its environments, previews and versions, and none of the last sixteenth, but five where so many are left.
    instances_total_max = 512 in 0 ..= 1_000_000,
    /// Bytes of memory of one instance with all that it starts; a backend may say less.
    instance_memory_bytes_max = 1_073_741_824 in 16_777_216 ..= 1_099_511_627_776,
    /// Processes of one instance; all together may have 32 times as many threads.
    instance_processes_max = 512 in 8 ..= 4_194_304,
    /// Processes and threads of all instances of an app together, in all of its environments and previews.
    app_tasks_max = 16_384 in 64 ..= 4_194_304,
    /// Files that a process of an instance may have open.
    instance_open_files_max = 16_384 in 64 ..= 1_048_576,
    /// Processor time of one instance in percent of one core, where there are control groups; 0 is no limit.
    instance_cpu_percent_max = 0 in 0 ..= 100_000,
    /// Bytes of the temporary files of one instance; where they are in a tmpfs of its own, they are memory of the instance too.
    instance_tmp_bytes_max = 268_435_456 in 1_048_576 ..= 1_099_511_627_776,
    /// Temporary files and folders of one instance.
    instance_tmp_files_max = 16_384 in 64 ..= 100_000_000,
    /// Bytes of one container image, unpacked, in blocks of 4 KiB.
    image_bytes_max = 2_147_483_648 in 1_048_576 ..= 1_099_511_627_776,
    /// Milliseconds to get one container image from its registry.
    image_pull_ms_max = 300_000 in 1_000 ..= 86_400_000,
    /// Container images of an app that one node keeps.
    images_per_app_max = 100 in 1 ..= 100_000,
    /// Bytes on the disk of `data_dir` that stay free, or a sixteenth of a smaller disk: with less, the edge refuses new files with `disk_full`, and serves and switches as before.
    disk_free_bytes_min = 268_435_456 in 0 ..= 1_125_899_906_842_624,
    /// Bytes that an environment keeps in `persist`, and all previews of an app together, with temporary files that are on the disk; no single file is larger.
    persist_bytes_max = 10_737_418_240 in 1_048_576 ..= 1_125_899_906_842_624,
    /// Files and folders that an environment keeps in `persist`, and all previews of an app together.
    persist_files_max = 1_000_000 in 64 ..= 100_000_000,
    /// Snapshots of what an environment keeps in `persist`, on each node.
    snapshots_max = 20 in 1 ..= 10_000,
    /// Bytes of all snapshots of an environment together, on each node.
    snapshot_bytes_max = 10_737_418_240 in 1_048_576 ..= 1_125_899_906_842_624,
    /// Milliseconds after which a snapshot that the edge made itself is removed, when the next one is made.
    snapshot_age_ms_max = 2_592_000_000 in 60_000 ..= 315_360_000_000,
    /// Milliseconds of one piece of work on what an environment keeps in `persist`, such as an archive of it.
    data_task_ms_max = 3_600_000 in 1_000 ..= 86_400_000,
    /// Milliseconds that an instance may take to start, however long its backend says.
    instance_start_ms_max = 600_000 in 100 ..= 86_400_000,
    /// Milliseconds that requests under way to an instance may take once it is to end, however long its backend says.
    instance_drain_ms_max = 600_000 in 0 ..= 86_400_000,
    /// Milliseconds from SIGTERM on after which an instance is killed, however long its backend says.
    instance_stop_ms_max = 60_000 in 0 ..= 86_400_000,
    /// Milliseconds that a purge waits for the instances of what it purges; what they leave goes with the next collection.
    purge_wait_ms_max = 30_000 in 0 ..= 3_600_000,
    /// Ends in a row without a minute of health between them after which a backend is given up by a deploy.
    instance_crashes_max = 3 in 1 ..= 1_000,
    /// Milliseconds after which an instance that ended is started again at first; each further end doubles them.
    instance_restart_ms_min = 500 in 1 ..= 86_400_000,
    /// Milliseconds after which an instance that ended is started again, however often it ended.
    instance_restart_ms_max = 60_000 in 1 ..= 86_400_000,
    /// Milliseconds after a switch in which the edge undoes it by itself when all instances that it started fail; 0 is never.
    instance_trial_ms = 60_000 in 0 ..= 3_600_000,
    /// Milliseconds between two questions to an instance whether it is well.
    instance_health_ms = 5_000 in 50 ..= 3_600_000,
    /// Failed health checks in a row after which an instance gets no requests; after twice as many it is restarted.
    instance_unhealthy_after = 3 in 1 ..= 1_000,
    /// Milliseconds that the command `release` of a backend may take.
    release_ms_max = 600_000 in 100 ..= 86_400_000,
    /// Milliseconds that a command of a schedule may take, however long its `timeout_ms` says.
    schedule_ms_max = 3_600_000 in 100 ..= 86_400_000,
    /// Commands of schedules of all apps that run at once on a node; others wait for their turn.
    scheduled_runs_max = 8 in 1 ..= 10_000,
    /// Commands of schedules of one app that run at once on a node.
    scheduled_runs_per_app_max = 2 in 1 ..= 10_000,
    /// Commands of `devanture run` of all apps that run at once on a node; of one environment no more than half of them, of one app three quarters.
    runs_max = 16 in 0 ..= 1_000,
    /// Milliseconds that a command of `devanture run` may take.
    run_ms_max = 3_600_000 in 100 ..= 86_400_000,
    /// Milliseconds from SIGTERM on after which a command of `devanture run` is killed.
    run_stop_ms = 5_000 in 0 ..= 600_000,
    /// Bytes of one file of the log of an environment's instances.
    instance_log_bytes_max = 8_388_608 in 4_096 ..= 1_099_511_627_776,
    /// Files of the log of an environment's instances that are kept; the oldest one goes.
    instance_log_files_max = 4 in 1 ..= 1_000,
    /// Bytes of a line of an instance's log; what is beyond begins another one.
    instance_log_line_bytes_max = 16_384 in 256 ..= 1_048_576,
    /// Previews whose instances run at once; those that were asked the longest ago end first.
    previews_running_max = 8 in 0 ..= 10_000,
    /// Milliseconds without a request after which the instances of a preview end.
    preview_idle_ms_max = 300_000 in 100 ..= 86_400_000,
    /// Milliseconds that replaced instances stay for a rollback, however long their backend says.
    instance_warm_ms_max = 3_600_000 in 0 ..= 86_400_000,
    /// Hostnames of one environment.
    hostnames_max = 1_000 in 0 ..= 100_000,
    /// Hostnames of one app, of all its environments together.
    hostnames_per_app_max = 2_000 in 0 ..= 100_000,
    /// Questions to DNS about hostnames that are under way at once, of one app a quarter as many; a further one waits.
    dns_lookups_max = 16 in 1 ..= 1_000,
    /// Milliseconds for one question to DNS about a hostname; for its turn it waits at most twice as long.
    dns_time_ms_max = 5_000 in 10 ..= 60_000,
    /// Names that get a certificate by ACME; further ones are answered by the local authority.
    acme_names_max = 10_000 in 1 ..= 1_000_000,
    /// Names of one app that get a certificate by ACME; those that have one keep it.
    acme_names_per_app_max = 100 in 1 ..= 1_000_000,
    /// Orders at the authority that are under way at once; of one app half as many.
    acme_orders_max = 4 in 1 ..= 100,
    /// Orders that are begun within an hour, those that failed among them.
    acme_orders_per_hour_max = 60 in 1 ..= 10_000,
    /// Orders of one app that are begun within an hour.
    acme_orders_per_hour_per_app_max = 10 in 1 ..= 10_000,
    /// Milliseconds after which a name's first failed order is tried again; each further failure doubles them.
    acme_retry_ms_min = 60_000 in 100 ..= 86_400_000,
    /// Milliseconds after which a failed order is tried again, however often it failed.
    acme_retry_ms_max = 86_400_000 in 100 ..= 604_800_000,
    /// Checks of `[[smoke]]` that a version may have in one environment.
    smoke_checks_max = 100 in 0 ..= 1_000,
    /// Milliseconds that one check of `[[smoke]]` may take, whatever it says itself.
    smoke_ms_max = 60_000 in 1 ..= 600_000,
    /// Bytes of a decoded answer in which a check of `[[smoke]]` looks for its text.
    smoke_body_bytes_max = 1_048_576 in 1_024 ..= 67_108_864,
    /// Seconds for which a switch may be watched.
    watch_s_max = 3_600 in 1 ..= 86_400,
    /// Switches watched at once, at most half of them of one environment and three quarters of one app; further ones are refused with `Retry-After`.
    watches_max = 100 in 0 ..= 10_000,
    /// Keys whose signatures one environment wants.
    signers_per_environment_max = 16 in 1 ..= 32,
    /// Signatures of one version; a further one takes the place of the oldest that no environment of the app wants.
    signatures_per_version_max = 32 in 1 ..= 100,
    /// Entries of the log of what was live in one environment; the oldest go first.
    live_log_entries_max = 10_000 in 1 ..= 1_000_000,
    /// Webhooks of one app.
    webhooks_per_app_max = 10 in 0 ..= 20,
    /// Messages that wait to be sent to one webhook; a further one takes the place of the oldest.
    webhook_waiting_max = 100 in 1 ..= 10_000,
    /// Messages that were sent to one webhook, or given up, and are still listed.
    webhook_deliveries_kept = 50 in 0 ..= 10_000,
    /// Messages to webhooks of all apps that are sent at once, of one app a quarter as many at most; others wait for their turn.
    webhook_sends_max = 32 in 1 ..= 1_000,
    /// Attempts to send messages to webhooks of one app in a minute; further ones wait.
    webhook_messages_per_minute_per_app_max = 120 in 1 ..= 10_000,
    /// Tests of the webhooks of one app in a minute, on each node; further ones are answered 429 with `Retry-After`.
    webhook_tests_per_minute_per_app_max = 20 in 1 ..= 1_000,
    /// Milliseconds that one attempt to send a message to a webhook may take.
    webhook_ms_max = 15_000 in 100 ..= 60_000,
    /// Milliseconds for which a receiver may fail before its webhook is disabled.
    webhook_failing_ms_max = 432_000_000 in 60_000 ..= 31_536_000_000,
    /// Share links of one app that have not ended.
    share_links_per_app_max = 100 in 0 ..= 10_000,
    /// Milliseconds for which a share link is good.
    share_link_ms_max = 7_776_000_000 in 60_000 ..= 31_536_000_000,
    /// Milliseconds for which a visitor who entered the password of a preview or an environment, or logged in there, need not do so again.
    visitor_login_ms_max = 43_200_000 in 60_000 ..= 2_592_000_000,
    /// Logins of visitors that this node has the provider of `[oidc]` confirm at once, and as many requests of logins with the device grant; others are answered 503.
    visitor_logins_at_once_max = 64 in 1 ..= 10_000,
    /// Tokens of all apps together.
    tokens_max = 10_000 in 1 ..= 1_000_000,
    /// Tokens of one app that have not expired.
    tokens_per_app_max = 500 in 1 ..= 1_000_000,
    /// Accounts.
    accounts_max = 1_000 in 0 ..= 100_000,
    /// Milliseconds for which an invitation to set the password of an account is good, if it says no less.
    invitation_ms_max = 604_800_000 in 60_000 ..= 31_536_000_000,
    /// Logins of one account that are in force at once; a further one ends the oldest.
    logins_per_account_max = 64 in 1 ..= 10_000,
    /// Milliseconds that the access token of a login lives.
    access_token_ms_max = 900_000 in 1_000 ..= 86_400_000,
    /// Milliseconds after a login at which its password is needed again, however often it was refreshed.
    refresh_token_ms_max = 2_592_000_000 in 1_000 ..= 31_536_000_000,
    /// Milliseconds within which a refresh token may be presented again whose successor nobody has used.
    refresh_grace_ms_max = 10_000 in 0 ..= 60_000,
    /// Sessions of browsers of one account, or of one token, that are in force at once; a further one ends the oldest.
    sessions_per_account_max = 32 in 1 ..= 32,
    /// Milliseconds after its last request at which a session of a browser ends.
    session_idle_ms_max = 43_200_000 in 1_000 ..= 31_536_000_000,
    /// Milliseconds after its beginning at which a session of a browser ends, however often it was used.
    session_ms_max = 604_800_000 in 1_000 ..= 31_536_000_000,
    /// Milliseconds that a token lives at most which an account makes in a session that it has just confirmed.
    account_token_ms_max = 31_536_000_000 in 1_000 ..= 315_360_000_000,
    /// Milliseconds for which a session of a browser counts as confirmed.
    confirmation_ms_max = 300_000 in 1_000 ..= 86_400_000,
    /// Passkeys of one account.
    passkeys_per_account_max = 10 in 0 ..= 16,
    /// Milliseconds for which a challenge to use a passkey is good.
    challenge_ms_max = 300_000 in 1_000 ..= 3_600_000,
    /// Characters that a password of an account has at least.
    password_characters_min = 12 in 8 ..= 128,
    /// Argon2id: KiB of memory for one password.
    argon2_memory_kib = 19_456 in 7_168 ..= 1_048_576,
    /// Argon2id: passes over that memory.
    argon2_passes = 2 in 1 ..= 100,
    /// Argon2id: lanes.
    argon2_lanes = 1 in 1 ..= 16,
    /// Passwords that are hashed at once, each with `argon2_memory_kib` and a thread of its own.
    argon2_at_once_max = 2 in 1 ..= 64,
    /// Passwords that may wait to be checked, half of them of visitors at most; further ones are refused with `Retry-After`.
    argon2_waiting_max = 32 in 0 ..= 10_000,
    /// Attempts to log in to one account within `login_window_ms`, those from addresses that it logged in from aside; and from one address at one password of visitors.
    login_attempts_per_account_max = 10 in 1 ..= 1_000,
    /// Attempts to log in from one address, of IPv6 one /64, within `login_window_ms`.
    login_attempts_per_address_max = 100 in 1 ..= 10_000,
    /// Milliseconds that an attempt to log in counts.
    login_window_ms = 900_000 in 1_000 ..= 86_400_000,
    /// Accounts, and addresses, whose attempts to log in are remembered.
    login_keys_max = 10_000 in 100 ..= 1_000_000,
    /// Bytes of an identity token that is exchanged for a token of the edge.
    identity_token_bytes_max = 8_192 in 1_024 ..= 65_536,
    /// Milliseconds until an identity token expires; one that is good for longer is refused.
    identity_token_ms_max = 86_400_000 in 60_000 ..= 604_800_000,
    /// Tokens of one app that one `[[trust]]`, or one person by `[oidc]`, got and that have not expired; `tokens_per_app_max` is for all others.
    tokens_per_trust_max = 200 in 1 ..= 100_000,
    /// Identity tokens that were exchanged and have not expired, which are remembered so that each is exchanged once, half of them for one `[[trust]]` at most; further ones are refused.
    identity_tokens_max = 10_000 in 1 ..= 1_000_000,
    /// Keys of one issuer of identity tokens; of a longer list none is taken.
    identity_keys_max = 100 in 1 ..= 1_000,
    /// Bytes of the list of keys of an issuer, and of the document that leads to it.
    identity_keys_bytes_max = 262_144 in 1_024 ..= 4_194_304,
    /// Milliseconds that it may take to fetch both.
    identity_fetch_ms_max = 10_000 in 100 ..= 60_000,
    /// Milliseconds between two requests for the keys of an issuer because of an identity token whose key is not known; after a failure a sixth of it.
    identity_fetch_pause_ms_min = 60_000 in 100 ..= 3_600_000,
    /// Milliseconds that the keys of an issuer are used after they were fetched, where it cannot be reached or says nothing shorter.
    identity_keys_ms_max = 86_400_000 in 600_000 ..= 604_800_000,
    /// Changes that one token, or one account, makes in a minute; the bytes of files that are sent do not count.
    writes_per_minute_max = 60_000 in 1 ..= 1_000_000,
    /// Entries of the audit log that are kept; what is beyond goes from the app that has most.
    audit_entries_max = 100_000 in 100 ..= 10_000_000,
    /// Days that an entry of the audit log is kept.
    audit_days_max = 400 in 1 ..= 36_500,
    /// Lines of the access log that may wait to be written; more are dropped and counted.
    log_lines_max = 65_536 in 16 ..= 10_000_000,
    /// Readers of `logs` at once.
    log_readers_max = 64 in 0 ..= 10_000,
    /// Readers of `logs` of one app at once; one environment takes at most half of them.
    log_readers_per_app_max = 8 in 0 ..= 10_000,
    /// Lines that wait for one reader of `logs`; more are dropped, and their number is reported to the reader.
    log_reader_lines_max = 1_024 in 1 ..= 1_000_000,
    /// Bytes of the last lines of one app that are remembered for `logs`; 0 remembers nothing.
    log_kept_bytes_max = 65_536 in 0 ..= 67_108_864,
    /// Apps whose last lines are remembered for `logs`: those with the latest requests.
    log_kept_apps_max = 256 in 0 ..= 100_000,
    /// Bytes of what the versions of one app answered lately, for charts; 0 keeps nothing.
    traffic_kept_bytes_max = 262_144 in 0 ..= 67_108_864,
    /// Apps of which that is kept: those with the latest requests.
    traffic_kept_apps_max = 256 in 0 ..= 100_000,
}
