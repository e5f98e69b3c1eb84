//! How long a token that the edge gave is worth sending.

use std::time::{SystemTime, UNIX_EPOCH};

use devanture_config::api::Secret;
use reqwest::header::HeaderValue;

/// A token that ends so soon is not begun with: the request must arrive, too.
pub(super) const LEFT_S_MIN: u64 = 10;

/// Whether a token can be sent, as far as its end says, and is not the one that was refused.
pub(super) fn is_worth_showing(token: &Secret, expires_s: u64, refused: Option<&HeaderValue>) -> bool {
    let shown = |refused: &HeaderValue| refused.as_bytes().strip_prefix(b"Bearer ") == Some(token.expose().as_bytes());
    !refused.is_some_and(shown) && expires_s > now_s().saturating_add(LEFT_S_MIN)
}

/// Seconds since 1970 UTC.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
