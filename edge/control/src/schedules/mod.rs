//! Schedules of live versions: all nodes know the schedules, and the first node to commit a claim runs a due time.
//!
//! The record of a schedule holds the last due time that was run. The record is written before the command starts, with
//! a check that the record is unchanged since the read. So no due time runs twice, and a due time is lost if the node
//! dies right after the commit. A schedule without `overlap` has at most a single run in progress: in a cluster, the
//! node of the run holds a duty, and ends the command when the duty is lost.
//!
//! Previews and aliases run no schedules.

mod claim;
mod due;
mod follow;
mod known;
mod list;
mod run;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::known::{AllKnown, Place, Shares};
use crate::instances::Instances;
use crate::ledger::Ledger;
use crate::pauses::Pauses;

/// Maximum wait for the records of ended runs.
const ENDED_WAIT_MAX: Duration = Duration::from_secs(5);

/// Cancellation tokens of runs, by run id, with the environment of each.
type Stops = HashMap<String, (Place, CancellationToken)>;

/// Guard of a run in progress on this node.
struct RunGuard {
    stops: Arc<Mutex<Stops>>,
    id: String,
    stop: CancellationToken,
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.stops.lock().remove(&self.id);
    }
}

/// Schedule state of this node.
struct ScheduleState {
    /// Name of this edge process.
    process: String,
    known: Mutex<AllKnown>,
    shares: Mutex<Shares>,
    /// Cancellation token of each run in progress on this node, by run id.
    stops: Arc<Mutex<Stops>>,
    /// Set to true once no further runs may start.
    is_closed: AtomicBool,
    /// Notified when a run has ended, so waiting runs may start.
    ended: Notify,
    runs: TaskTracker,
    /// Runtime for runs, including runs on request; set once the clock is followed.
    runtime: OnceLock<Handle>,
}

impl Default for ScheduleState {
    fn default() -> Self {
        Self {
            process: format!("{:016x}", rand::random::<u64>()),
            known: Mutex::default(),
            shares: Mutex::default(),
            stops: Arc::default(),
            is_closed: AtomicBool::new(false),
            ended: Notify::new(),
            runs: TaskTracker::new(),
            runtime: OnceLock::new(),
        }
    }
}

impl ScheduleState {
    fn under_way(&self, place: &Place) -> RunGuard {
        let (id, stop) = (format!("{:016x}", rand::random::<u64>()), CancellationToken::new());
        self.stops.lock().insert(id.clone(), (place.clone(), stop.clone()));
        RunGuard { stops: Arc::clone(&self.stops), id, stop }
    }
}

/// Runs the schedules of live versions.
pub struct Scheduler {
    ledger: Arc<Ledger>,
    instances: Arc<Instances>,
    pauses: Arc<Pauses>,
    state: ScheduleState,
}

impl Scheduler {
    pub(crate) fn new(ledger: Arc<Ledger>, instances: Arc<Instances>, pauses: Arc<Pauses>) -> Self {
        Self { ledger, instances, pauses, state: ScheduleState::default() }
    }
}

impl Scheduler {
    /// Stops starting scheduled commands, and waits at most `time_max` for running commands; then ends the commands in
    /// the same way as instances.
    pub async fn end_schedules(&self, time_max: Duration) {
        let schedules = &self.state;
        schedules.is_closed.store(true, Ordering::Release);
        schedules.runs.close();
        if timeout(time_max, schedules.runs.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(count = schedules.runs.len(), "commands of schedules are interrupted: the edge ends");
        schedules.stops.lock().values().for_each(|(_, stop)| stop.cancel());
        let stop_time_max = Duration::from_millis(self.ledger.limits().instance_stop_ms_max);
        timeout(stop_time_max.saturating_add(ENDED_WAIT_MAX), schedules.runs.wait()).await.ok();
    }

    /// Resumes starting commands, after a failed handover to a new process.
    pub fn resume_schedules(&self) {
        self.state.runs.reopen();
        self.state.is_closed.store(false, Ordering::Release);
        self.state.ended.notify_one();
    }
}
