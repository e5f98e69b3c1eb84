//! Known apps and their creation times, to detect ended apps: the next app of the same name has a new owner.

use std::collections::HashMap;
use std::sync::Arc;

use devanture_config::AppName;

use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{Catalog, Error, Record, Revision};
use devanture_store::records::follow::FollowedChange;
use devanture_store::records::table::RecordKind;
use devanture_store::records::{self, AppRecord};

/// Apps by name, each with its creation time in milliseconds since 1970 UTC.
#[derive(Default)]
pub(super) struct MadeApps {
    made_ms: HashMap<AppName, u64>,
}

impl MadeApps {
    /// Takes note of a change. Returns the app that ended by it: its record was deleted, or is another app's, as where
    /// this node was behind and hears of both commits as one change.
    pub(super) fn note(&mut self, change: &FollowedChange) -> Option<AppName> {
        let app = change.app().filter(|_| change.kind == RecordKind::App)?;
        let Some(value) = &change.value else {
            self.made_ms.remove(&app);
            return Some(app);
        };
        let made_ms = AppRecord::made_ms(&change.key, &Record { value: Arc::clone(value), revision: 0 });
        let before = self.made_ms.insert(app.clone(), made_ms);
        before.is_some_and(|before| before != made_ms).then_some(app)
    }

    /// Reads all apps after missed commits. Returns the ended apps, each with a revision; everything in the app from
    /// before the revision belongs to its former owner.
    ///
    /// # Errors
    /// Errors of the catalog; the known state stays.
    pub(super) async fn read(&mut self, catalog: &dyn Catalog) -> Result<Vec<(AppName, Revision)>, Error> {
        let mut found = HashMap::new();
        let mut apps = Scan::new(catalog, records::APPS_PREFIX);
        while let Some((key, record)) = apps.next().await? {
            if let Some(app) = app_of(&key) {
                found.insert(app, (AppRecord::made_ms(&key, &record), record.revision));
            }
        }
        let ended = self.made_ms.iter().filter_map(|(app, before)| match found.get(app) {
            None => Some((app.clone(), Revision::MAX)),
            Some((made_ms, revision)) => (made_ms != before).then(|| (app.clone(), *revision)),
        });
        let ended = ended.collect();
        self.made_ms = found.into_iter().map(|(app, (made_ms, _))| (app, made_ms)).collect();
        Ok(ended)
    }
}

/// Returns the app whose record is at `key`.
fn app_of(key: &str) -> Option<AppName> {
    key.strip_prefix(records::APPS_PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_store::catalog::{self, Change, Commit};

    fn made(app: &str, created_ms: u64) -> Change {
        let record = AppRecord { created_ms, who: "ada".to_owned() };
        Change::Put(format!("{}{app}", records::APPS_PREFIX), records::write(&record).unwrap())
    }

    fn deleted(app: &str) -> Change {
        Change::Delete(format!("{}{app}", records::APPS_PREFIX))
    }

    fn name(app: &str) -> AppName {
        app.parse().unwrap()
    }

    /// Law 11.
    #[test]
    fn an_app_that_was_made_again_ends_the_one_before_also_where_its_deletion_was_not_heard() {
        let mut apps = MadeApps::default();
        let mut note = |change| apps.note(&FollowedChange::of(&change).unwrap());
        assert_eq!(note(made("shop", 1)), None);
        assert_eq!(note(made("shop", 1)), None, "it is the same one");
        assert_eq!(note(made("shop", 2)), Some(name("shop")));
        assert_eq!(note(deleted("shop")), Some(name("shop")));
        assert_eq!(note(made("shop", 3)), None, "what was there has ended before");
        assert_eq!(note(Change::Delete("versions/shop/1".to_owned())), None);
    }

    /// Law 11.
    #[tokio::test]
    async fn apps_that_ended_in_commits_that_were_not_followed_are_found_when_they_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let commit = async |changes| catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        commit(vec![made("blog", 1), made("docs", 1), made("shop", 1)]).await;
        let mut apps = MadeApps::default();
        assert!(apps.read(&*catalog).await.unwrap().is_empty());
        commit(vec![deleted("blog"), deleted("shop")]).await;
        let again = commit(vec![made("shop", 2), made("wiki", 2)]).await;
        let mut ended = apps.read(&*catalog).await.unwrap();
        ended.sort();
        assert_eq!(ended, [(name("blog"), Revision::MAX), (name("shop"), again)]);
        assert!(apps.read(&*catalog).await.unwrap().is_empty());
    }
}
