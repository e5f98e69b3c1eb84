//! Pools with managed instances as members: only the runner sets the members; a request without an instance asks for
//! one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use devanture_config::VersionId;
use devanture_config::manifest::Managed;
use devanture_config::site_toml::BundleScripts;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use super::address::Endpoint;
use super::clock::now_ms;
use super::elsewhere::Elsewhere;
use super::run::{RunId, RunMember, RunNow, RunState};
use super::tunnel::Opener;
use crate::version::{Setting, Version};

/// Maximum number of queued requested runs; further requests ask again on their next arrival.
const ASKED_MAX: usize = 1_024;

/// The backend to start for a request without an instance.
#[derive(Debug, Clone)]
pub struct RunOrigin {
    /// The version of the request.
    pub version: VersionId,
    /// The backend of the version.
    pub managed: Arc<Managed>,
    /// True if an admin of every app stored the version.
    pub trusted: bool,
    /// Deploy target: preview or environment.
    pub setting: Setting,
}

impl RunOrigin {
    /// Returns the backend of a loaded version, if present.
    #[must_use]
    pub fn of(version: &Version) -> Option<Self> {
        let managed = Arc::clone(version.managed.as_ref()?);
        Some(Self { version: version.id, managed, trusted: version.edge_admin, setting: version.setting })
    }
}

/// All known runs.
pub(super) struct Runs {
    now: RwLock<HashMap<RunId, Arc<RunNow>>>,
    /// Notifies of changes of local instances.
    changed: watch::Sender<u64>,
    /// Process number of the edge.
    pub(super) process: u64,
    /// True if other nodes may reach local instances.
    is_shared: AtomicBool,
    pub(super) elsewhere: Elsewhere,
    pub(super) asks: Arc<RunRequests>,
}

impl Default for Runs {
    fn default() -> Self {
        Self {
            now: RwLock::default(),
            changed: watch::Sender::new(0),
            process: rand::random(),
            is_shared: AtomicBool::new(true),
            elsewhere: Elsewhere::default(),
            asks: Arc::default(),
        }
    }
}

impl Runs {
    /// Sets the instances of a run; `None` removes the run.
    pub(super) fn set(&self, id: &RunId, now: Option<RunNow>) {
        let mut all = self.now.write();
        match now {
            Some(now) => drop(all.insert(id.clone(), Arc::new(now))),
            None => drop(all.remove(id)),
        }
        drop(all);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Returns the runs whose instances other nodes may reach.
    pub(super) fn shared(&self) -> Vec<(RunId, Arc<RunNow>)> {
        let all = self.now.read();
        all.iter().filter(|(_, now)| now.is_shared).map(|(id, now)| (id.clone(), Arc::clone(now))).collect()
    }

    /// Returns an instance of the local node that other nodes may reach and that gets requests.
    pub(super) fn shared_member(&self, id: &RunId, endpoint: &Endpoint) -> Option<RunMember> {
        let now = self.now.read().get(id).filter(|now| now.is_shared).cloned()?;
        now.members.iter().find(|member| member.endpoint == *endpoint && !member.is_draining).cloned()
    }

    pub(super) fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
    }

    /// Closes local instances to other nodes.
    pub(super) fn end_sharing(&self) {
        self.is_shared.store(false, Ordering::Relaxed);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Returns the instances, including instances of other nodes. A run without set instances counts as starting if a
    /// runner listens, since the first request asks for the run.
    pub(super) fn get(&self, id: &RunId) -> Arc<RunNow> {
        let known = self.now.read().get(id).cloned();
        let mut now = known.unwrap_or_else(|| {
            let state = if self.asks.is_heard() { RunState::Starting } else { RunState::Refused };
            Arc::new(RunNow { state, is_shared: false, members: Vec::new() })
        });
        if self.elsewhere.has(id) {
            self.elsewhere.add_to(id, Arc::make_mut(&mut now));
        }
        now
    }
}

/// Runs with requests and without instances.
#[derive(Default)]
pub(super) struct RunRequests {
    waiting: Mutex<VecDeque<(RunId, RunOrigin)>>,
    came: Notify,
    is_heard: AtomicBool,
}

impl RunRequests {
    fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }

    pub(super) fn hear(&self, is_heard: bool) {
        self.is_heard.store(is_heard, Ordering::Relaxed);
    }

    pub(super) fn ask(&self, id: &RunId, origin: &RunOrigin) {
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
    asks: Arc<RunRequests>,
    pub(super) tunnels: Opener,
    /// Time of the last request for a member, on the clock of [`now_ms`].
    used_ms: AtomicU64,
}

impl PoolRun {
    pub(super) fn new(id: RunId, origin: Option<RunOrigin>, asks: Arc<RunRequests>, tunnels: Opener) -> Self {
        Self { id, origin, asks, tunnels, used_ms: AtomicU64::new(0) }
    }

    pub(super) fn note_use(&self) {
        let now = now_ms();
        // Written only on a change: all threads share the cache line.
        if self.used_ms.load(Ordering::Relaxed) != now {
            self.used_ms.store(now, Ordering::Relaxed);
        }
    }

    pub(super) fn used_ms(&self) -> u64 {
        self.used_ms.load(Ordering::Relaxed)
    }

    /// Returns the scripts of the backend, if PHP runs the backend.
    pub(super) fn scripts(&self) -> Option<Arc<BundleScripts>> {
        self.origin.as_ref()?.managed.scripts.clone()
    }

    /// Asks for instances, after a request found none.
    pub(super) fn ask(&self) {
        if let Some(origin) = &self.origin {
            self.asks.ask(&self.id, origin);
        }
    }
}
