//! Temporary files of instances: a folder per environment, in which the spawner gives each instance its own.

use std::path::{Path, PathBuf};

use devanture_config::{AppName, PlaceName};

use super::error::Error;
use super::place_user::PREVIEW;
use super::shared::Shared;
use super::users::Users;
use devanture_base::durable;
use devanture_host::spawner::Temporary;

impl Shared {
    /// Returns the temporary folder of an environment, owned by its user. The first use by an edge process removes
    /// leftovers of earlier processes.
    pub(super) async fn temporary_folder(&self, path: &Path, uid: Option<u32>) -> Result<PathBuf, Error> {
        self.temporary_folders.once(path, self.empty(path, uid)).await?;
        self.own_folder(path, uid).await
    }

    /// Creates the empty temporary folder of an environment.
    async fn empty(&self, path: &Path, uid: Option<u32>) -> Result<(), Error> {
        let remover = self.remover(uid);
        if remover.is_none() {
            // Renamed first: in a takeover the next edge may use the folder before the removal completes.
            remove(path.to_owned(), Some(self.folders.aside())).await;
        }
        let own = self.own_folder(path, uid).await?;
        if let Some(uid) = remover.filter(|_| !self.spawner.means().private_folders) {
            let emptied = self.spawner.empty_folders(uid, vec![own.clone()]).await;
            emptied.map_err(|error| Error::Folder(format!("{}: {error}", own.display())))?;
        }
        Ok(())
    }

    /// Forgets the temporary folders of an app or environment before their removal.
    pub(super) fn forget_temporary(&self, app: &AppName, environment: Option<&PlaceName>) {
        let folders = match environment {
            Some(environment) => vec![self.folders.temporary(app, environment.as_str())],
            None => ["", PREVIEW].map(|place| self.folders.temporary(app, place)).to_vec(),
        };
        self.temporary_folders.forget(&folders);
    }

    /// Returns the temporary files' location of a process about to start, below the folder of its environment.
    pub(super) fn temporary(folder: &Path) -> Temporary {
        Temporary { folder: folder.to_owned(), name: format!("{:016x}", rand::random::<u64>()) }
    }

    /// Removes the temporary files of an ended process, unless removed by the kernel.
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

    /// Returns the user that removes its own files, if the edge lacks the right.
    fn remover(&self, uid: Option<u32>) -> Option<u32> {
        uid.filter(|_| matches!(self.users, Users::Lent(_)))
    }
}

/// Removes a folder, renamed to `aside` first if possible.
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
        // In place, if the folder cannot be moved.
        for other in [aside.clone(), root.path().join("nowhere/aside")] {
            durable::make_folder(&folder.join("left")).unwrap();
            remove(folder.clone(), Some(other.clone())).await;
            assert!(!folder.exists() && !other.exists());
        }
        // A missing folder is no error.
        remove(folder, Some(aside.clone())).await;
        assert!(!aside.exists());
    }
}
