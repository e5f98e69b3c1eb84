//! When blobs were last read by this process.

use std::collections::HashMap;

use devanture_config::Digest;
use parking_lot::Mutex;

use crate::blobs::Key;
use crate::telemetry::now_ms;

/// Blobs whose last use is remembered: 10 MiB. Of others, and after a start, the time counts at which they were
/// written.
const USES_MAX: usize = 200_000;

/// When blobs were last read by this process, in seconds since 1970.
#[derive(Default)]
pub(super) struct Uses(Mutex<HashMap<Digest, u64>>);

impl Uses {
    pub(super) fn note(&self, key: Key) {
        let (Key::Blob(blob) | Key::Variant(blob, _)) = key else { return };
        let mut uses = self.0.lock();
        if uses.len() >= USES_MAX {
            uses.clear();
        }
        uses.insert(blob, now_ms() / 1_000);
    }

    pub(super) fn of(&self, key: Key) -> u64 {
        let Key::Blob(blob) = key else { return 0 };
        self.0.lock().get(&blob).copied().unwrap_or_default()
    }
}
