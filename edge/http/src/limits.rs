//! Limits of one connection.

use std::time::Duration;

/// Limits of one connection, all of them settings of `edge.toml`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Concurrent open streams: `SETTINGS_MAX_CONCURRENT_STREAMS`.
    pub streams: u32,
    /// Bytes of a head, counted as in RFC 9113 §6.5.2: 32 more per field.
    pub header_bytes: usize,
    /// Fields of a head.
    pub header_fields: usize,
    /// Bytes of a target.
    pub target_bytes: usize,
    /// Unread bytes of one request body: `SETTINGS_INITIAL_WINDOW_SIZE`.
    pub stream_window: u32,
    /// Unread bytes of all request bodies.
    pub connection_window: u32,
    /// Requests of one connection before a drain.
    pub requests: u64,
    /// Resets per second by the peer, or caused by the peer's mistakes, beyond the number of completed streams
    /// (CVE-2023-44487 and CVE-2025-8671); the same number again for streams with answers in memory.
    pub resets_per_second: u32,
    /// Frames per second without a request or body bytes: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA, and
    /// unknown frames.
    pub control_frames_per_second: u32,
    /// Bytes of responses read ahead of the peer, for all streams together.
    pub response_bytes: usize,
    /// Longest time from the first to the last byte of a head, or of any frame without a body.
    pub header: Duration,
    /// Longest time of a stream with bytes to send and no window.
    pub write: Duration,
    /// Longest silence of a request body.
    pub body: Duration,
    /// Longest time of receiving and discarding the rest of a request after the complete response.
    pub linger: Duration,
    /// Bytes discarded for all lingering requests together.
    pub linger_bytes: u64,
}
