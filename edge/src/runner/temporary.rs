//! Temporary files of instances: a folder for each environment, below which the spawner gives each instance its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devanture_config::{AppName, PlaceName};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::error::Error;
use super::place_user::PREVIEW;
use super::shared::Shared;
use super::users::Users;
use crate::durable;
use crate::spawner::Temporary;

/// Folders for temporary files of environments, each of which is emptied once before this run of the edge uses it.
#[derive(Default)]
pub(super) struct TemporaryFolders(Mutex<HashMap<PathBuf, Arc<OnceCell<()>>>>);

impl TemporaryFolders {
    /// Those that the edge before used: instances have files in them.
    pub(super) fn in_use(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        let used = folders.into_iter().map(|folder| (folder, Arc::new(OnceCell::new_with(Some(())))));
        Self(Mutex::new(used.collect()))
    }

    /// Those that are empty or in use. One that is just being emptied is not among them, and nobody waits for it.
    pub(super) fn emptied(&self) -> Vec<PathBuf> {
        let folders = self.0.lock();
        folders.iter().filter(|(_, emptied)| emptied.initialized()).map(|(folder, _)| folder.clone()).collect()
    }

    /// Has a folder emptied by `empty`, unless that was done. Only those who need the same folder wait for it; where it
    /// fails, the next one tries again.
    async fn once<E>(&self, folder: &Path, empty: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        let emptied = Arc::clone(self.0.lock().entry(folder.to_owned()).or_default());
        emptied.get_or_try_init(|| empty).await?;
        Ok(())
    }

    /// Forgets all below these folders.
    fn forget(&self, folders: &[PathBuf]) {
        self.0.lock().retain(|known, _| !folders.iter().any(|folder| known.starts_with(folder)));
    }
}

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
    use futures_util::FutureExt as _;

    use super::*;

    fn folders(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    fn emptied(folders: &TemporaryFolders) -> Vec<PathBuf> {
        let mut emptied = folders.emptied();
        emptied.sort();
        emptied
    }

    /// Has a folder emptied without a wait; says whether it was emptied only now.
    fn is_new(known: &TemporaryFolders, folder: &str) -> bool {
        let mut is_new = false;
        let empty = async {
            is_new = true;
            Ok::<_, Error>(())
        };
        known.once(Path::new(folder), empty).now_or_never().unwrap().unwrap();
        is_new
    }

    #[tokio::test]
    async fn a_folder_that_is_slow_to_empty_holds_up_neither_others_nor_a_takeover() {
        let known = TemporaryFolders::in_use(folders(&["tmp/game/prod"]));
        let (done, wait) = tokio::sync::oneshot::channel::<()>();
        let slow = known.once(Path::new("tmp/shop/prod"), wait.map(|_done| Ok::<_, Error>(())));
        tokio::pin!(slow);
        assert!(slow.as_mut().now_or_never().is_none());
        assert!(is_new(&known, "tmp/blog/prod"));
        // The next edge empties again what is not empty yet.
        assert_eq!(emptied(&known), folders(&["tmp/blog/prod", "tmp/game/prod"]));
        done.send(()).unwrap();
        slow.await.unwrap();
        assert_eq!(known.emptied().len(), 3);
        assert!(!is_new(&known, "tmp/shop/prod") && !is_new(&known, "tmp/game/prod"));
    }

    #[test]
    fn a_folder_that_could_not_be_emptied_is_emptied_the_next_time() {
        let known = TemporaryFolders::default();
        let fails = async { Err(Error::Folder("a full disk".to_owned())) };
        assert!(known.once(Path::new("tmp/shop/prod"), fails).now_or_never().unwrap().is_err());
        assert!(known.emptied().is_empty());
        assert!(is_new(&known, "tmp/shop/prod") && !is_new(&known, "tmp/shop/prod"));
    }

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

    #[test]
    fn folders_of_what_is_gone_are_forgotten_and_no_others() {
        let all = ["tmp/shop--preview/preview", "tmp/shop/prod", "tmp/shop/staging", "tmp/shopping/prod"];
        let known = TemporaryFolders::in_use(folders(&all));
        known.forget(&folders(&["tmp/shop/staging"]));
        assert_eq!(emptied(&known), folders(&["tmp/shop/prod", "tmp/shop--preview/preview", "tmp/shopping/prod"]));
        // As the folders of a whole app are named.
        known.forget(&folders(&["tmp/shop/", "tmp/shop--preview/preview"]));
        assert_eq!(emptied(&known), folders(&["tmp/shopping/prod"]));
        assert!(is_new(&known, "tmp/shop/prod"));
    }
}
