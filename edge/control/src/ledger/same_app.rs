//! Identity of an app during a wait: a later app of the same name has a new owner.

use devanture_config::AppName;
use devanture_config::problem::{Code, Problem};

use super::Error;
use devanture_store::catalog::{Catalog, Check, Revision};
use devanture_store::records::{self, AppRecord};

/// App as found when a change was permitted.
///
/// A change that waits before its commit holds this value: meanwhile the app may be purged, and its name taken by a new
/// owner. The deletion check of each commit would not notice, since the new app is not deleted.
#[derive(Debug, Clone)]
pub(crate) struct SameApp {
    app: AppName,
    made_ms: u64,
}

impl SameApp {
    /// Returns the app that currently has the name; `None` without one.
    pub(crate) async fn find(catalog: &dyn Catalog, app: &AppName) -> Result<Option<Self>, Error> {
        Ok(made(catalog, app).await?.map(|(_, made_ms)| Self::made_at(app, made_ms)))
    }

    /// Returns an app found before, by its creation time in milliseconds since 1970 UTC.
    pub(crate) fn made_at(app: &AppName, made_ms: u64) -> Self {
        Self { app: app.clone(), made_ms }
    }

    /// Returns a check that the app is the same at the commit. Each attempt reads the record again, since other changes
    /// also write the record.
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

/// Returns the revision of an app's record, and the creation time in milliseconds since 1970 UTC; 0 for a damaged
/// record.
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
