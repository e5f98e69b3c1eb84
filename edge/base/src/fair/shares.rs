//! Places of which the edge has so many for all apps, shared so that no app takes those that another one would need,
//! nor an environment those of another (law 11).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use devanture_config::AppName;
use parking_lot::Mutex;

use super::may_take_another;

/// Of all places, one in so many is for apps that have fewer than half of them, however many environments others have.
const RESERVE: usize = 4;

/// All the places of one kind, by app or by another key of those who share them.
pub struct Shares<K: Eq + Hash = AppName> {
    count_max: usize,
    held: Mutex<Held<K>>,
}

struct Held<K> {
    count: usize,
    by_key: HashMap<K, Own>,
}

/// The places that one app has.
#[derive(Default)]
struct Own {
    count: usize,
    by_environment: HashMap<String, usize>,
}

/// A place that an app has for as long as this value lives.
#[must_use = "the place is free again once this is dropped"]
pub struct Share<K: Eq + Hash = AppName> {
    shares: Arc<Shares<K>>,
    key: K,
    environment: Option<String>,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// So many places, all of them free.
    pub fn new(count_max: u64) -> Arc<Self> {
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        Arc::new(Self { count_max, held: Mutex::new(Held { count: 0, by_key: HashMap::new() }) })
    }

    /// A place for `key`, such as an app. Its first one is any that is free; it gets another only while more are free
    /// than it has, so that however much it asks for, others find some.
    pub fn take(self: &Arc<Self>, key: &K) -> Option<Share<K>> {
        self.take_place(key, None)
    }

    /// As [`Shares::take`], for one environment. Where its app has no further place, one that has few gets some of
    /// those beyond the reserve: only while more of them are free than the environment has.
    pub fn take_in(self: &Arc<Self>, key: &K, environment: impl Into<String>) -> Option<Share<K>> {
        self.take_place(key, Some(environment.into()))
    }

    fn take_place(self: &Arc<Self>, key: &K, environment: Option<String>) -> Option<Share<K>> {
        let mut held = self.held.lock();
        let free = self.count_max.saturating_sub(held.count);
        let beyond_reserve = free.saturating_sub(self.count_max.div_ceil(RESERVE));
        let of_app = held.by_key.get(key).map_or(0, |own| own.count);
        let of_environment = |name: &String| held.by_key.get(key).and_then(|own| own.by_environment.get(name)).copied();
        let has_few = |name: &String| may_take_another(of_environment(name).unwrap_or(0), beyond_reserve);
        if !may_take_another(of_app, free) && !environment.as_ref().is_some_and(has_few) {
            return None;
        }
        held.count = held.count.saturating_add(1);
        let own = held.by_key.entry(key.clone()).or_default();
        own.count = own.count.saturating_add(1);
        if let Some(name) = &environment {
            let count = own.by_environment.entry(name.clone()).or_default();
            *count = count.saturating_add(1);
        }
        drop(held);
        Some(Share { shares: Arc::clone(self), key: key.clone(), environment })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock();
        held.count = held.count.saturating_sub(1);
        let Some(own) = held.by_key.get_mut(&self.key) else { return };
        own.count = own.count.saturating_sub(1);
        if let Some(name) = &self.environment
            && let Some(count) = own.by_environment.get_mut(name)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                own.by_environment.remove(name);
            }
        }
        if own.count == 0 {
            held.by_key.remove(&self.key);
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

    #[test]
    fn law_11_whatever_one_environment_takes_others_find_a_place_and_so_do_other_apps() {
        let shares: Arc<Shares> = Shares::new(16);
        let take_all = |app: &str, environment: &str| {
            let app = app.parse().unwrap();
            std::iter::from_fn(|| shares.take_in(&app, environment)).collect::<Vec<Share>>()
        };
        let preview = take_all("shop", "preview");
        assert_eq!(preview.len(), 8);
        let prod = take_all("shop", "prod");
        assert_eq!(prod.len(), 2);
        let further: Vec<Vec<Share>> =
            ["staging", "qa", "demo", "beta"].map(|environment| take_all("shop", environment)).into();
        assert_eq!(further.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 0, 0]);
        // The reserve is for other apps, whatever the environments of one do.
        assert_eq!(take_all("blog", "preview").len(), 2);
        drop(prod);
        assert_eq!(take_all("shop", "prod").len(), 1);
        drop((preview, further));
        assert!(shares.held.lock().by_key.is_empty());
    }
}
