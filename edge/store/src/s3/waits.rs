//! How long requests to a store are waited for and repeated.

use std::time::Duration;

/// Time limits and repetitions of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// Longest time from a request without a body to the head of its answer.
    pub read_max: Duration,
    /// Longest time from a request with a body to the head of its answer, which includes sending the body.
    pub write_max: Duration,
    /// Longest time of all repetitions of a request.
    pub retry_max: Duration,
    /// Repetitions of one request.
    pub retries_max: usize,
    /// Longest pause between two repetitions.
    pub pause_max: Duration,
    /// Connections that stay open without a request.
    pub idle_connections_max: usize,
}

impl Waits {
    /// For backups, which run in the background: parts of several large files are sent within a limit, even over a slow
    /// uplink. A signature is valid for longer.
    pub const BACKUP: Self = Self {
        read_max: Duration::from_secs(300),
        write_max: Duration::from_secs(300),
        retry_max: Duration::from_secs(120),
        retries_max: 5,
        pause_max: Duration::from_secs(10),
        idle_connections_max: 16,
    };
    /// For the files of a cluster, which delay a push, or a node that prepares a version.
    pub const CLUSTER: Self = Self {
        read_max: Duration::from_secs(10),
        write_max: Duration::from_secs(60),
        retry_max: Duration::from_secs(8),
        retries_max: 3,
        pause_max: Duration::from_secs(2),
        idle_connections_max: 64,
    };
}
