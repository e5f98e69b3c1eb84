//! The progress of the mirror, and the events that the start waits for.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::fault::Fault;
use crate::catalog::Revision;

/// The result of the first attempts to follow etcd.
#[derive(Debug, Clone)]
pub(super) enum Start {
    /// No attempt has ended yet.
    Waiting,
    /// A member was followed.
    Followed,
    /// No member could be followed, each with its own fault.
    Failed(Vec<Fault>),
}

/// The progress of the follower.
pub(super) struct Progress {
    /// The last commit that is readable and was sent to watchers.
    applied: watch::Sender<Revision>,
    /// The last commit sent to watchers. Higher than the last commit of a file that lost its tail.
    announced: Mutex<Revision>,
    is_connected: AtomicBool,
    start: watch::Sender<Start>,
    /// Asks the follower to begin again at the current state of the file.
    pub(super) restart: Notify,
}

impl Progress {
    pub(super) fn new(applied: Revision) -> Self {
        Self {
            applied: watch::Sender::new(applied),
            announced: Mutex::new(applied),
            is_connected: AtomicBool::new(false),
            start: watch::Sender::new(Start::Waiting),
            restart: Notify::new(),
        }
    }

    pub(super) fn applied(&self) -> Revision {
        *self.applied.borrow()
    }

    /// Follows each change of [`Progress::applied`].
    pub(super) fn changes(&self) -> watch::Receiver<Revision> {
        self.applied.subscribe()
    }

    /// Sets the last readable commit, which may be lower than before.
    pub(super) fn set_applied(&self, revision: Revision) {
        self.applied.send_replace(revision);
    }

    pub(super) fn announced(&self) -> Revision {
        *self.announced.lock()
    }

    pub(super) fn set_announced(&self, revision: Revision) {
        *self.announced.lock() = revision;
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Acquire)
    }

    pub(super) fn set_connected(&self, is_connected: bool) {
        self.is_connected.store(is_connected, Ordering::Release);
        if is_connected {
            self.start.send_replace(Start::Followed);
        }
    }

    /// Records a round in which no member could be followed.
    pub(super) fn note_failed(&self, faults: Vec<Fault>) {
        self.start.send_modify(|start| {
            if !matches!(start, Start::Followed) {
                *start = Start::Failed(faults);
            }
        });
    }

    /// Waits until `is_enough`, or `until`. Returns the state then.
    pub(super) async fn started(&self, until: Instant, is_enough: impl FnMut(&Start) -> bool) -> Start {
        let mut start = self.start.subscribe();
        // The state at `until` counts, enough or not.
        drop(timeout_at(until, start.wait_for(is_enough)).await);
        self.start.borrow().clone()
    }

    /// Waits until the commit `revision` can be read; false if the time `until` comes first.
    pub(super) async fn reached(&self, revision: Revision, until: Instant) -> bool {
        let mut applied = self.applied.subscribe();
        let reached = timeout_at(until, applied.wait_for(|applied| *applied >= revision)).await;
        matches!(reached, Ok(Ok(_)))
    }
}
