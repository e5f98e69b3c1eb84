//! Shared view of an instance: state, time, reason, and control of its end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use devanture_config::VersionId;
use devanture_config::api::{InstanceState, InstanceStatus};
use devanture_config::site_toml::{Kind, Process, Scripts};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::error::{ERROR_LINES_MAX, Error};
use super::handover::handed::HandedInstance;
use devanture_base::clock;
use devanture_host::spawner::Monitor;
use devanture_serve::proxy::RunMember;
use devanture_serve::proxy::address::Endpoint;

/// Instance: a sequence of processes under one name.
pub(super) struct Slot {
    /// For example `web.2`.
    pub(super) name: String,
    /// Process definition.
    pub(super) process: Process,
    /// From 1 on.
    pub(super) number: u64,
    /// Unique number.
    pub(super) serial: u64,
    /// Requests the end.
    pub(super) stop: CancellationToken,
    /// Makes the end immediate, to free its capacity.
    pub(super) kill: CancellationToken,
    /// Starts at once instead of after the delay.
    pub(super) kick: Notify,
    /// The environment exceeds its storage limit.
    pub(super) over_quota: Notify,
    /// True if started by the predecessor edge.
    pub(super) is_adopted: bool,
    seen: Mutex<Seen>,
    /// Description for the next edge, while paused.
    standing: Mutex<Option<HandedInstance>>,
}

/// State.
pub(super) struct Seen {
    pub(super) state: InstanceState,
    pub(super) since_ms: u64,
    pub(super) pid: Option<u32>,
    /// Resource usage, while running.
    pub(super) monitor: Option<Monitor>,
    pub(super) restarts: u64,
    pub(super) detail: Option<String>,
    /// Listening address, while listening.
    pub(super) endpoint: Option<Endpoint>,
    /// User of the listening process, if the app has its own.
    pub(super) uid: Option<u32>,
    /// Scripts of a FastCGI instance.
    pub(super) scripts: Option<Scripts>,
    /// Duration of the last start in milliseconds.
    pub(super) healthy_ms: Option<u128>,
    /// Reason for which waiting callers give up.
    pub(super) failed: Option<Error>,
    /// True if listening on all addresses of the machine rather than on 127.0.0.1.
    pub(super) is_open: bool,
    /// True once ended for good.
    pub(super) is_over: bool,
    lines: VecDeque<String>,
}

impl Seen {
    /// Last lines.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

/// Detail of a healthy instance that listens on all addresses.
const LISTENS_EVERYWHERE: &str = "listens on all addresses of the machine, not on HOST, 127.0.0.1, alone";

static SERIALS: AtomicU64 = AtomicU64::new(1);

impl Slot {
    pub(super) fn new(process: Process, number: u64) -> Self {
        let seen = Seen {
            state: InstanceState::Starting,
            since_ms: clock::now_ms(),
            pid: None,
            monitor: None,
            restarts: 0,
            detail: None,
            endpoint: None,
            uid: None,
            scripts: None,
            healthy_ms: None,
            failed: None,
            is_open: false,
            is_over: false,
            lines: VecDeque::new(),
        };
        Self {
            name: format!("{}.{number}", process.name),
            process,
            number,
            serial: SERIALS.fetch_add(1, Ordering::Relaxed),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            kick: Notify::new(),
            over_quota: Notify::new(),
            is_adopted: false,
            seen: Mutex::new(seen),
            standing: Mutex::default(),
        }
    }

    /// Creates the handle of an instance started by the predecessor edge.
    pub(super) fn adopted(process: Process, handed: &HandedInstance) -> Self {
        SERIALS.fetch_max(handed.serial.saturating_add(1), Ordering::Relaxed);
        let slot = Self { serial: handed.serial, is_adopted: true, ..Self::new(process, handed.number) };
        {
            let mut seen = slot.seen();
            (seen.state, seen.since_ms, seen.detail) = (handed.state, handed.since_ms, handed.detail.clone());
            (seen.pid, seen.endpoint, seen.uid) =
                (Some(handed.running.pid), handed.place.endpoint.clone(), handed.place.listener());
            seen.scripts = handed.place.scripts.clone();
            (seen.restarts, seen.healthy_ms) = (handed.restarts, handed.healthy_ms.map(u128::from));
            seen.lines = handed.lines.iter().cloned().collect();
        }
        if !handed.is_wanted {
            slot.stop.cancel();
        }
        slot
    }

    /// Sets the description for the next edge; `None` after resuming.
    pub(super) fn stand(&self, handed: Option<HandedInstance>) {
        *self.standing.lock() = handed;
    }

    /// Returns the description for the next edge, while paused.
    pub(super) fn standing(&self) -> Option<HandedInstance> {
        self.standing.lock().clone()
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock()
    }

    /// Returns true if the instance should run.
    pub(super) fn is_wanted(&self) -> bool {
        !self.stop.is_cancelled()
    }

    pub(super) fn is_web(&self) -> bool {
        self.process.kind == Kind::Web
    }

    /// Returns true if requests should wait: the instance is starting, or about to start. An instance blocked by its
    /// quota does not count, since the end of the block is unknown.
    pub(super) fn will_answer_soon(&self) -> bool {
        let seen = self.seen();
        match seen.state {
            InstanceState::Starting => true,
            InstanceState::Waiting => !matches!(seen.failed, Some(Error::PersistFull { .. })),
            _ => false,
        }
    }

    /// Sets the state.
    pub(super) fn is(&self, state: InstanceState, detail: Option<String>) {
        let mut seen = self.seen();
        if seen.state != state {
            seen.since_ms = clock::now_ms();
        }
        (seen.state, seen.detail) = (state, detail);
    }

    /// Keeps a log line, for possible errors.
    pub(super) fn remember(&self, line: &str) {
        let mut seen = self.seen();
        if seen.lines.len() >= ERROR_LINES_MAX {
            seen.lines.pop_front();
        }
        seen.lines.push_back(line.to_owned());
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().lines()
    }

    /// Forgets earlier failures, and starts a waiting instance at once.
    pub(super) fn begin_anew(&self) {
        let mut seen = self.seen();
        seen.failed = None;
        if matches!(seen.state, InstanceState::Waiting | InstanceState::CrashLoop) {
            self.kick.notify_one();
        }
    }

    /// Returns the pool member, if healthy.
    pub(super) fn member(&self) -> Option<RunMember> {
        let seen = self.seen();
        let endpoint = seen.endpoint.clone().filter(|_| self.is_web())?;
        let is_draining = match seen.state {
            InstanceState::Healthy | InstanceState::Warm => false,
            InstanceState::Stopping => true,
            _ => return None,
        };
        Some(RunMember { endpoint, is_draining, uid: seen.uid, scripts: seen.scripts.clone() })
    }

    /// Returns the status; limits are those of the group.
    pub(super) fn status(&self, node: &str, version: VersionId, settings: u64, is_warm: bool) -> InstanceStatus {
        let seen = self.seen();
        let usage = seen.monitor.as_ref().map(Monitor::usage);
        let state = if is_warm && seen.state == InstanceState::Healthy { InstanceState::Warm } else { seen.state };
        InstanceStatus {
            name: self.name.clone(),
            node: node.to_owned(),
            process: self.process.name.clone(),
            kind: self.process.kind,
            state,
            version,
            settings,
            pid: seen.pid,
            memory_bytes: usage.map(|usage| usage.memory_bytes),
            memory_bytes_max: None,
            processes: usage.map(|usage| usage.processes),
            tmp_bytes: usage.map(|usage| usage.temporary_bytes),
            restarts: seen.restarts,
            since_ms: seen.since_ms,
            detail: seen.detail.clone().or_else(|| seen.is_open.then(|| LISTENS_EVERYWHERE.to_owned())),
        }
    }
}
