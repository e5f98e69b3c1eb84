//! Keeps the processes of an environment from its data: while the data is replaced, and one piece of work at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::AppName;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::runner::error::Error;
use crate::runner::group::Group;
use crate::runner::persisted::Place;
use crate::runner::shared::{Shared, ms};

/// Most pieces of work on the data of all environments at once.
const TURNS_MAX: usize = 8;
/// Time beyond the limits of an instance in which its processes end.
const END_SLACK: Duration = Duration::from_secs(10);

/// Who uses the data of environments.
#[derive(Default)]
pub(in crate::runner) struct DataUse {
    state: Mutex<State>,
    left: Notify,
}

#[derive(Default)]
struct State {
    /// Environments whose data is worked on.
    turns: BTreeSet<Place>,
    /// Environments of which nothing may start.
    held: BTreeSet<Place>,
    /// Processes that run, or are about to.
    users: BTreeMap<Place, usize>,
}

/// A process of an environment runs for as long as this lives.
pub(in crate::runner) struct DataUser {
    of: Arc<DataUse>,
    place: Place,
}

impl Drop for DataUser {
    fn drop(&mut self) {
        let mut state = self.of.state.lock();
        let is_last = state.users.get_mut(&self.place).is_none_or(|count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
        if is_last {
            state.users.remove(&self.place);
        }
        drop(state);
        self.of.left.notify_waiters();
    }
}

/// The one piece of work on the data of an environment.
pub(super) struct Turn {
    of: Arc<DataUse>,
    place: Place,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.state.lock().turns.remove(&self.place);
    }
}

/// Nothing of an environment runs for as long as this lives.
pub(super) struct Hold {
    shared: Arc<Shared>,
    place: Place,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.data_use.state.lock().held.remove(&self.place);
        for slot in self.shared.groups_using(&self.place).iter().flat_map(|group| group.slots()) {
            slot.begin_anew();
            // Also where it is about to wait.
            slot.kick.notify_one();
        }
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

    /// Begins a process; `is_running` is one that the edge before has begun.
    pub(in crate::runner) fn enter(self: &Arc<Self>, place: Place, is_running: bool) -> Result<DataUser, Error> {
        let mut state = self.state.lock();
        if state.held.contains(&place) && !is_running {
            return Err(Error::DataReplaced);
        }
        let count = state.users.entry(place.clone()).or_default();
        *count = count.saturating_add(1);
        Ok(DataUser { of: Arc::clone(self), place })
    }

    /// Begins a piece of work.
    ///
    /// # Errors
    /// [`Error::DataBusy`].
    pub(super) fn turn(self: &Arc<Self>, place: Place) -> Result<Turn, Error> {
        let mut state = self.state.lock();
        if state.turns.len() >= TURNS_MAX || !state.turns.insert(place.clone()) {
            return Err(Error::DataBusy);
        }
        Ok(Turn { of: Arc::clone(self), place })
    }
}

impl Shared {
    fn groups_using(&self, (app, settings_place): &Place) -> Vec<Arc<Group>> {
        let is_meant = |group: &Arc<Group>| group.id.app == *app && group.settings_place == *settings_place;
        self.all_groups().into_iter().filter(is_meant).collect()
    }

    /// Ends the processes of an environment, after their requests in flight, and keeps them from being started again.
    ///
    /// # Errors
    /// [`Error::DataBusy`] where they do not end in time.
    pub(super) async fn hold_data(self: &Arc<Self>, place: Place) -> Result<Hold, Error> {
        self.data_use.state.lock().held.insert(place.clone());
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
            // Again and again: one may have been about to begin.
            for slot in self.groups_using(&hold.place).iter().flat_map(|group| group.slots()) {
                slot.over_quota.notify_waiters();
            }
            timeout_at(until.min(Instant::now() + ms(100)), left).await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_worked_on_once_at_a_time_and_nothing_starts_while_it_is_held() {
        let place = |name: &str| ("shop".parse().unwrap(), name.to_owned());
        let data = Arc::new(DataUse::default());
        let turn = data.turn(place("prod")).unwrap();
        assert!(data.turn(place("prod")).is_err());
        let others: Vec<Turn> = (1..TURNS_MAX).map(|number| data.turn(place(&format!("e{number}"))).unwrap()).collect();
        assert!(data.turn(place("one-too-many")).is_err());
        drop((turn, others));
        assert!(data.turn(place("prod")).is_ok());
        let users = [false, true].map(|is_running| data.enter(place("prod"), is_running).unwrap());
        data.state.lock().held.insert(place("prod"));
        assert!(data.enter(place("prod"), false).is_err() && data.enter(place("staging"), false).is_ok());
        assert!(data.check(&"shop".parse().unwrap(), "prod").is_err());
        drop(users);
        assert!(data.state.lock().users.is_empty());
    }
}
