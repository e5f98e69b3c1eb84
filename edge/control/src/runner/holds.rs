//! Tracks the users of running instances, and ends a user's leftover processes once no instance needs the user.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use devanture_host::spawner::{SpawnError, Spawner};

/// Users in use.
pub(super) struct Holds {
    users: Mutex<HashMap<u32, User>>,
    changed: Notify,
    spawner: Spawner,
    runtime: Handle,
    /// Cancelled when the edge stops.
    stop: CancellationToken,
}

#[derive(Default)]
struct User {
    holds: usize,
    /// True while leftovers are being ended; no process starts meanwhile.
    is_ending: bool,
}

impl Holds {
    /// Must be called on the runtime that ends users.
    pub(super) fn new(spawner: Spawner, stop: CancellationToken) -> Arc<Self> {
        let (users, changed) = (Mutex::default(), Notify::new());
        Arc::new(Self { users, changed, spawner, runtime: Handle::current(), stop })
    }

    /// Holds a user for the lifetime of the result, after leftovers of earlier processes are gone. `None` is the edge's
    /// own user, which is never ended.
    pub(super) async fn hold(self: &Arc<Self>, uid: Option<u32>) -> UserHold {
        let Some(uid) = uid else { return UserHold(None) };
        loop {
            // Registered before the check, so that no change in between is missed.
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

    /// Waits until leftovers of a user are gone. Returns true if no process runs as the user.
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
        // A replaced spawner has already ended the user.
        match self.spawner.end_user(uid).await {
            Ok(()) | Err(SpawnError::Gone) => {}
            Err(error) => tracing::error!(uid, %error, "processes of an environment are left, and do not end"),
        }
        self.users.lock().remove(&uid);
        self.changed.notify_waiters();
    }
}

/// Running or starting process of a user.
pub(super) struct UserHold(Option<(u32, Arc<Holds>)>);

impl UserHold {
    /// Returns the user, if different from the edge's.
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
