//! Temporary files of instances: a folder for each environment, below which the spawner gives each instance its own.

use std::path::{Path, PathBuf};

use super::error::Error;
use super::shared::Shared;
use super::users::Users;
use crate::durable;
use crate::spawner::Temporary;

impl Shared {
    /// The folder for temporary files of an environment, which belongs to its user. The first time that this run of the
    /// edge needs it, what an earlier run left in it is removed.
    pub(super) async fn temporary_folder(&self, path: &Path, uid: Option<u32>) -> Result<PathBuf, Error> {
        let mut known = self.temporary_folders.lock().await;
        let is_new = known.insert(path.to_owned());
        let remover = self.remover(uid);
        if is_new && remover.is_none() {
            remove(path.to_owned()).await;
        }
        let own = self.own_folder(path, uid).await?;
        if let Some(uid) = remover.filter(|_| is_new && !self.spawner.means().private_folders) {
            let emptied = self.spawner.empty_folders(uid, vec![own.clone()]).await;
            emptied.map_err(|error| Error::Folder(format!("{}: {error}", own.display())))?;
        }
        Ok(own)
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
            None => remove(temporary.own()).await,
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

async fn remove(folder: PathBuf) {
    let removed = tokio::task::spawn_blocking(move || durable::remove_folder(&folder)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(%error, "temporary files of an instance cannot be removed");
    }
}
