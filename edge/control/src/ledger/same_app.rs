//! The app that a change is for, through a wait: another app of its name is somebody else's.

use devanture_config::AppName;
use devanture_config::problem::{Code, Problem};

use super::Error;
use devanture_store::catalog::{Catalog, Check, Revision};
use devanture_store::records::{self, AppRecord};

/// An app as it was when somebody was let change it.
///
/// A change that waits before its commit holds this: the app may be deleted for good meanwhile, and another one of its
/// name be made by somebody else. That it is not deleted, which each commit checks, is true of that one, too.
#[derive(Debug, Clone)]
pub(crate) struct SameApp {
    app: AppName,
    made_ms: u64,
}

impl SameApp {
    /// The app that has this name now; `None` without one.
    pub(crate) async fn find(catalog: &dyn Catalog, app: &AppName) -> Result<Option<Self>, Error> {
        Ok(made(catalog, app).await?.map(|(_, made_ms)| Self::made_at(app, made_ms)))
    }

    /// The app that was made at that time, in milliseconds since 1970 UTC, as it was found before.
    pub(crate) fn made_at(app: &AppName, made_ms: u64) -> Self {
        Self { app: app.clone(), made_ms }
    }

    /// The check that the app is the same when a commit is made. Each attempt reads it again, since other changes write
    /// the record of an app, too.
    ///
    /// # Errors
    /// `deleted`.
    pub(crate) async fn check(&self, catalog: &dyn Catalog) -> Result<Check, Error> {
        match made(catalog, &self.app).await? {
            Some((revision, made_ms)) if made_ms == self.made_ms => {
                Ok(Check::At(records::app_key(&self.app), revision))
            }
            _ => {
                let detail = format!("The app {} was deleted for good while this was under way.", self.app);
                Err(Problem::new(Code::Deleted, detail).hint("another app may have its name by now").into())
            }
        }
    }
}

/// The revision of an app's record, and when the app was made, in milliseconds since 1970 UTC; 0 if it is damaged.
pub(super) async fn made(catalog: &dyn Catalog, app: &AppName) -> Result<Option<(Revision, u64)>, Error> {
    let key = records::app_key(app);
    let record = catalog.get(&key).await?;
    Ok(record.map(|record| (record.revision, AppRecord::made_ms(&key, &record))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_store::catalog::{self, Change, Commit};

    #[tokio::test]
    async fn an_app_that_is_written_again_is_the_same_and_another_one_of_its_name_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let app: AppName = "shop".parse().unwrap();
        assert!(SameApp::find(&*catalog, &app).await.unwrap().is_none());
        let write = async |created_ms: Option<u64>| {
            let key = records::app_key(&app);
            let record = |created_ms| records::write(&AppRecord { created_ms, who: "ada".to_owned() }).unwrap();
            let change = match created_ms {
                Some(created_ms) => Change::Put(key, record(created_ms)),
                None => Change::Delete(key),
            };
            catalog.commit(Commit { checks: Vec::new(), changes: vec![change] }).await.unwrap()
        };
        write(Some(1)).await;
        let same = SameApp::find(&*catalog, &app).await.unwrap().unwrap();
        let at = write(Some(1)).await;
        assert_eq!(same.check(&*catalog).await.unwrap(), Check::At(records::app_key(&app), at));
        for other in [None, Some(2)] {
            write(other).await;
            assert_eq!(same.check(&*catalog).await.unwrap_err().0.code, Code::Deleted, "{other:?}");
        }
    }
}
