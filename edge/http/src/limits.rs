//! Limits of one connection.

use std::time::Duration;

/// The limits of one connection. All of them are settings of `edge.toml`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Streams that may be open at once: `SETTINGS_MAX_CONCURRENT_STREAMS`.
    pub streams: u32,
    /// Bytes of a head, as RFC 9113 §6.5.2 counts them: 32 more for each field.
    pub header_bytes: usize,
    /// Fields of a head.
    pub header_fields: usize,
    /// Bytes of a target.
    pub target_bytes: usize,
    /// Bytes of one request's body that may be on their way unread: `SETTINGS_INITIAL_WINDOW_SIZE`.
    pub stream_window: u32,
    /// Bytes of all requests' bodies that may be.
    pub connection_window: u32,
    /// Requests of one connection; then it is drained.
    pub requests: u64,
    /// Streams that the peer may have reset, or have had reset for its mistakes, in one second beyond those that it let
    /// end (CVE-2023-44487 and CVE-2025-8671); as many again of those whose answers were at hand.
    pub resets_per_second: u32,
    /// Frames in one second that carry no request and no bytes of one: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty
    /// DATA, and such as are unknown.
    pub control_frames_per_second: u32,
    /// Bytes of responses that are read ahead of what the peer takes, for all streams together.
    pub response_bytes: usize,
    /// Longest time of a head from its first byte to its last, or of any frame without a body.
    pub header: Duration,
    /// Longest time that a stream may have bytes to send without a window.
    pub write: Duration,
    /// Longest silence of a request's body.
    pub body: Duration,
    /// Longest time that the rest of a request is received and discarded once its response is complete.
    pub linger: Duration,
    /// Bytes that are so discarded at once, of all requests together.
    pub linger_bytes: u64,
}
