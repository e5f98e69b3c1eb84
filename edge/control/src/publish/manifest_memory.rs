//! Memory for manifests, incoming and of running pushes, shared so that no app takes the memory needed by another (law
//! 11).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ledger::Error;
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};

/// Memory for all manifests.
pub(crate) struct ManifestMemory {
    bytes_max: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: u64,
    by_app: HashMap<AppName, Share>,
}

#[derive(Default)]
struct Share {
    bytes: u64,
    holds: usize,
}

/// Memory of one manifest, released on drop.
pub(crate) struct Hold {
    memory: Arc<ManifestMemory>,
    app: AppName,
    environment: PlaceName,
    bytes: u64,
}

impl ManifestMemory {
    pub(crate) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, held: Mutex::default() })
    }

    /// Returns the bytes held by all manifests, and the limit.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.held.lock().bytes, self.bytes_max)
    }

    /// Returns an empty hold for a push to an environment.
    pub(crate) fn hold(self: &Arc<Self>, app: &AppName, environment: &PlaceName) -> Hold {
        self.held.lock().by_app.entry(app.clone()).or_default().holds += 1;
        Hold { memory: Arc::clone(self), app: app.clone(), environment: environment.clone(), bytes: 0 }
    }
}

impl Hold {
    pub(crate) fn app(&self) -> &AppName {
        &self.app
    }

    pub(crate) fn environment(&self) -> &PlaceName {
        &self.environment
    }

    /// Returns the bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the bytes held by all manifests of the app.
    pub(crate) fn of_app(&self) -> u64 {
        self.memory.held.lock().by_app.get(&self.app).map_or(0, |share| share.bytes)
    }

    /// Reserves more memory. The only manifest of an app may take all free memory; with further manifests, an app gets
    /// more only while the free memory is at least the app's new total, so that other apps find memory.
    ///
    /// # Errors
    /// `busy`.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), Error> {
        let mut held = self.memory.held.lock();
        let free = self.memory.bytes_max.saturating_sub(held.bytes);
        let share = held.by_app.entry(self.app.clone()).or_default();
        let own = share.bytes.saturating_add(bytes);
        if bytes > free || (share.holds > 1 && own > free) {
            return Err(Problem::new(Code::Busy, "The manifests of pushes under way take all the memory for them.")
                .hint("try again in a moment; `manifest_memory_bytes_max` in edge.toml is the limit")
                .into());
        }
        share.bytes = own;
        held.bytes = held.bytes.saturating_add(bytes);
        drop(held);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Releases `bytes`.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        let mut held = self.memory.held.lock();
        held.bytes = held.bytes.saturating_sub(bytes);
        if let Some(share) = held.by_app.get_mut(&self.app) {
            share.bytes = share.bytes.saturating_sub(bytes);
        }
        drop(held);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.memory.held.lock();
        held.bytes = held.bytes.saturating_sub(self.bytes);
        if let Some(share) = held.by_app.get_mut(&self.app) {
            share.bytes = share.bytes.saturating_sub(self.bytes);
            share.holds = share.holds.saturating_sub(1);
            if share.holds == 0 {
                held.by_app.remove(&self.app);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        name.parse().unwrap()
    }

    #[test]
    fn law_11_manifests_of_one_app_leave_memory_to_others() {
        let memory = ManifestMemory::new(100);
        let hold = |name: &str, bytes| {
            let mut hold = memory.hold(&app(name), &PlaceName::prod());
            hold.grow(bytes).map(|()| hold).map_err(|error| error.0.code)
        };
        let greedy: Vec<Hold> = std::iter::from_fn(|| hold("greedy", 10).ok()).collect();
        assert_eq!((greedy.len(), greedy[0].of_app()), (5, 50));
        let first = hold("shop", 40).unwrap();
        assert_eq!(hold("shop", 1).err(), Some(Code::Busy), "beside its first one nothing is left");
        assert_eq!(hold("blog", 11).err(), Some(Code::Busy), "there is no more");
        drop((greedy, first));
        let mut whole = hold("blog", 60).unwrap();
        assert!(whole.grow(40).is_ok() && whole.grow(1).is_err());
        whole.shrink(70);
        assert_eq!((whole.bytes(), whole.of_app(), memory.bytes().0), (30, 30, 30));
        // Two manifests of one app: the second may grow while the free memory is at least the app's total.
        let second = hold("blog", 5).unwrap();
        assert_eq!(hold("blog", 31).err(), Some(Code::Busy));
        let third = hold("blog", 30).unwrap();
        assert_eq!(whole.of_app(), 65);
        drop((second, third));
        assert_eq!((whole.of_app(), memory.bytes().0), (30, 30));
        drop(whole);
        assert!(memory.held.lock().by_app.is_empty() && memory.held.lock().bytes == 0);
    }
}
