//! Turns with a limit for all apps and a part per app: each query to a backend or to DNS takes a file descriptor, and
//! the queries of one app leave turns to every other app (law 11).

use std::sync::Arc;
use std::time::Duration;

use devanture_config::AppName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::KeyedSemaphore;

/// Concurrent queries of one kind, for all apps.
pub struct TurnsByApp {
    all: Arc<Semaphore>,
    by_app: KeyedSemaphore<AppName>,
}

/// Turns of one app.
#[derive(Clone)]
pub struct AppTurns {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// Right of an app to one query, returned on drop.
#[must_use = "it is the next one's turn once this is dropped"]
pub struct AppTurn {
    all: OwnedSemaphorePermit,
    own: OwnedSemaphorePermit,
    began: Instant,
}

impl TurnsByApp {
    /// Creates turns for `count_max` concurrent queries, of which one app gets one in `parts`, and at least one.
    #[must_use]
    pub fn new(count_max: usize, parts: usize) -> Self {
        let count_max = count_max.clamp(1, Semaphore::MAX_PERMITS);
        let of_app_max = count_max.checked_div(parts).unwrap_or(count_max).max(1);
        Self { all: Arc::new(Semaphore::new(count_max)), by_app: KeyedSemaphore::new(of_app_max) }
    }

    /// Returns the turns of one app, shared by all callers.
    #[must_use]
    pub fn of_app(&self, app: &AppName) -> AppTurns {
        AppTurns { all: Arc::clone(&self.all), own: self.by_app.of(app.clone()) }
    }

    /// Returns the apps that hold or await turns.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn apps(&self) -> Vec<AppName> {
        self.by_app.keys()
    }
}

impl AppTurns {
    /// Waits for a turn, after earlier waiters of the app. `None` never comes: no semaphore is closed.
    pub async fn take(&self) -> Option<AppTurn> {
        // The app's turn comes first: the app waits for a global turn with no more queries than permitted per app.
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(AppTurn { all, own, began: Instant::now() })
    }
}

impl AppTurn {
    /// Returns the turn to other apps at once, and to its own app once `pace` has passed since the start: an app with
    /// fast answers makes no more queries than the pace permits.
    pub async fn end_paced(self, pace: Duration) {
        let Self { all, own, began } = self;
        drop(all);
        sleep_until(began + pace).await;
        drop(own);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const PACE: Duration = Duration::from_millis(100);

    #[test]
    fn law_11_an_app_that_asks_much_leaves_turns_to_others() {
        let turns = TurnsByApp::new(16, 8);
        let of = |app: &str| turns.of_app(&app.parse().unwrap());
        let take = |turns: &AppTurns| turns.take().now_or_never().flatten();
        let (greedy, modest) = (of("greedy"), of("modest"));
        let mut taken: Vec<AppTurn> = std::iter::from_fn(|| take(&greedy)).collect();
        assert_eq!(taken.len(), 2);
        assert!(take(&of("greedy")).is_none(), "all pools of the app have the same turns");
        assert!(take(&modest).is_some());
        drop(taken.pop());
        assert!(take(&greedy).is_some());
        drop((taken, greedy, modest));
        let _other = of("other");
        assert_eq!(turns.apps().len(), 1, "who asks no more is forgotten");
    }

    #[test]
    fn many_apps_have_no_more_turns_than_there_are_and_one_has_one_at_least() {
        let turns = TurnsByApp::new(2, 8);
        let apps = ["one", "two", "three"].map(|app| turns.of_app(&app.parse().unwrap()));
        let mut taken: Vec<Option<AppTurn>> = apps.iter().map(|app| app.take().now_or_never().flatten()).collect();
        assert_eq!(taken.iter().flatten().count(), 2);
        taken.clear();
        assert!(apps.iter().all(|app| app.take().now_or_never().flatten().is_some()));
    }

    #[tokio::test]
    async fn a_paced_turn_is_free_for_others_at_once_and_for_its_app_later() {
        let turns = TurnsByApp::new(1, 8);
        let [own, other] = ["own", "other"].map(|app| turns.of_app(&app.parse().unwrap()));
        let began = Instant::now();
        let turn = own.take().await.unwrap();
        assert!(other.take().now_or_never().flatten().is_none());
        let (next, ()) = tokio::join!(
            async {
                drop(other.take().await);
                own.take().await
            },
            turn.end_paced(PACE)
        );
        assert!(next.is_some() && began.elapsed() >= PACE);
    }
}
