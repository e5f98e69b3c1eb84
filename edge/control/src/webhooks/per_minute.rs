//! How often something was sent to webhooks of each app within the last minute, so that an edge floods nobody for an
//! app. In memory alone: an edge that starts begins at none.

use std::time::Instant;

use devanture_config::AppName;
use parking_lot::Mutex;

use crate::ledger::{Windows, ms_since};

/// The window of the limit.
const WINDOW_MS: u64 = 60_000;
/// Apps that are counted.
const APPS_MAX: usize = 10_000;

/// Sliding windows of a minute, one for each app.
pub(super) struct PerMinute {
    began: Instant,
    windows: Mutex<Windows<AppName>>,
}

impl PerMinute {
    pub(super) fn new(count_max: u64) -> Self {
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        Self { began: Instant::now(), windows: Mutex::new(Windows::new(count_max, APPS_MAX, WINDOW_MS)) }
    }

    /// Counts one more of `app`.
    ///
    /// # Errors
    /// Milliseconds until it may be, where there were as many as may.
    pub(super) fn take(&self, app: &AppName) -> Result<(), u64> {
        let now_ms = ms_since(self.began);
        let mut windows = self.windows.lock();
        match windows.wait_ms(app, now_ms) {
            Some(wait_ms) => Err(wait_ms),
            None => {
                windows.add(app, now_ms);
                Ok(())
            }
        }
    }

    /// One that was counted was not sent.
    pub(super) fn give_back(&self, app: &AppName) {
        self.windows.lock().take_back(app);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_are_counted_apart_and_what_was_not_sent_does_not_count() {
        let sends = PerMinute::new(2);
        let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        for _ in 0..5 {
            sends.take(&shop).unwrap();
            sends.give_back(&shop);
        }
        assert!(sends.take(&shop).is_ok() && sends.take(&shop).is_ok());
        assert!(sends.take(&shop).is_err_and(|wait_ms| (1..=WINDOW_MS).contains(&wait_ms)));
        assert!(sends.take(&blog).is_ok());
    }
}
