//! Removes the leftovers of ended environments and apps on the machine, so that their user ids can be reused.

use std::path::PathBuf;
use std::sync::Arc;

use devanture_config::{AppName, PlaceName};
use tokio::time::Instant;

use super::error::Error;
use super::handle::Runner;
use super::place_user::PlaceUser;
use super::shared::Shared;
use super::users::Users;
use devanture_host::spawner::has_ipc_objects;

/// Folders in which any process may leave files.
const SHARED: [&str; 5] = ["/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock"];

impl Runner {
    /// Waits, up to a deadline, until no backend of an app or environment runs. `preview` stands for all previews.
    pub async fn wait_until_ended(&self, app: &AppName, environment: Option<&PlaceName>, until: Instant) {
        let shared = &self.0;
        let is_meant = |place: &str| environment.is_none_or(|environment| environment.as_str() == place);
        loop {
            let groups = shared.all_groups();
            let Some(group) = groups.iter().find(|group| group.id.app == *app && is_meant(&group.settings_place))
            else {
                return;
            };
            let mut changes = group.changes();
            // A group removed before the subscription reports no further change.
            if !shared.all_groups().iter().any(|other| Arc::ptr_eq(other, group)) {
                continue;
            }
            if tokio::time::timeout_at(until, changes.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Removes the data of a deleted and no longer restorable app or environment. Returns the environments, including
    /// `preview`, whose users have neither processes nor files left.
    ///
    /// # Errors
    /// [`Error::Folder`], also while instances run.
    pub async fn forget(&self, app: &AppName, environment: Option<&PlaceName>) -> Result<Vec<String>, Error> {
        let shared = &self.0;
        let is_meant = |place: &str| environment.is_none_or(|environment| environment.as_str() == place);
        if shared.all_groups().iter().any(|group| group.id.app == *app && is_meant(&group.settings_place)) {
            return Err(Error::Folder(format!("backends of {app} run")));
        }
        let mut users = shared.users.all(&*shared.catalog).await?;
        users.retain(|user| user.app == *app && is_meant(&user.place));
        for user in &users {
            shared.end_user(user).await?;
        }
        shared.logs.forget(app, environment).await;
        shared.forget_temporary(app, environment);
        shared.folders.forget(app, environment).await?;
        let mut clean = Vec::new();
        for user in users {
            if shared.is_clean(&user).await {
                clean.push(user.place);
            }
        }
        Ok(clean)
    }
}

impl Shared {
    /// Ends all processes of a user, and empties folders accessible only to the user.
    async fn end_user(&self, user: &PlaceUser) -> Result<(), Error> {
        if self.stop.is_cancelled() {
            // No process runs, and no process can be started as the user.
            return Ok(());
        }
        if !self.holds.is_free(user.uid).await {
            return Err(Error::Folder(format!("something runs as the user of {} of {}", user.place, user.app)));
        }
        let failed = |error: devanture_host::spawner::SpawnError| Error::Folder(error.to_string());
        self.spawner.end_user(user.uid).await.map_err(failed)?;
        if matches!(self.users, Users::Lent(_)) {
            let folders = self.folders.made_by(user);
            self.spawner.empty_folders(user.uid, folders).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Returns true if a user has no files elsewhere on the machine.
    async fn is_clean(&self, user: &PlaceUser) -> bool {
        if self.stop.is_cancelled() {
            return false;
        }
        let folders = SHARED.map(PathBuf::from).to_vec();
        if let Err(error) = self.spawner.leave_shared(user.uid, folders).await {
            tracing::warn!(uid = user.uid, %error, "a user id is not given again: files of it are left");
            return false;
        }
        if has_ipc_objects(user.uid) {
            tracing::warn!(
                uid = user.uid,
                "a user id is not given again: objects of System V IPC are left, see ipcs(1)"
            );
            return false;
        }
        true
    }
}
