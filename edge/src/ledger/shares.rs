//! Places of which the edge has so many for all apps, shared so that no app takes those that another one would need
//! (law 11).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use devanture_config::AppName;
use parking_lot::Mutex;

/// All the places of one kind, by app or by another key of those who share them.
pub(crate) struct Shares<K: Eq + Hash = AppName> {
    count_max: usize,
    held: Mutex<Held<K>>,
}

struct Held<K> {
    count: usize,
    by_key: HashMap<K, usize>,
}

/// A place that an app has for as long as this value lives.
#[must_use = "the place is free again once this is dropped"]
pub(crate) struct Share<K: Eq + Hash = AppName> {
    shares: Arc<Shares<K>>,
    key: K,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    pub(crate) fn new(count_max: u64) -> Arc<Self> {
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        Arc::new(Self { count_max, held: Mutex::new(Held { count: 0, by_key: HashMap::new() }) })
    }

    /// A place for `key`, such as an app. Its first one is any that is free; it gets another only while more are free than
    /// it has, so that however much it asks for, others find some.
    pub(crate) fn take(self: &Arc<Self>, key: &K) -> Option<Share<K>> {
        let mut held = self.held.lock();
        let own = held.by_key.get(key).copied().unwrap_or(0);
        let free = self.count_max.saturating_sub(held.count);
        if free <= own {
            return None;
        }
        held.count = held.count.saturating_add(1);
        held.by_key.insert(key.clone(), own.saturating_add(1));
        Some(Share { shares: Arc::clone(self), key: key.clone() })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock();
        held.count = held.count.saturating_sub(1);
        if let Some(own) = held.by_key.get_mut(&self.key) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                held.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_11_whatever_one_app_takes_others_find_a_place() {
        let shares: Arc<Shares> = Shares::new(8);
        let take_all = |app: &str| {
            let app = app.parse().unwrap();
            std::iter::from_fn(|| shares.take(&app)).collect::<Vec<Share>>()
        };
        let greedy = take_all("greedy");
        assert_eq!(greedy.len(), 4);
        let others: Vec<Vec<Share>> = ["second", "third", "fourth"].map(take_all).into();
        assert_eq!(others.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
        assert!(take_all("fifth").is_empty());
        drop(others);
        drop(greedy);
        assert_eq!(take_all("fifth").len(), 4);
        assert!(shares.held.lock().by_key.is_empty());
        let (one, none) = (Shares::new(1), Shares::new(0));
        let app: AppName = "shop".parse().unwrap();
        let first = one.take(&app);
        assert!(first.is_some() && one.take(&app).is_none() && none.take(&app).is_none());
    }
}
