//! Places of the edge shared by all apps, so that no app takes the places needed by another app, and no environment the
//! places of another environment (law 11).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use devanture_config::AppName;
use parking_lot::Mutex;

use super::may_take_another;

/// One in this number of places is reserved for apps that hold fewer than half of the places, regardless of the number
/// of environments elsewhere.
const RESERVE: usize = 4;

/// Places of one kind, by app or by another key.
pub struct Shares<K: Eq + Hash = AppName> {
    count_max: usize,
    held: Mutex<HeldPlaces<K>>,
}

struct HeldPlaces<K> {
    count: usize,
    by_key: HashMap<K, AppPlaces>,
}

/// Places of one app.
#[derive(Default)]
struct AppPlaces {
    count: usize,
    by_environment: HashMap<String, usize>,
}

/// Place of an app, held as long as the value lives.
#[must_use = "the place is free again once this is dropped"]
pub struct Share<K: Eq + Hash = AppName> {
    shares: Arc<Shares<K>>,
    key: K,
    environment: Option<String>,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// Creates `count_max` free places.
    pub fn new(count_max: u64) -> Arc<Self> {
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        Arc::new(Self { count_max, held: Mutex::new(HeldPlaces { count: 0, by_key: HashMap::new() }) })
    }

    /// Takes a place for `key`, such as an app. The first place is any free place; a further place requires more free
    /// places than held, so that the remaining apps find some regardless of the demand of one app.
    pub fn take(self: &Arc<Self>, key: &K) -> Option<Share<K>> {
        self.take_place(key, None)
    }

    /// Takes a place like [`Shares::take`] for one environment. If the app has no further place, an environment with
    /// few places gets some beyond the reserve, only while more of these are free than the environment holds.
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
        // The reserve is for other apps, regardless of the environments of one app.
        assert_eq!(take_all("blog", "preview").len(), 2);
        drop(prod);
        assert_eq!(take_all("shop", "prod").len(), 1);
        drop((preview, further));
        assert!(shares.held.lock().by_key.is_empty());
    }
}
