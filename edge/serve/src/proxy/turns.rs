//! Turns of what is asked of backends and of DNS: each question takes a file descriptor, and those of one app
//! leave turns to every other (law 11).

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use devanture_config::AppName;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// Of the questions that may be under way at once, an app has one in so many.
const SHARES: usize = 8;
/// For how long a paced turn counts for its app, however soon it is answered: an app whose backends refuse at once
/// floods nobody with connections.
const PACE: Duration = Duration::from_millis(100);

/// The questions of one kind that may be under way at once, of all apps.
pub struct Turns {
    all: Arc<Semaphore>,
    of_app_max: usize,
    /// Of the apps that have pools, or publish.
    of_app: Mutex<HashMap<AppName, Weak<Semaphore>>>,
}

/// The turns of one app.
#[derive(Clone)]
pub struct AppTurns {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// The right to one question, given back when it is dropped.
#[must_use = "it is the next one's turn once this is dropped"]
pub struct Turn {
    all: OwnedSemaphorePermit,
    own: OwnedSemaphorePermit,
    began: Instant,
}

impl Turns {
    /// So many at once, of one app an eighth and at least one.
    pub fn new(count_max: usize) -> Self {
        let count_max = count_max.clamp(1, Semaphore::MAX_PERMITS);
        let all = Arc::new(Semaphore::new(count_max));
        Self { all, of_app_max: (count_max / SHARES).max(1), of_app: Mutex::default() }
    }

    /// The turns of one app, shared by all that ask for them.
    #[must_use]
    pub fn of_app(&self, app: &AppName) -> AppTurns {
        let mut of_app = self.of_app.lock();
        let known = of_app.get(app).and_then(Weak::upgrade);
        let own = known.unwrap_or_else(|| {
            of_app.retain(|_, turns| turns.strong_count() > 0);
            let own = Arc::new(Semaphore::new(self.of_app_max));
            of_app.insert(app.clone(), Arc::downgrade(&own));
            own
        });
        AppTurns { all: Arc::clone(&self.all), own }
    }
}

impl AppTurns {
    /// Waits for a turn, behind those of the app that wait already. `None` never comes: no semaphore is closed.
    pub async fn take(&self) -> Option<Turn> {
        // The app's own come first: it waits for one of all with no more questions than it may have under way.
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Turn { all, own, began: Instant::now() })
    }
}

impl Turn {
    /// Gives the turn back to other apps at once, and to its own app when the pace allows it.
    pub(super) async fn end_paced(self) {
        let Self { all, own, began } = self;
        drop(all);
        sleep_until(began + PACE).await;
        drop(own);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn law_11_an_app_that_asks_much_leaves_turns_to_others() {
        let turns = Turns::new(16);
        let of = |app: &str| turns.of_app(&app.parse().unwrap());
        let take = |turns: &AppTurns| turns.take().now_or_never().flatten();
        let (greedy, modest) = (of("greedy"), of("modest"));
        let mut taken: Vec<Turn> = std::iter::from_fn(|| take(&greedy)).collect();
        assert_eq!(taken.len(), 2);
        assert!(take(&of("greedy")).is_none(), "all pools of the app have the same turns");
        assert!(take(&modest).is_some());
        drop(taken.pop());
        assert!(take(&greedy).is_some());
        drop((taken, greedy, modest));
        let _other = of("other");
        assert_eq!(turns.of_app.lock().len(), 1, "who asks no more is forgotten");
    }

    #[test]
    fn many_apps_have_no_more_turns_than_there_are_and_one_has_one_at_least() {
        let turns = Turns::new(2);
        let apps = ["one", "two", "three"].map(|app| turns.of_app(&app.parse().unwrap()));
        let mut taken: Vec<Option<Turn>> = apps.iter().map(|app| app.take().now_or_never().flatten()).collect();
        assert_eq!(taken.iter().flatten().count(), 2);
        taken.clear();
        assert!(apps.iter().all(|app| app.take().now_or_never().flatten().is_some()));
    }

    #[tokio::test]
    async fn a_paced_turn_is_free_for_others_at_once_and_for_its_app_later() {
        let turns = Turns::new(1);
        let [own, other] = ["own", "other"].map(|app| turns.of_app(&app.parse().unwrap()));
        let began = Instant::now();
        let turn = own.take().await.unwrap();
        assert!(other.take().now_or_never().flatten().is_none());
        let (next, ()) = tokio::join!(
            async {
                drop(other.take().await);
                own.take().await
            },
            turn.end_paced()
        );
        assert!(next.is_some() && began.elapsed() >= PACE);
    }
}
