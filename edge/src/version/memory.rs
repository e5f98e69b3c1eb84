//! Bytes of blobs held in memory, each once, however many loaded versions share them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use devanture_config::Digest;

/// A pool of bytes by their own hash. What no version uses any more is freed at once.
pub struct Memory {
    held: Mutex<HashMap<Digest, Weak<Held>>>,
    used: Arc<AtomicU64>,
    bytes_max: u64,
}

struct Held {
    bytes: Bytes,
    used: Arc<AtomicU64>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.used.fetch_sub(length(&self.bytes), Ordering::Relaxed);
    }
}

/// Lets `Bytes` own a share of what is held.
struct Share(Arc<Held>);

impl AsRef<[u8]> for Share {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Memory {
    /// Makes a pool of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self { held: Mutex::default(), used: Arc::default(), bytes_max }
    }

    /// The bytes with the hash `hash`, if some version holds them.
    pub fn share(&self, hash: Digest) -> Option<Bytes> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&hash).and_then(Weak::upgrade).map(|held| Bytes::from_owner(Share(held)))
    }

    /// Whether `more` bytes have room.
    pub fn has_room(&self, more: u64) -> bool {
        self.used.load(Ordering::Relaxed).saturating_add(more) <= self.bytes_max
    }

    /// Whether `more` bytes have room beside a quarter that is left for what cannot be done without.
    pub fn has_room_to_spare(&self, more: u64) -> bool {
        self.has_room(more.saturating_add(self.bytes_max / 4))
    }

    /// Holds `bytes`, whose hash is `hash`, for as long as the result lives.
    pub fn hold(&self, hash: Digest, bytes: Bytes) -> Bytes {
        if let Some(shared) = self.share(hash) {
            return shared;
        }
        self.used.fetch_add(length(&bytes), Ordering::Relaxed);
        let held = Arc::new(Held { bytes, used: Arc::clone(&self.used) });
        let mut pool = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Sweeping when the map has doubled keeps the cost of dead entries constant per insertion.
        if pool.len() == pool.capacity() {
            pool.retain(|_, held| held.strong_count() > 0);
        }
        pool.insert(hash, Arc::downgrade(&held));
        Bytes::from_owner(Share(held))
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_held_once_and_freed_with_their_last_user() {
        let memory = Memory::new(10);
        let hash = Digest::of(b"12345678");
        let one = memory.hold(hash, Bytes::from_static(b"12345678"));
        let two = memory.hold(hash, Bytes::from_static(b"12345678"));
        assert_eq!(one.as_ptr(), two.as_ptr());
        assert!(memory.has_room(2) && !memory.has_room(3));
        drop(one);
        assert!(memory.share(hash).is_some());
        drop(two);
        assert!(memory.share(hash).is_none() && memory.has_room(10));
    }
}
