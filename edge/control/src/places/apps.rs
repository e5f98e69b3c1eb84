//! List of apps for an actor: apps are found in memory, and records are read from the catalog page by page.

use devanture_config::AppName;
use devanture_config::api::{AppEnvironment, AppInfo, AppList, CanaryShare};
use devanture_config::problem::{Code, Problem};

use super::Places;
use crate::ledger::{Actor, Error, Page};
use devanture_serve::live::{AppFound, AppsWanted, Place};
use devanture_store::catalog::Record;
use devanture_store::records::{self, AppRecord, HistoryEntry, LivePointer};

/// Maximum number of environments per app in a list.
const ENVIRONMENTS_SHOWN_MAX: usize = 20;

impl Places {
    /// Returns a page of the apps readable by the actor with `part` in the name, in order of name. Only records of apps
    /// on the page are read, however many apps exist.
    ///
    /// # Errors
    /// `bad_request` for an unknown cursor and for a `part` with characters outside app names; errors of the catalog.
    pub async fn apps(&self, actor: &Actor, part: &str, page: &Page) -> Result<AppList, Error> {
        let part = part.to_ascii_lowercase();
        if !part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            let detail = "`search` is a part of a name of an app: a-z, 0-9 and -.";
            return Err(Problem::new(Code::BadRequest, detail).into());
        }
        if page.after.as_ref().is_some_and(|after| after.parse::<AppName>().is_err()) {
            return Err(page.bad_cursor());
        }
        let mut found = self.ledger.live.apps(&AppsWanted {
            app: actor.app.as_ref(),
            environment: actor.environment.as_ref(),
            part: &part,
            after: page.after.as_deref(),
            limit: page.limit.saturating_add(1),
        });
        let next = page.next(&found.apps, |found| found.app.to_string());
        found.apps.truncate(page.limit);
        let mut apps = Vec::with_capacity(found.apps.len());
        for found in found.apps {
            apps.extend(self.app_info(actor, found).await?);
        }
        Ok(AppList { apps, totals: found.totals, next })
    }

    /// Returns a single app in the form of the list.
    ///
    /// # Errors
    /// `not_found`; errors of the catalog.
    pub async fn app(&self, actor: &Actor, app: &AppName) -> Result<AppInfo, Error> {
        let environment = actor.environment.as_ref();
        let wanted = AppsWanted { app: Some(app), environment, part: "", after: None, limit: 1 };
        let found = self.ledger.live.apps(&wanted).apps.pop();
        let info = match found {
            Some(found) => self.app_info(actor, found).await?,
            None => None,
        };
        info.ok_or_else(|| Problem::new(Code::NotFound, format!("There is no app {app}.")).into())
    }

    /// Returns an entry of the list; `None` if the app was deleted meanwhile.
    async fn app_info(&self, actor: &Actor, found: AppFound) -> Result<Option<AppInfo>, Error> {
        let AppFound { app, versions, environments } = found;
        let shown: Vec<_> = environments.iter().take(ENVIRONMENTS_SHOWN_MAX).collect();
        let mut keys = vec![records::app_key(&app)];
        for (place, _) in &shown {
            keys.push(records::live_key(&app, &place.name));
            keys.push(records::lock_key(&app, &place.name));
        }
        let mut read = self.ledger.catalog.get_all(&keys).await?.into_iter();
        let Some(record) = read.next().flatten() else { return Ok(None) };
        let created: Option<AppRecord> = records::read(&records::app_key(&app), &record).ok();
        let mut info = AppInfo {
            created_ms: created.as_ref().map(|created| created.created_ms),
            created_by: created.map(|created| created.who),
            versions: actor.environment.is_none().then(|| count(versions)),
            environments_total: count(environments.len()),
            environments: Vec::with_capacity(shown.len()),
            app,
        };
        for (place, hostnames) in shown {
            let (live, lock) = (read.next().flatten(), read.next().flatten());
            // An environment deleted meanwhile is left out.
            let Some(live) = live else { continue };
            let environment = self.app_environment(place, *hostnames, &live, lock.is_some()).await?;
            info.environments.push(environment);
        }
        Ok(Some(info))
    }

    async fn app_environment(
        &self,
        place: &Place,
        hostnames: usize,
        live: &Record,
        locked: bool,
    ) -> Result<AppEnvironment, Error> {
        let (app, name) = (&place.app, &place.name);
        let pointer: Option<LivePointer> = records::read(&records::live_key(app, name), live).ok();
        let domains = self.ledger.live.domains();
        Ok(AppEnvironment {
            version: pointer.as_ref().map(|pointer| pointer.version),
            since_ms: pointer.as_ref().map(|pointer| pointer.switched_ms),
            who: match &pointer {
                Some(pointer) => self.switched_by(place, pointer).await?,
                None => None,
            },
            url: domains.url(&domains.place_host(app, name)),
            hostnames: count(hostnames),
            // The manifest of a loaded version is in memory: the list reads no file for this field.
            backend: place.pointed().map(|current| current.version.managed.is_some()),
            paused: place.paused().is_some(),
            locked,
            damaged: place.is_damaged(),
            canary: pointer
                .and_then(|pointer| pointer.canary)
                .map(|canary| CanaryShare { version: canary.version, share: canary.share }),
            name: name.clone(),
        })
    }

    /// Returns the author of the current live version, from the history. The entry of a push or a switch is found by
    /// key; for a rollback, the newest entries are read.
    async fn switched_by(&self, place: &Place, pointer: &LivePointer) -> Result<Option<String>, Error> {
        let is_it = |entry: &HistoryEntry| entry.deploy.id == pointer.deploy;
        let at = self.ledger.catalog.get(&pointer.position).await?;
        let entry = at.and_then(|record| records::entry(&pointer.position, &record)).filter(is_it);
        match entry {
            Some(entry) => Ok(Some(entry.deploy.who)),
            None => self.ledger.who_switched(&place.app, &place.name, pointer).await,
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use devanture_config::limits::Limits;
    use devanture_config::{PlaceName, VersionId};
    use tokio::sync::broadcast::Receiver;

    use super::*;
    use crate::encode;
    use crate::ledger::Ledger;
    use devanture_config::edge_toml::Names;
    use devanture_serve::live::{Domains, Follower, Grace, Live, Loader};
    use devanture_store::catalog::{Catalog, CatalogState, Change, Commit, Committed, Error as CatalogError, Revision};
    use devanture_store::{blobs, catalog};

    /// Counts the records read from a catalog.
    struct Counting(Arc<dyn Catalog>, AtomicUsize);

    #[async_trait]
    impl Catalog for Counting {
        async fn get(&self, key: &str) -> Result<Option<Record>, CatalogError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.get(key).await
        }

        async fn list(
            &self,
            prefix: &str,
            after: Option<&str>,
            newest_first: bool,
            limit: usize,
        ) -> Result<Vec<(String, Record)>, CatalogError> {
            let found = self.0.list(prefix, after, newest_first, limit).await?;
            self.1.fetch_add(found.len(), Ordering::Relaxed);
            Ok(found)
        }

        async fn commit(&self, commit: Commit) -> Result<Revision, CatalogError> {
            self.0.commit(commit).await
        }

        fn watch(&self) -> Receiver<Committed> {
            self.0.watch()
        }

        fn state(&self) -> CatalogState {
            self.0.state()
        }
    }

    /// Returns the number of records read for a page of `apps` apps.
    async fn records_of_a_page(apps: usize, part: &str) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let blobs = blobs::open(folder.path().to_owned()).unwrap();
        let stored = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let mut changes = Vec::new();
        for number in 0..apps {
            let app: AppName = format!("app-{number}").parse().unwrap();
            let made = AppRecord { created_ms: 1, who: "ada".to_owned() };
            changes.push(Change::Put(records::app_key(&app), records::write(&made).unwrap()));
            let pointer = LivePointer {
                version: VersionId::of(b""),
                settings: 0,
                switched_ms: 2,
                deploy: "1".to_owned(),
                begun: 0,
                position: "history/none".to_owned(),
                halves_begun: None,
                canary: None,
                pins: None,
            };
            let key = records::live_key(&app, &PlaceName::prod());
            changes.push(Change::Put(key, records::write(&pointer).unwrap()));
        }
        stored.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        let counting = Arc::new(Counting(stored, AtomicUsize::new(0)));
        let catalog: Arc<dyn Catalog> = Arc::<Counting>::clone(&counting);
        let domain = || "localhost".parse().unwrap();
        let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
        let limits = Limits::default();
        let loader = Loader::new(Arc::clone(&blobs), Arc::clone(&catalog), &limits);
        let _follower = Follower::start(live.clone(), loader, encode::remade_channel().subscribe()).await.unwrap();
        let ledger = Arc::new(Ledger::new(catalog, live, &limits));
        let places = Places::new(ledger, Names::default());
        counting.1.store(0, Ordering::Relaxed);
        let page = Page { limit: 10, after: None, cursor: "after" };
        let list = places.apps(&Actor::local(), part, &page).await.unwrap();
        assert_eq!((list.apps.len(), list.next.is_some()), (10, true), "{list:?}");
        assert!(list.apps.iter().all(|app| app.created_ms == Some(1) && app.environments[0].since_ms == Some(2)));
        counting.1.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_page_reads_no_record_of_an_app_that_it_does_not_show() {
        let few = records_of_a_page(20, "").await;
        // Per app: the app record, the live pointer, the lock and the history entry.
        assert_eq!(few, 40);
        assert_eq!(records_of_a_page(200, "").await, few);
        assert_eq!(records_of_a_page(200, "9").await, few, "nor for a search");
    }
}
