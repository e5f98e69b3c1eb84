//! Notes on stderr about long waits for the edge, one for each reason.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::output::exit::Failure;
use crate::output::progress::Progress;
use crate::output::report::counted;

/// Lower bound of noted pauses: a person does not notice shorter ones.
const NOTED_MIN: Duration = Duration::from_secs(1);

/// The waits of one run of the program; clones share the noted reasons.
#[derive(Debug, Clone)]
pub(crate) struct Waits {
    progress: Progress,
    /// Codes of the noted problems.
    noted: Arc<Mutex<BTreeSet<String>>>,
}

impl Waits {
    /// Notes on `progress`.
    pub(crate) fn new(progress: Progress) -> Self {
        Self { progress, noted: Arc::default() }
    }

    /// Notes that the program waits for `pause` before the next attempt, since the last one ended with `failure`. The
    /// second wait for the same reason is not noted.
    pub(crate) fn note(&self, failure: &Failure, pause: Duration) {
        if let Some(text) = self.text(failure, pause) {
            self.progress.step("wait", &text);
        }
    }

    fn text(&self, failure: &Failure, pause: Duration) -> Option<String> {
        if pause < NOTED_MIN || !self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(failure.code.clone())
        {
            return None;
        }
        let reason = failure.message.trim_end_matches('.');
        Some(format!("{reason} (retry in {})", counted(pause.as_secs(), "second")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::progress::Volume;
    use devanture_config::problem::Code;
    use std::collections::BTreeMap;

    #[test]
    fn a_long_wait_is_noted_once_for_each_reason() {
        let waits = Waits::new(Progress::new(&BTreeMap::new(), Volume::Quiet));
        let paused = Failure::new(Code::Restarting, "Nothing can be changed.");
        let lost = Failure::new(Code::CatalogUnavailable, "The catalog cannot be reached.");
        let seconds = Duration::from_secs;
        assert_eq!(waits.text(&paused, Duration::from_millis(999)), None, "nobody notices it");
        assert_eq!(waits.text(&paused, seconds(2)).as_deref(), Some("Nothing can be changed (retry in 2 seconds)"));
        assert_eq!(waits.clone().text(&paused, seconds(2)), None);
        assert_eq!(waits.text(&lost, seconds(1)).as_deref(), Some("The catalog cannot be reached (retry in 1 second)"));
    }
}
