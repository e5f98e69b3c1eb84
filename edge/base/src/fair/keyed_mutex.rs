//! Locks by key: work of which one piece at a time is done for each key, such as an app or a version.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// The keys that work is done for, or waits for.
pub struct KeyedMutex<K>(Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>);

impl<K> Default for KeyedMutex<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Eq + Hash> KeyedMutex<K> {
    /// Waits until nothing else is done for `key`, which holds for as long as the guard lives.
    pub async fn wait(&self, key: K) -> OwnedMutexGuard<()> {
        self.lock_of(key).lock_owned().await
    }

    fn lock_of(&self, key: K) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock();
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        locks.insert(key, Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn one_of_each_key_goes_on_and_what_has_ended_is_forgotten() {
        let mutexes = KeyedMutex::default();
        let first = mutexes.wait("a").await;
        let mut second = Box::pin(mutexes.wait("a"));
        assert!(poll!(&mut second).is_pending());
        drop(mutexes.wait("b").await);
        drop(first);
        drop(second.await);
        drop(mutexes.wait("c").await);
        assert_eq!(mutexes.0.lock().len(), 1);
    }
}
