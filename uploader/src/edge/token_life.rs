//! The remaining lifetime for which a token of the edge is worth sending.

use std::time::{SystemTime, UNIX_EPOCH};

use devanture_config::api::Secret;
use reqwest::header::HeaderValue;

/// Lower bound of the remaining seconds: the request must still arrive in time.
pub(super) const LEFT_S_MIN: u64 = 10;

/// Returns true if a token has enough time left, and is not the refused one.
pub(super) fn is_worth_showing(token: &Secret, expires_s: u64, refused: Option<&HeaderValue>) -> bool {
    let shown = |refused: &HeaderValue| refused.as_bytes().strip_prefix(b"Bearer ") == Some(token.expose().as_bytes());
    !refused.is_some_and(shown) && expires_s > now_s().saturating_add(LEFT_S_MIN)
}

/// Seconds since 1970 UTC.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
