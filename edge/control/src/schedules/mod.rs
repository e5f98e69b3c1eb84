//! Schedules of what is live: every node knows them, and the one whose commit comes first runs a time.
//!
//! The record of a schedule says which time was run last. It is written, with a check that it is as it was read, before
//! the command begins: no time is run twice, and one whose node dies right then is not run. Of a schedule without
//! `overlap` one run is under way at most: in a cluster its node holds a duty, and ends the command when it loses that.
//!
//! Previews and aliases run no schedule.

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

/// Longest wait for the records of runs that were ended.
const ENDED_WAIT_MAX: Duration = Duration::from_secs(5);

/// What ends runs, by their ids, with the environment of each.
type Stops = HashMap<String, (Place, CancellationToken)>;

/// A run that is under way on this node until this is dropped.
struct UnderWay {
    stops: Arc<Mutex<Stops>>,
    id: String,
    stop: CancellationToken,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.stops.lock().remove(&self.id);
    }
}

/// The schedules of this node.
struct ScheduleState {
    /// A name of this process of the edge.
    process: String,
    known: Mutex<AllKnown>,
    shares: Mutex<Shares>,
    /// What ends each run that is under way here, by its id.
    stops: Arc<Mutex<Stops>>,
    /// Nothing begins any more.
    is_closed: AtomicBool,
    /// A run has ended, so that others may begin.
    ended: Notify,
    runs: TaskTracker,
    /// Where runs go on, also those of a request; set once times are followed.
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
    fn under_way(&self, place: &Place) -> UnderWay {
        let (id, stop) = (format!("{:016x}", rand::random::<u64>()), CancellationToken::new());
        self.stops.lock().insert(id.clone(), (place.clone(), stop.clone()));
        UnderWay { stops: Arc::clone(&self.stops), id, stop }
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
    /// Begins no more commands of schedules, and waits for those under way, at most for `time_max`; then they are
    /// ended as instances are.
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

    /// Has commands begin again, where the next edge did not take over.
    pub fn resume_schedules(&self) {
        self.state.runs.reopen();
        self.state.is_closed.store(false, Ordering::Release);
        self.state.ended.notify_one();
    }
}
