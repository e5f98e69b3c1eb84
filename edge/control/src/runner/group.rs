//! Group: instances of one backend in one environment with one revision of settings, with the reasons and times of
//! running.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devanture_config::api::{InstanceState, InstanceStatus};
use devanture_config::manifest::Managed;
use devanture_config::{Hostname, VersionId};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::Error;
use super::folder::Code;
use super::holds::UserHold;
use super::instance_handle::Slot;
use super::user_ini::UserIni;
use devanture_serve::proxy::{RunId, RunMember, RunNow, RunState};

/// Programs of a backend on the machine.
pub(super) enum Programs {
    /// Programs of a laid-out folder.
    Folder(Arc<Code>),
    /// Programs of the container image with the id.
    Image(String),
}

/// Start parameters common to all instances of a group.
pub(super) struct SetUp {
    pub(super) programs: Programs,
    pub(super) data: Option<PathBuf>,
    pub(super) temporary: PathBuf,
    /// PHP settings of the bundle.
    pub(super) user_ini: UserIni,
    pub(super) user: UserHold,
    pub(super) variables: BTreeMap<String, String>,
    /// First hostname of the version, for an environment with hostnames.
    pub(super) listed_host: Option<Hostname>,
}

/// Resources of the predecessor's instances, until the group is set up here.
pub(super) struct Foundation {
    pub(super) code: Option<Arc<Code>>,
    pub(super) user: UserHold,
}

/// Group of instances.
pub(super) struct Group {
    pub(super) id: RunId,
    /// Version of the first start; other versions may share the group.
    pub(super) version: VersionId,
    pub(super) managed: Arc<Managed>,
    /// Environment of the settings, or `preview`.
    pub(super) settings_place: String,
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
    /// Locked while instances are started or ended.
    pub(super) adjusting: tokio::sync::Mutex<()>,
}

/// Mutable state of a group.
#[derive(Default)]
pub(super) struct Inner {
    pub(super) slots: Vec<Arc<Slot>>,
    pub(super) reasons: Reasons,
    /// True once the group ends, and may not be relied on.
    pub(super) is_stopping: bool,
    pub(super) is_over: bool,
    pub(super) set_up: Option<Arc<SetUp>>,
    pub(super) foundation: Option<Foundation>,
    /// True once the target number of instances was started.
    pub(super) is_begun: bool,
    pub(super) spreading: Spreading,
    /// Reason for a failed start.
    pub(super) failed: Option<Error>,
}

/// Distribution of instances over nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spreading {
    /// True while more instances than the node's share run, until those of other nodes answer.
    pub(super) has_excess: bool,
    /// True if all instances that answer requests are to run on other nodes.
    pub(super) is_elsewhere: bool,
}

/// Reasons for which a group runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reasons {
    /// Number of holders about to make the group live.
    pub(super) held: usize,
    /// True if live in its environment.
    pub(super) is_live: bool,
    /// End of the time in which a former holder may have made the group live without local notice.
    pub(super) lingers_until: Option<Instant>,
    /// End of the time for a rollback, or for pinned visitors.
    pub(super) warm_until: Option<Instant>,
    /// True if pinned visitors may exist: missing instances are started for pinned visitors.
    pub(super) is_pinned: bool,
    /// End of the time without requests, for a preview.
    pub(super) idle_until: Option<Instant>,
}

/// Reason shown for an instance kept warm for pinned visitors.
const FOR_VISITORS: &str = "for visitors who are held on its version";
/// Ends per instance after which a new backend has failed.
const FAILURES: u64 = 2;

/// State of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    StaysUntil(Instant),
    Ends,
}

impl SetUp {
    /// Returns the folder of the backend; `None` for an image.
    pub(super) fn folder(&self) -> Option<&Path> {
        match &self.programs {
            Programs::Folder(code) => Some(&code.path),
            Programs::Image(_) => None,
        }
    }
}

impl Inner {
    /// Returns user and code of the instances.
    pub(super) fn rests_on(&self) -> (Option<u32>, Option<PathBuf>) {
        match (&self.set_up, &self.foundation) {
            (Some(set_up), _) => (set_up.user.uid(), set_up.folder().map(Path::to_owned)),
            (None, Some(Foundation { code, user })) => (user.uid(), code.as_ref().map(|code| code.path.clone())),
            (None, None) => (None, None),
        }
    }
}

impl Reasons {
    pub(super) fn fate(&self, now: Instant) -> Fate {
        if self.held > 0 || self.is_live {
            return Fate::Stays;
        }
        let latest = [self.lingers_until, self.warm_until, self.idle_until].into_iter().flatten().max();
        latest.filter(|until| *until > now).map_or(Fate::Ends, Fate::StaysUntil)
    }

    /// Returns true if the group runs only for a rollback.
    pub(super) fn is_warm(&self) -> bool {
        self.held == 0 && self.is_replaced()
    }

    /// Returns true if the group runs only for pinned visitors.
    pub(super) fn is_for_visitors(&self) -> bool {
        self.is_pinned && self.is_replaced()
    }

    /// Returns true if another version is live in the environment.
    pub(super) fn is_replaced(&self) -> bool {
        !self.is_live && self.idle_until.is_none() && self.warm_until.is_some()
    }

    /// Returns true if only processes that answer requests have to run: the group stays for a rollback, and no former
    /// holder can have made the group live.
    pub(super) fn is_standby(&self, now: Instant) -> bool {
        self.is_warm() && self.lingers_until.is_none_or(|until| until <= now)
    }

    /// Returns true if non-overlapping processes may run, unless another group of the environment has some; false for a
    /// group kept only for a rollback.
    pub(super) fn has_sole_processes(&self, now: Instant) -> bool {
        let lingers = self.lingers_until.is_some_and(|until| until > now);
        self.is_live || self.idle_until.is_some() || self.held > 0 || lingers
    }

    /// Returns true if the group runs only for requests of a preview.
    pub(super) fn is_preview(&self) -> bool {
        self.held == 0 && !self.is_live && self.idle_until.is_some()
    }
}

impl Group {
    pub(super) fn new(id: RunId, version: VersionId, managed: Arc<Managed>, settings_place: String) -> Self {
        Self {
            id,
            version,
            managed,
            settings_place,
            inner: Mutex::default(),
            changed: watch::Sender::new(0),
            adjusting: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Notifies of a change.
    pub(super) fn notify(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Returns the start parameters, once set up.
    pub(super) async fn set_up(&self) -> Arc<SetUp> {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            if let Some(set_up) = &self.inner().set_up {
                return Arc::clone(set_up);
            }
            changes.changed().await.ok();
        }
    }

    /// Returns all instances, including ending instances.
    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        self.inner().slots.clone()
    }

    /// Returns the instances that should run.
    pub(super) fn wanted_slots(&self) -> Vec<Arc<Slot>> {
        self.inner().slots.iter().filter(|slot| slot.is_wanted()).cloned().collect()
    }

    /// Ends the processes without traffic of a group on standby, which would repeat the work of the live version.
    /// Returns the time of the next check.
    pub(super) fn end_standby_workers(&self, now: Instant) -> Option<Instant> {
        let inner = self.inner();
        let (is_standby, has_sole) = (inner.reasons.is_standby(now), inner.reasons.has_sole_processes(now));
        let is_over = |slot: &&Arc<Slot>| is_standby && !slot.is_web() || !has_sole && !slot.process.overlap;
        inner.slots.iter().filter(is_over).for_each(|slot| slot.stop.cancel());
        inner.reasons.lingers_until.filter(|until| *until > now)
    }

    /// Forgets an ended instance.
    pub(super) fn remove(&self, slot: &Slot) {
        self.inner().slots.retain(|other| other.serial != slot.serial);
    }

    /// Returns the status of each instance with its memory limit.
    pub(super) fn statuses(&self, node: &str, memory_bytes_max: u64) -> Vec<InstanceStatus> {
        let inner = self.inner();
        let is_warm = inner.reasons.is_warm();
        let status = |slot: &Arc<Slot>| {
            let status = slot.status(node, self.version, self.id.key.settings, is_warm);
            let is_for_visitors = inner.reasons.is_for_visitors() && status.state == InstanceState::Warm;
            let detail = is_for_visitors.then(|| FOR_VISITORS.to_owned()).or(status.detail);
            InstanceStatus { memory_bytes_max: Some(memory_bytes_max), detail, ..status }
        };
        inner.slots.iter().map(status).collect()
    }

    /// Waits until every instance of `web`, or of a process untestable before the switch, has ended twice since the
    /// call and none is healthy; a single end may be recovered. Returns `None` once the group is not live.
    pub(super) async fn failure(&self) -> Option<String> {
        let restarts = |slot: &Arc<Slot>| (slot.serial, slot.seen().restarts);
        let before: HashMap<u64, u64> = self.inner().slots.iter().map(restarts).collect();
        let has_failed = |slot: &Arc<Slot>| {
            let seen = slot.seen();
            let since = seen.restarts.saturating_sub(before.get(&slot.serial).copied().unwrap_or(0));
            seen.state != InstanceState::Healthy && since >= FAILURES
        };
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            let is_over = {
                let inner = self.inner();
                inner.is_stopping || inner.reasons.is_standby(Instant::now())
            };
            if is_over {
                return None;
            }
            let mut of_process: BTreeMap<String, Vec<Arc<Slot>>> = BTreeMap::new();
            for slot in self.wanted_slots().into_iter().filter(|slot| slot.is_web() || !slot.process.overlap) {
                of_process.entry(slot.process.name.to_string()).or_default().push(slot);
            }
            let failed = of_process.values().find(|slots| slots.iter().all(has_failed));
            if let Some(last) = failed.and_then(|slots| slots.last()) {
                let why = last.seen().detail.clone().unwrap_or_else(|| "it ended".to_owned());
                return Some(format!("all new instances failed; {} {why}", last.name));
            }
            changes.changed().await.ok()?;
        }
    }

    /// Returns the state for requests.
    fn state(&self) -> RunState {
        let inner = self.inner();
        if inner.failed.is_some() {
            return RunState::Refused;
        }
        if inner.is_stopping {
            // New requests need other instances.
            return RunState::Starting;
        }
        if inner.reasons.is_replaced() && inner.is_begun && !inner.reasons.is_for_visitors() {
            // No instances are expected: a request without an instance is for the live version.
            return RunState::Running;
        }
        let is_web =
            self.managed.server.processes.iter().any(|process| process.kind == devanture_config::site_toml::Kind::Web);
        let comes = |slot: &Arc<Slot>| slot.is_web() && slot.is_wanted() && slot.will_answer_soon();
        // Other nodes report their instances once ready.
        match inner.spreading.is_elsewhere || !inner.is_begun && is_web || inner.slots.iter().any(comes) {
            true => RunState::Starting,
            false => RunState::Running,
        }
    }

    fn members(&self) -> Vec<RunMember> {
        self.inner().slots.iter().filter_map(|slot| slot.member()).collect()
    }
}

/// Returns the state of a run for requests. A run has several groups while one ends and the next begins, ending groups
/// first.
pub(super) fn now_of(groups: &[Arc<Group>]) -> Option<RunNow> {
    let last = groups.last()?;
    let (state, is_shared) = (last.state(), last.is_spread());
    Some(RunNow { state, is_shared, members: groups.iter().flat_map(|group| group.members()).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_group_stays_for_as_long_as_there_is_a_reason() {
        let now = Instant::now();
        let (soon, later) = (now + Duration::from_secs(1), now + Duration::from_secs(9));
        let none = Reasons::default();
        assert_eq!(none.fate(now), Fate::Ends);
        assert_eq!(Reasons { held: 1, ..none.clone() }.fate(now), Fate::Stays);
        let warm = Reasons { warm_until: Some(later), lingers_until: Some(soon), ..none.clone() };
        assert_eq!((warm.fate(now), warm.fate(later)), (Fate::StaysUntil(later), Fate::Ends));
        assert!(!warm.is_standby(now) && warm.is_standby(soon));
        assert!(warm.has_sole_processes(now) && !warm.has_sole_processes(soon) && !none.has_sole_processes(now));
        assert!(warm.is_warm() && !Reasons { is_live: true, ..warm.clone() }.is_warm());
        assert_eq!(Reasons { is_live: true, ..warm }.fate(later), Fate::Stays);
        let preview = Reasons { idle_until: Some(soon), ..none };
        assert!(preview.is_preview() && !Reasons { held: 1, ..preview }.is_preview());
    }
}
