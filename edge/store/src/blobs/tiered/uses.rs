//! The times at which this process last read its blobs.

use std::collections::HashMap;

use devanture_config::Digest;
use parking_lot::Mutex;

use crate::blobs::Key;
use devanture_base::clock::now_ms;

/// Upper bound of remembered blobs: 10 MiB. For other blobs, and after a start, the time of the write counts.
const USES_MAX: usize = 200_000;

/// The times at which this process last read its blobs, in seconds since 1970.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::Form;

    fn blob(number: usize) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    #[test]
    fn a_blob_is_used_when_it_or_one_of_its_variants_is_read() {
        let (uses, began_s) = (Uses::default(), now_ms() / 1_000);
        uses.note(Key::Blob(blob(0)));
        uses.note(Key::Variant(blob(1), Form::Br));
        uses.note(Key::Manifest(blob(2)));
        let lately = began_s..=now_ms() / 1_000;
        assert!(lately.contains(&uses.of(Key::Blob(blob(0)))));
        assert!(lately.contains(&uses.of(Key::Blob(blob(1)))));
        assert_eq!(uses.of(Key::Blob(blob(2))), 0);
        assert_eq!(uses.of(Key::Manifest(blob(0))), 0);
    }

    #[test]
    fn the_memory_of_uses_is_bounded_and_has_the_last_one() {
        let uses = Uses::default();
        let most = (0..=USES_MAX).map(|number| {
            uses.note(Key::Blob(blob(number)));
            assert!(uses.of(Key::Blob(blob(number))) > 0);
            uses.0.lock().len()
        });
        assert_eq!(most.max(), Some(USES_MAX));
    }
}
