//! Semaphores by key, which bound the concurrent work per key, such as an app or a version.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Semaphore for each key in use; with one permit each, a lock by key.
pub struct KeyedSemaphore<K> {
    permits: usize,
    by_key: Mutex<HashMap<K, Weak<Semaphore>>>,
}

impl<K: Eq + Hash> KeyedSemaphore<K> {
    /// Creates semaphores with `permits` each, at most the maximum of a semaphore.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Self { permits: permits.min(Semaphore::MAX_PERMITS), by_key: Mutex::default() }
    }

    /// Returns the semaphore of `key`. Unused semaphores are dropped when a new key comes.
    #[must_use]
    pub fn of(&self, key: K) -> Arc<Semaphore> {
        let mut by_key = self.by_key.lock();
        if let Some(known) = by_key.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        by_key.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(self.permits));
        by_key.insert(key, Arc::downgrade(&semaphore));
        semaphore
    }

    /// Waits for a permit of `key`. `None` only after a semaphore is closed, which never happens.
    pub async fn take(&self, key: K) -> Option<OwnedSemaphorePermit> {
        self.of(key).acquire_owned().await.ok()
    }

    /// Returns the known keys.
    #[cfg(any(test, feature = "testing"))]
    pub fn keys(&self) -> Vec<K>
    where
        K: Clone,
    {
        self.by_key.lock().keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn one_of_each_key_goes_on_and_what_has_ended_is_forgotten() {
        let locks = KeyedSemaphore::new(1);
        let first = locks.take("a").await;
        let mut second = Box::pin(locks.take("a"));
        assert!(poll!(&mut second).is_pending());
        drop(locks.take("b").await);
        drop(first);
        drop(second.await);
        drop(locks.take("c").await);
        assert_eq!(locks.keys(), ["c"]);
    }
}
