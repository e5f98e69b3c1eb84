//! The clock for the state of members and pools.

use std::sync::OnceLock;
use std::time::Instant;

/// Returns milliseconds of a monotonic clock.
pub(crate) fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    // Never 0, which stands for "never".
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}
