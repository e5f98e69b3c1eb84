//! Temporary folders already emptied by the edge process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// Temporary folders of environments, each emptied once before its first use by the edge process.
#[derive(Default)]
pub(super) struct TemporaryFolders(Mutex<HashMap<PathBuf, Arc<OnceCell<()>>>>);

impl TemporaryFolders {
    /// Starts with the folders of the predecessor edge, which contain files of instances.
    pub(super) fn in_use(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        let used = folders.into_iter().map(|folder| (folder, Arc::new(OnceCell::new_with(Some(())))));
        Self(Mutex::new(used.collect()))
    }

    /// Returns the folders that are empty or in use, except folders being emptied, without waiting.
    pub(super) fn emptied(&self) -> Vec<PathBuf> {
        let folders = self.0.lock();
        folders.iter().filter(|(_, emptied)| emptied.initialized()).map(|(folder, _)| folder.clone()).collect()
    }

    /// Empties a folder by `empty`, once. Callers wait only for the same folder; after a failure, the next caller
    /// retries.
    pub(super) async fn once<E>(&self, folder: &Path, empty: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        let emptied = Arc::clone(self.0.lock().entry(folder.to_owned()).or_default());
        emptied.get_or_try_init(|| empty).await?;
        Ok(())
    }

    /// Forgets all folders below the given ones.
    pub(super) fn forget(&self, folders: &[PathBuf]) {
        self.0.lock().retain(|known, _| !folders.iter().any(|folder| known.starts_with(folder)));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::runner::error::Error;

    fn folders(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    fn emptied(folders: &TemporaryFolders) -> Vec<PathBuf> {
        let mut emptied = folders.emptied();
        emptied.sort();
        emptied
    }

    /// Empties a folder without waiting; returns true if not emptied before.
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
        // The next edge empties unfinished folders again.
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

    #[test]
    fn folders_of_what_is_gone_are_forgotten_and_no_others() {
        let all = ["tmp/shop--preview/preview", "tmp/shop/prod", "tmp/shop/staging", "tmp/shopping/prod"];
        let known = TemporaryFolders::in_use(folders(&all));
        known.forget(&folders(&["tmp/shop/staging"]));
        assert_eq!(emptied(&known), folders(&["tmp/shop/prod", "tmp/shop--preview/preview", "tmp/shopping/prod"]));
        // Named like the folders of a whole app.
        known.forget(&folders(&["tmp/shop/", "tmp/shop--preview/preview"]));
        assert_eq!(emptied(&known), folders(&["tmp/shopping/prod"]));
        assert!(is_new(&known, "tmp/shop/prod"));
    }
}
