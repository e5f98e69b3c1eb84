//! Exclusive access to the data of an environment: no process runs during a replacement, and tasks run one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::AppName;
use devanture_config::problem::Code;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::runner::error::Error;
use crate::runner::group::Group;
use crate::runner::persisted::Place;
use crate::runner::shared::{Shared, ms};
use devanture_store::records::gone;

/// Most concurrent data tasks over all environments …
const TURNS_MAX: usize = 8;
/// … and most for apps with one task each: the task's user can stop its process, which would block others until
/// `data_task_ms_max`.
const FIRST_TURNS_MAX: usize = 64;
/// Time beyond an instance's limits for the end of its processes.
const END_SLACK: Duration = Duration::from_secs(10);

/// Users of the data of environments.
#[derive(Default)]
pub(in crate::runner) struct DataUse {
    state: Mutex<State>,
    left: Notify,
}

#[derive(Default)]
struct State {
    /// Environments with a running task, with the token that ends the task.
    turns: BTreeMap<Place, CancellationToken>,
    /// Environments in which no process may start.
    held: BTreeSet<Place>,
    /// No task may begin.
    is_over: bool,
    /// Processes running or about to start.
    users: BTreeMap<Place, Users>,
}

/// Processes of an environment.
#[derive(Default)]
struct Users {
    /// Instances, which the edge may end and restart.
    instances: usize,
    /// One-off commands, which the edge does not end.
    commands: usize,
}

/// Kind of process that uses the data of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runner) enum Use {
    /// Instance.
    Instance,
    /// Instance started by the predecessor edge.
    Running,
    /// One-off command.
    Command,
}

/// Registration of a process of an environment, for its lifetime.
pub(in crate::runner) struct DataUser {
    of: Arc<DataUse>,
    place: Place,
    kind: Use,
}

impl Drop for DataUser {
    fn drop(&mut self) {
        let mut state = self.of.state.lock();
        let is_last = state.users.get_mut(&self.place).is_none_or(|users| {
            let count = users.count(self.kind);
            *count = count.saturating_sub(1);
            users.instances == 0 && users.commands == 0
        });
        if is_last {
            state.users.remove(&self.place);
        }
        drop(state);
        self.of.left.notify_waiters();
    }
}

/// Exclusive task on the data of an environment.
pub(super) struct Turn {
    of: Arc<DataUse>,
    place: Place,
    ended: CancellationToken,
}

impl Turn {
    /// Waits until the task should end.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Returns true if the task should end.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.state.lock().turns.remove(&self.place);
        self.of.left.notify_waiters();
    }
}

/// Blocks all processes of an environment during its lifetime.
pub(super) struct Hold {
    shared: Arc<Shared>,
    place: Place,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.data_use.state.lock().held.remove(&self.place);
        for slot in self.shared.groups_using(&self.place).iter().flat_map(|group| group.slots()) {
            slot.begin_anew();
            // Also wakes an instance about to wait.
            slot.kick.notify_one();
        }
    }
}

impl Users {
    fn count(&mut self, kind: Use) -> &mut usize {
        match kind {
            Use::Instance | Use::Running => &mut self.instances,
            Use::Command => &mut self.commands,
        }
    }
}

impl State {
    /// Blocks the start of processes of an environment.
    fn hold(&mut self, place: &Place) -> Result<(), Error> {
        if self.users.get(place).is_some_and(|users| users.commands > 0) {
            return Err(Error::CommandRuns);
        }
        self.held.insert(place.clone());
        Ok(())
    }
}

impl DataUse {
    /// Checks that processes of an environment may start.
    pub(in crate::runner) fn check(&self, app: &AppName, settings_place: &str) -> Result<(), Error> {
        match self.state.lock().held.contains(&(app.clone(), settings_place.to_owned())) {
            true => Err(Error::DataReplaced),
            false => Ok(()),
        }
    }

    /// Registers a process.
    ///
    /// # Errors
    /// [`Error::DataReplaced`].
    pub(in crate::runner) fn enter(self: &Arc<Self>, place: Place, kind: Use) -> Result<DataUser, Error> {
        let mut state = self.state.lock();
        if state.held.contains(&place) && kind != Use::Running {
            return Err(Error::DataReplaced);
        }
        let count = state.users.entry(place.clone()).or_default().count(kind);
        *count = count.saturating_add(1);
        Ok(DataUser { of: Arc::clone(self), place, kind })
    }

    /// Returns the environments with running commands.
    pub(in crate::runner) fn places_of_commands(&self) -> Vec<Place> {
        let state = self.state.lock();
        state.users.iter().filter(|(_, users)| users.commands > 0).map(|(place, _)| place.clone()).collect()
    }

    /// Begins a task, within the app's fair share.
    ///
    /// # Errors
    /// [`Error::DataBusy`]; [`Error::Restarting`] while the edge is replaced.
    pub(super) fn turn(self: &Arc<Self>, place: Place) -> Result<Turn, Error> {
        let mut state = self.state.lock();
        if state.is_over {
            return Err(Error::Restarting);
        }
        let own = state.turns.keys().filter(|(app, _)| *app == place.0).count();
        let max = if own == 0 { FIRST_TURNS_MAX } else { TURNS_MAX };
        if max.saturating_sub(state.turns.len()) <= own || state.turns.contains_key(&place) {
            return Err(Error::DataBusy);
        }
        let ended = CancellationToken::new();
        state.turns.insert(place.clone(), ended.clone());
        Ok(Turn { of: Arc::clone(self), place, ended })
    }

    /// Returns the environments with a running task.
    fn places_of_work(&self) -> Vec<Place> {
        self.state.lock().turns.keys().cloned().collect()
    }

    /// Ends the task on the data of an environment.
    fn end_work(&self, place: &Place) {
        if let Some(ended) = self.state.lock().turns.get(place) {
            ended.cancel();
        }
    }

    /// Blocks new tasks, and waits up to `within` for running tasks. Returns true if no data is being replaced at the
    /// end.
    pub(in crate::runner) async fn end(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        self.state.lock().is_over = true;
        loop {
            let left = self.left.notified();
            if self.state.lock().turns.is_empty() {
                return true;
            }
            if timeout_at(until, left).await.is_err() {
                return self.state.lock().held.is_empty();
            }
        }
    }

    /// Allows new tasks again.
    pub(in crate::runner) fn resume(&self) {
        self.state.lock().is_over = false;
    }
}

impl Shared {
    /// Begins a task, unless the environment or its app was deleted.
    ///
    /// # Errors
    /// As [`DataUse::turn`]; `deleted`; errors of reading the catalog.
    pub(super) async fn data_turn(&self, place: &Place) -> Result<Arc<Turn>, Error> {
        let turn = Arc::new(self.data_use.turn(place.clone())?);
        // Checked after the registration: a later deletion finds the registered task.
        match self.is_deleted(place).await? {
            true => Err(deleted()),
            false => Ok(turn),
        }
    }

    async fn is_deleted(&self, (app, environment): &Place) -> Result<bool, Error> {
        let of_environment = format!("{}{environment}", gone::deleted_environments_prefix(app));
        for key in [gone::deleted_app_key(app), of_environment] {
            if self.catalog.get(&key).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends tasks on deleted data: their processes run as users that must leave nothing behind.
    pub(in crate::runner) async fn end_deleted_work(&self) {
        for place in self.data_use.places_of_work() {
            match self.is_deleted(&place).await {
                Ok(true) => self.data_use.end_work(&place),
                Ok(false) => {}
                Err(error) => {
                    let (app, environment) = &place;
                    tracing::warn!(%app, environment, %error, "whether work on data is of what was deleted cannot be read");
                }
            }
        }
    }

    fn groups_using(&self, (app, settings_place): &Place) -> Vec<Arc<Group>> {
        let is_meant = |group: &Arc<Group>| group.id.app == *app && group.settings_place == *settings_place;
        self.all_groups().into_iter().filter(is_meant).collect()
    }

    /// Ends the processes of an environment after their running requests, and blocks restarts.
    ///
    /// # Errors
    /// [`Error::CommandRuns`] before any process is ended; [`Error::DataBusy`] if processes do not end in time.
    pub(super) async fn hold_data(self: &Arc<Self>, place: Place) -> Result<Hold, Error> {
        self.data_use.state.lock().hold(&place)?;
        let hold = Hold { shared: Arc::clone(self), place };
        let limits = &self.limits;
        let within = ms(limits.instance_drain_ms_max.saturating_add(limits.instance_stop_ms_max));
        let until = Instant::now() + within.saturating_add(END_SLACK);
        loop {
            let left = self.data_use.left.notified();
            if !self.data_use.state.lock().users.contains_key(&hold.place) {
                return Ok(hold);
            }
            if Instant::now() >= until {
                return Err(Error::DataBusy);
            }
            // Repeated: a process may have been about to start.
            for slot in self.groups_using(&hold.place).iter().flat_map(|group| group.slots()) {
                slot.over_quota.notify_waiters();
            }
            timeout_at(until.min(Instant::now() + ms(100)), left).await.ok();
        }
    }
}

/// Reason for ending or refusing a task on data.
pub(super) fn deleted() -> Error {
    let detail = "The environment or its app was deleted, and no work is done on its data.".to_owned();
    Error::Data { code: Code::Deleted, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(app: &str, name: &str) -> Place {
        (app.parse().unwrap(), name.to_owned())
    }

    #[test]
    fn data_is_worked_on_once_at_a_time_and_no_app_takes_the_turns_of_others() {
        let data = Arc::new(DataUse::default());
        let turn = data.turn(place("shop", "prod")).unwrap();
        assert!(data.turn(place("shop", "prod")).is_err());
        let own: Vec<Turn> = (2..=TURNS_MAX / 2).map(|n| data.turn(place("shop", &format!("e{n}"))).unwrap()).collect();
        assert!(data.turn(place("shop", "one-too-many")).is_err(), "it leaves as many to others");
        let others: Vec<Turn> = (0..TURNS_MAX).map(|n| data.turn(place(&format!("a{n}"), "prod")).unwrap()).collect();
        assert!(data.turn(place("a0", "staging")).is_err(), "a further one waits for all");
        let last = data.turn(place("last", "prod"));
        assert!(last.is_ok(), "the first one of an app finds its turn, however many others have one");
        drop((turn, own, others, last));
        assert!(data.turn(place("shop", "prod")).is_ok());
    }

    #[tokio::test]
    async fn work_on_the_data_of_one_environment_is_ended_alone() {
        let data = Arc::new(DataUse::default());
        let [prod, staging] = ["prod", "staging"].map(|name| data.turn(place("shop", name)).unwrap());
        data.end_work(&place("shop", "none"));
        assert!(!prod.is_ended() && !staging.is_ended());
        data.end_work(&place("shop", "prod"));
        prod.ended().await;
        assert!(!staging.is_ended());
        drop(prod);
        assert!(!data.turn(place("shop", "prod")).unwrap().is_ended(), "what comes after a return is not ended");
    }

    #[test]
    fn nothing_starts_while_data_is_held_and_a_command_that_runs_keeps_it_from_being_held() {
        let data = Arc::new(DataUse::default());
        let shop = || place("shop", "prod");
        let command = data.enter(shop(), Use::Command).unwrap();
        assert!(matches!(data.state.lock().hold(&shop()), Err(Error::CommandRuns)));
        let users = [Use::Instance, Use::Running].map(|kind| data.enter(shop(), kind).unwrap());
        drop(command);
        data.state.lock().hold(&shop()).unwrap();
        assert!(data.enter(shop(), Use::Instance).is_err() && data.enter(shop(), Use::Command).is_err());
        assert!(data.enter(shop(), Use::Running).is_ok());
        assert!(data.enter(place("shop", "staging"), Use::Instance).is_ok());
        assert!(data.check(&"shop".parse().unwrap(), "prod").is_err());
        drop(users);
        assert!(data.state.lock().users.is_empty());
    }
}
