//! Queue of versions for the background pass: versions of an app in order, and apps in turns (law 11).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use devanture_config::{AppName, PlaceName, VersionId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use devanture_base::fair::{Lane, Lanes};
use devanture_base::fair::{Share, Shares};

/// Version gone live in an environment.
pub(super) struct WentLive {
    pub(super) app: AppName,
    pub(super) environment: PlaceName,
    pub(super) version: VersionId,
}

/// Sending end; the receiving end ends with the sending end.
pub(super) struct Entry(Arc<Queue>);

/// Receiving end.
pub(super) struct Exit(Arc<Queue>);

struct Queue {
    waiting: Mutex<Waiting>,
    count: AtomicUsize,
    /// Limits the queued versions, with room for other apps.
    shares: Arc<Shares>,
    came: Notify,
    left: Notify,
}

#[derive(Default)]
struct Waiting {
    lanes: Lanes<(WentLive, Share)>,
    ended: bool,
}

/// Returns a queue of at most `count_max` versions.
pub(super) fn queue(count_max: u64) -> (Entry, Exit) {
    let queue = Arc::new(Queue {
        waiting: Mutex::default(),
        count: AtomicUsize::new(0),
        shares: Shares::new(count_max),
        came: Notify::new(),
        left: Notify::new(),
    });
    (Entry(Arc::clone(&queue)), Exit(queue))
}

impl Entry {
    /// Returns the number of queued versions.
    pub(super) fn len(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Adds a version; returns the version if the queue is full.
    pub(super) fn add(&self, version: WentLive) -> Result<(), WentLive> {
        let queue = &*self.0;
        let Some(share) = queue.shares.take(&version.app) else { return Err(version) };
        queue.count.fetch_add(1, Ordering::Relaxed);
        // All versions have equal cost as far as known; threads are shared by bytes later.
        queue.waiting.lock().lanes.push(Lane::of(version.app.as_str()), 1, (version, share));
        queue.came.notify_one();
        Ok(())
    }

    /// Adds a version as soon as there is room.
    pub(super) async fn add_in_turn(&self, mut version: WentLive) {
        loop {
            let left = self.0.left.notified();
            match self.add(version) {
                Ok(()) => return,
                Err(back) => version = back,
            }
            left.await;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.waiting.lock().ended = true;
        self.0.came.notify_one();
    }
}

impl Exit {
    /// Returns the next version; `None` after the end.
    pub(super) async fn next(&mut self) -> Option<WentLive> {
        loop {
            let (next, ended) = {
                let mut waiting = self.0.waiting.lock();
                (waiting.lanes.take_next(), waiting.ended)
            };
            match next {
                Some((version, share)) => {
                    drop(share);
                    self.0.count.fetch_sub(1, Ordering::Relaxed);
                    self.0.left.notify_waiters();
                    return Some(version);
                }
                None if ended => return None,
                None => self.0.came.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(app: &str, number: usize) -> WentLive {
        let (app, environment) = (app.parse().unwrap(), PlaceName::prod());
        WentLive { app, environment, version: VersionId::of(&number.to_le_bytes()) }
    }

    #[tokio::test]
    async fn law_11_a_version_waits_for_one_of_another_app_and_not_for_all_of_them() {
        let (entry, mut exit) = queue(8);
        let greedy = (0..10).filter(|number| entry.add(version("greedy", *number)).is_ok()).count();
        assert_eq!((greedy, entry.len()), (4, 4), "half of the room is for others");
        for app in ["modest", "other"] {
            assert!(entry.add(version(app, 0)).is_ok());
        }
        let mut order = Vec::new();
        for _ in 0..6 {
            order.push(exit.next().await.unwrap().app.to_string());
        }
        assert_eq!(order[..3], ["greedy", "modest", "other"]);
        assert_eq!(entry.len(), 0);
        // A waiting version gets its room, and the end still follows.
        let (entry, mut exit) = queue(2);
        assert!(entry.add(version("shop", 1)).is_ok() && entry.add(version("shop", 2)).is_err());
        let adding = tokio::spawn(async move { entry.add_in_turn(version("shop", 2)).await });
        assert_eq!(exit.next().await.unwrap().version, version("shop", 1).version);
        assert_eq!(exit.next().await.unwrap().version, version("shop", 2).version);
        adding.await.unwrap();
        assert!(exit.next().await.is_none());
    }
}
