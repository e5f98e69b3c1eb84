//! Locks that serialize writes of the variants of one blob.

use devanture_config::Digest;
use tokio::sync::Mutex;

/// Number of locks: two writes of the variants of one blob share a lock.
const STRIPES: usize = 256;

/// Locks that serialize the writes of the object of a blob's variants, which copy the state of the disk.
pub(super) struct Stripes([Mutex<()>; STRIPES]);

impl Default for Stripes {
    fn default() -> Self {
        Self([const { Mutex::const_new(()) }; STRIPES])
    }
}

impl Stripes {
    pub(super) fn of(&self, blob: Digest) -> Option<&Mutex<()>> {
        let [first, ..] = *blob.as_bytes();
        self.0.get(usize::from(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blob_has_a_lock_that_its_next_write_waits_for() {
        let stripes = Stripes::default();
        for first in 0..=u8::MAX {
            let mut name = [7; 32];
            name[0] = first;
            let turn = stripes.of(Digest::from(name)).unwrap().try_lock();
            assert!(turn.is_ok(), "{first}: no other one has it");
            assert!(stripes.of(Digest::from(name)).unwrap().try_lock().is_err());
        }
    }
}
