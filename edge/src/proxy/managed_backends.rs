//! Pools whose members are instances that the edge runs itself: the runner sets their members, and nobody
//! else; a request that finds none asks for them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use devanture_config::manifest::Managed;
use devanture_config::{AppName, Digest, VersionId};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::address::Endpoint;
use super::clock::now_ms;
use crate::version::{Setting, Version};

/// Most runs that were asked for and not taken yet; a request beyond asks again when it comes again.
const ASKED_MAX: usize = 1_024;

/// Distinguishes backends in the same place: the code that runs, and the revision of its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunKey {
    /// [`Managed::digest`].
    pub digest: Digest,
    /// The revision of the settings.
    pub settings: u64,
}

/// The instances of one backend in one place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunId {
    /// The app.
    pub app: AppName,
    /// The environment or alias, or `preview`.
    pub place: String,
    /// The backend.
    pub key: RunKey,
}

/// The backend to start where a request finds no instance.
#[derive(Debug, Clone)]
pub struct RunOrigin {
    /// The version that the request is for.
    pub version: VersionId,
    /// Its backend.
    pub managed: Arc<Managed>,
    /// Whether an admin of every app stored it.
    pub trusted: bool,
    /// Whether it is served as a preview.
    pub setting: Setting,
}

impl RunOrigin {
    /// The backend of a loaded version, if it has one.
    #[must_use]
    pub fn of(version: &Version) -> Option<Self> {
        let managed = Arc::clone(version.managed.as_ref()?);
        Some(Self { version: version.id, managed, trusted: version.edge_admin, setting: version.setting })
    }
}

/// One instance, as a member of pools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMember {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Whether it gets no new requests.
    pub is_draining: bool,
    /// The user whose socket it must be, where the app has one of its own.
    pub uid: Option<u32>,
}

/// The state of a run for its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Somebody will be there in a while: they wait.
    Starting,
    /// Its members answer, if it has any.
    Running,
    /// Nobody is there, and nobody will be for now.
    Refused,
}

/// The members of a run now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunNow {
    /// The state for requests.
    pub state: RunState,
    /// The instances.
    pub members: Vec<RunMember>,
}

/// All runs that somebody said something about.
#[derive(Default)]
pub(super) struct Runs {
    now: RwLock<HashMap<RunId, Arc<RunNow>>>,
    pub(super) asks: Arc<Asks>,
}

impl Runs {
    /// Sets the instances; without any the run is forgotten.
    pub(super) fn set(&self, id: &RunId, now: Option<RunNow>) {
        let mut all = self.now.write();
        match now {
            Some(now) => drop(all.insert(id.clone(), Arc::new(now))),
            None => drop(all.remove(id)),
        }
    }

    /// The instances. Unless they were set, they are requested by the first request, if there is a runner.
    pub(super) fn get(&self, id: &RunId) -> Arc<RunNow> {
        let known = self.now.read().get(id).cloned();
        known.unwrap_or_else(|| {
            let state = if self.asks.is_heard() { RunState::Starting } else { RunState::Refused };
            Arc::new(RunNow { state, members: Vec::new() })
        })
    }
}

/// Runs that requests came to, and that nobody runs.
#[derive(Default)]
pub(super) struct Asks {
    waiting: Mutex<VecDeque<(RunId, RunOrigin)>>,
    came: Notify,
    is_heard: AtomicBool,
}

impl Asks {
    fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }

    pub(super) fn hear(&self, is_heard: bool) {
        self.is_heard.store(is_heard, Ordering::Relaxed);
    }

    fn ask(&self, id: &RunId, origin: &RunOrigin) {
        if !self.is_heard() {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.len() < ASKED_MAX && !waiting.iter().any(|(other, _)| other == id) {
            waiting.push_back((id.clone(), origin.clone()));
            self.came.notify_one();
        }
    }

    pub(super) async fn next(&self) -> (RunId, RunOrigin) {
        loop {
            let came = self.came.notified();
            if let Some(run) = self.waiting.lock().pop_front() {
                return run;
            }
            came.await;
        }
    }
}

/// A pool's view of the run of its members.
pub(super) struct PoolRun {
    pub(super) id: RunId,
    origin: Option<RunOrigin>,
    asks: Arc<Asks>,
    /// When it was last asked for a member, on the clock of [`now_ms`].
    used_ms: AtomicU64,
}

impl PoolRun {
    pub(super) fn new(id: RunId, origin: Option<RunOrigin>, asks: Arc<Asks>) -> Self {
        Self { id, origin, asks, used_ms: AtomicU64::new(0) }
    }

    pub(super) fn note_use(&self) {
        let now = now_ms();
        // Written only where it changes something: the line is shared by all threads.
        if self.used_ms.load(Ordering::Relaxed) != now {
            self.used_ms.store(now, Ordering::Relaxed);
        }
    }

    pub(super) fn used_ms(&self) -> u64 {
        self.used_ms.load(Ordering::Relaxed)
    }

    /// Asks for instances, since a request found none.
    pub(super) fn ask(&self) {
        if let Some(origin) = &self.origin {
            self.asks.ask(&self.id, origin);
        }
    }
}
