//! Rate limit of changes for each credential, so that none of them fills the history and the disk.

use std::time::Instant;

use devanture_config::limits::Limits;
use parking_lot::Mutex;

use super::windows::{Windows, ms_since};

/// The window of the rate limit.
const WRITES_WINDOW_MS: u64 = 60_000;
/// Credentials whose changes are counted.
const WRITERS_MAX: usize = 10_000;

/// Rate limit of changes for each credential, so that none of them fills the history and the disk.
pub(super) struct Writes {
    began: Instant,
    windows: Mutex<Windows<String>>,
}

impl Writes {
    pub(super) fn new(limits: &Limits) -> Self {
        let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let windows = Windows::new(size(limits.writes_per_minute_max), WRITERS_MAX, WRITES_WINDOW_MS);
        Self { began: Instant::now(), windows: Mutex::new(windows) }
    }

    /// Counts a change before it is made.
    ///
    /// # Errors
    /// Milliseconds to wait, if there were too many.
    pub(super) fn begin(&self, writer: &String) -> Result<(), u64> {
        let now_ms = ms_since(self.began);
        let mut windows = self.windows.lock();
        match windows.wait_ms(writer, now_ms) {
            Some(wait_ms) => Err(wait_ms),
            None => {
                windows.add(writer, now_ms);
                Ok(())
            }
        }
    }

    /// The change was not made.
    pub(super) fn take_back(&self, writer: &String) {
        self.windows.lock().take_back(writer);
    }
}
