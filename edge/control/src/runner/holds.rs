//! Tracks which instances run as which user, and ends leftovers of a user once nothing of it is to run.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use devanture_host::spawner::{SpawnError, Spawner};

/// The users that something runs as now.
pub(super) struct Holds {
    users: Mutex<HashMap<u32, User>>,
    changed: Notify,
    spawner: Spawner,
    runtime: Handle,
    /// The edge is shutting down.
    stop: CancellationToken,
}

#[derive(Default)]
struct User {
    holds: usize,
    /// Its leftovers are being ended, and nothing is started meanwhile.
    is_ending: bool,
}

impl Holds {
    /// Must be called on the runtime on which users are ended.
    pub(super) fn new(spawner: Spawner, stop: CancellationToken) -> Arc<Self> {
        let (users, changed) = (Mutex::default(), Notify::new());
        Arc::new(Self { users, changed, spawner, runtime: Handle::current(), stop })
    }

    /// Has a user for as long as what is given lives, after what it left before is gone; without a user, the edge's own
    /// is meant, which is never ended.
    pub(super) async fn hold(self: &Arc<Self>, uid: Option<u32>) -> UserHold {
        let Some(uid) = uid else { return UserHold(None) };
        loop {
            // Before it is looked: a change in between is not missed.
            let changed = self.changed.notified();
            {
                let mut users = self.users.lock();
                let user = users.entry(uid).or_default();
                if !user.is_ending {
                    user.holds += 1;
                    return UserHold(Some((uid, Arc::clone(self))));
                }
            }
            changed.await;
        }
    }

    /// Waits until what a user left is gone; says whether nothing runs as it.
    pub(super) async fn is_free(&self, uid: u32) -> bool {
        loop {
            let changed = self.changed.notified();
            match self.users.lock().get(&uid) {
                None => return true,
                Some(user) if !user.is_ending => return false,
                Some(_) => {}
            }
            changed.await;
        }
    }

    async fn end(self: Arc<Self>, uid: u32) {
        // A spawner that died meanwhile has been replaced by one that ended the user first.
        match self.spawner.end_user(uid).await {
            Ok(()) | Err(SpawnError::Gone) => {}
            Err(error) => tracing::error!(uid, %error, "processes of an environment are left, and do not end"),
        }
        self.users.lock().remove(&uid);
        self.changed.notify_waiters();
    }
}

/// Something that runs as a user, or is about to.
pub(super) struct UserHold(Option<(u32, Arc<Holds>)>);

impl UserHold {
    /// The user, where it is another than the edge's.
    pub(super) fn uid(&self) -> Option<u32> {
        self.0.as_ref().map(|(uid, _)| *uid)
    }
}

impl Drop for UserHold {
    fn drop(&mut self) {
        let Some((uid, holds)) = self.0.take() else { return };
        {
            let mut users = holds.users.lock();
            let Some(user) = users.get_mut(&uid) else { return };
            user.holds = user.holds.saturating_sub(1);
            if user.holds > 0 {
                return;
            }
            if holds.stop.is_cancelled() {
                // The spawner ends all users at once.
                users.remove(&uid);
                return;
            }
            user.is_ending = true;
        }
        let runtime = holds.runtime.clone();
        runtime.spawn(holds.end(uid));
    }
}
