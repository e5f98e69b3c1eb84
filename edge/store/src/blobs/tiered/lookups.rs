//! When variants of blobs were last searched for in the bucket.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use devanture_config::Digest;
use parking_lot::Mutex;

/// For so long the bucket is not searched again for variants of a blob that has none on the disk: many files, such as
/// images, never have any.
const LOOK_UP_EVERY: Duration = Duration::from_secs(600);
/// Blobs for which that is remembered: 10 MiB. Of more, all are looked up again.
const LOOKUPS_MAX: usize = 200_000;

/// Whether to search for variants that were searched for lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// The disk lost some.
    Always,
    /// The bucket had none.
    Seldom,
}

/// When variants of blobs were last searched for in the bucket.
#[derive(Default)]
pub(super) struct Lookups(Mutex<HashMap<Digest, Instant>>);

impl Lookups {
    /// Notes that the variants of a blob are known.
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

    /// The blobs whose variants may be searched for again.
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
        // Of two that were searched for, the one of long ago.
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
