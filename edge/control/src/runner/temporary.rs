//! Temporary files of instances: a folder for each environment, below which the spawner gives each instance its own.

use std::path::{Path, PathBuf};

use devanture_config::{AppName, PlaceName};

use super::error::Error;
use super::place_user::PREVIEW;
use super::shared::Shared;
use super::users::Users;
use devanture_base::durable;
use devanture_host::spawner::Temporary;

impl Shared {
    /// The folder for temporary files of an environment, which belongs to its user. The first time that this run of the
    /// edge needs it, what an earlier run left in it is removed.
    pub(super) async fn temporary_folder(&self, path: &Path, uid: Option<u32>) -> Result<PathBuf, Error> {
        self.temporary_folders.once(path, self.empty(path, uid)).await?;
        self.own_folder(path, uid).await
    }

    /// Makes the folder for temporary files of an environment, with nothing of an earlier run in it.
    async fn empty(&self, path: &Path, uid: Option<u32>) -> Result<(), Error> {
        let remover = self.remover(uid);
        if remover.is_none() {
            // Under another name: in a takeover the next edge may use the folder before all of it is gone.
            remove(path.to_owned(), Some(self.folders.aside())).await;
        }
        let own = self.own_folder(path, uid).await?;
        if let Some(uid) = remover.filter(|_| !self.spawner.means().private_folders) {
            let emptied = self.spawner.empty_folders(uid, vec![own.clone()]).await;
            emptied.map_err(|error| Error::Folder(format!("{}: {error}", own.display())))?;
        }
        Ok(())
    }

    /// Forgets the folders for temporary files of an app, or of one environment of it, before they are removed.
    pub(super) fn forget_temporary(&self, app: &AppName, environment: Option<&PlaceName>) {
        let folders = match environment {
            Some(environment) => vec![self.folders.temporary(app, environment.as_str())],
            None => ["", PREVIEW].map(|place| self.folders.temporary(app, place)).to_vec(),
        };
        self.temporary_folders.forget(&folders);
    }

    /// Where the temporary files of a process go that is about to be launched, below the folder of its environment.
    pub(super) fn temporary(folder: &Path) -> Temporary {
        Temporary { folder: folder.to_owned(), name: format!("{:016x}", rand::random::<u64>()) }
    }

    /// Removes the temporary files of a process that has ended, unless the kernel has done so.
    pub(super) async fn remove_temporary(&self, temporary: &Temporary, uid: Option<u32>) {
        if self.spawner.means().private_folders {
            return;
        }
        match self.remover(uid) {
            None => remove(temporary.own(), None).await,
            Some(uid) => {
                if let Err(error) = self.spawner.remove_folder(uid, temporary.own()).await {
                    tracing::warn!(%error, "temporary files of an instance cannot be removed");
                }
            }
        }
    }

    /// The user that removes its own files, where the edge may not.
    fn remover(&self, uid: Option<u32>) -> Option<u32> {
        uid.filter(|_| matches!(self.users, Users::Lent(_)))
    }
}

/// Removes a folder, under the name `aside` where it can be given that.
async fn remove(folder: PathBuf, aside: Option<PathBuf>) {
    let remove = move || {
        let moved = aside.filter(|aside| durable::move_folder(&folder, aside).is_ok());
        durable::remove_folder(moved.as_ref().unwrap_or(&folder))
    };
    let removed = tokio::task::spawn_blocking(remove).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(%error, "temporary files of an instance cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_earlier_run_left_is_removed_under_another_name() {
        let root = tempfile::tempdir().unwrap();
        let (folder, aside) = (root.path().join("folder"), root.path().join("aside"));
        // Or where it is, if it cannot be moved.
        for other in [aside.clone(), root.path().join("nowhere/aside")] {
            durable::make_folder(&folder.join("left")).unwrap();
            remove(folder.clone(), Some(other.clone())).await;
            assert!(!folder.exists() && !other.exists());
        }
        // One that is not there is no mistake.
        remove(folder, Some(aside.clone())).await;
        assert!(!aside.exists());
    }
}
