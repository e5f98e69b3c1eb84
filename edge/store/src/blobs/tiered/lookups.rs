//! When variants of blobs were last searched for in the bucket.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use devanture_config::Digest;
use parking_lot::Mutex;

/// Time for which the bucket is not searched again for variants of a blob without variants on the disk: many files,
/// such as images, never have any.
const LOOK_UP_EVERY: Duration = Duration::from_secs(600);
/// Upper bound of remembered blobs: 10 MiB. Beyond the bound, all are looked up again.
const LOOKUPS_MAX: usize = 200_000;

/// Selects whether to repeat a recent search for variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// The disk lost some.
    Always,
    /// Not if the bucket had no variants in a recent search.
    Seldom,
}

/// The times of the last searches for variants of blobs in the bucket.
#[derive(Default)]
pub(super) struct Lookups(Mutex<HashMap<Digest, Instant>>);

impl Lookups {
    /// Records that the variants of a blob are known.
    pub(super) fn note(&self, blob: Digest) {
        let mut known = self.0.lock();
        if known.len() >= LOOKUPS_MAX {
            known.clear();
        }
        known.insert(blob, Instant::now());
    }

    pub(super) fn forget(&self, blob: Digest) {
        self.0.lock().remove(&blob);
    }

    /// Returns the blobs for which the search for variants may be repeated.
    pub(super) fn due(&self, blobs: &[Digest]) -> Vec<Digest> {
        let known = self.0.lock();
        let is_due = |blob: &&Digest| known.get(blob).is_none_or(|at| at.elapsed() > LOOK_UP_EVERY);
        blobs.iter().filter(is_due).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(number: usize) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    #[test]
    fn a_recent_search_is_not_due_until_it_is_forgotten_or_old() {
        let (lookups, blobs) = (Lookups::default(), [blob(0), blob(1), blob(2)]);
        assert_eq!(lookups.due(&blobs), blobs);
        lookups.note(blobs[0]);
        lookups.note(blobs[2]);
        assert_eq!(lookups.due(&blobs), [blobs[1]]);
        lookups.forget(blobs[2]);
        assert_eq!(lookups.due(&blobs), blobs[1..]);
        // Of two searched blobs, the one with the older search.
        lookups.note(blobs[1]);
        let long_ago = Instant::now().checked_sub(LOOK_UP_EVERY + Duration::from_secs(1)).unwrap();
        lookups.0.lock().insert(blobs[0], long_ago);
        assert_eq!(lookups.due(&blobs), [blobs[0], blobs[2]]);
        lookups.note(blobs[0]);
        assert_eq!(lookups.due(&blobs), [blobs[2]]);
    }

    #[test]
    fn the_memory_of_searches_is_bounded_and_has_the_last_one() {
        let lookups = Lookups::default();
        let most = (0..=LOOKUPS_MAX).map(|number| {
            lookups.note(blob(number));
            assert!(lookups.due(&[blob(number)]).is_empty());
            lookups.0.lock().len()
        });
        assert_eq!(most.max(), Some(LOOKUPS_MAX));
    }
}
