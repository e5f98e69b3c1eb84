//! Reads and appends the history of an environment, and finds what a rollback goes back to.

use devanture_config::api::{Deploy, History, Outcome, PlaceStatus, Status};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName, VersionId};

use super::audit::{Own, commit_own};
use super::{Error, Publisher};
use crate::catalog::records::{self, AliasRecord, HistoryEntry, HostnameRecord, LivePointer};
use crate::catalog::{Change, Check, Commit};

/// Most deploys on one page.
const PAGE_MAX: usize = 1_000;

impl Publisher {
    /// A page of an environment's history, newest first, from before the entry `before` on.
    ///
    /// # Errors
    /// `not_found` where there is no such app; `bad_request` for a `before` that no page gave.
    pub async fn history(
        &self,
        app: &AppName,
        environment: &PlaceName,
        limit: usize,
        before: Option<&str>,
    ) -> Result<History, Error> {
        self.known(app).await?;
        let limit = limit.clamp(1, PAGE_MAX);
        let prefix = records::history_prefix(app, environment);
        let after = match before {
            Some(number) if (1..=20).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit()) => {
                Some(format!("{prefix}{number}"))
            }
            Some(_) => return Err(Problem::new(Code::BadRequest, "`before` is not what a page gave as `next`.").into()),
            None => None,
        };
        let entries = self.catalog.list(&prefix, after.as_deref(), true, limit).await?;
        let next = if entries.len() == limit { entries.last() } else { None };
        let next = next.and_then(|(key, _)| key.rsplit('/').next().map(str::to_owned));
        let mut deploys = Vec::with_capacity(entries.len());
        for (key, record) in &entries {
            deploys.push(records::read::<HistoryEntry>(key, record)?.deploy);
        }
        let deleted = self.deleted(app, &deploys).await?;
        Ok(History { app: app.clone(), environment: environment.clone(), deploys, deleted, next })
    }

    /// What is live in an environment, and where else the app can be seen.
    ///
    /// # Errors
    /// `not_found` where there is no such app.
    pub async fn status(&self, app: &AppName, environment: &PlaceName) -> Result<Status, Error> {
        self.known(app).await?;
        let pointer = self.live_pointer(app, environment).await?.map(|(_, pointer)| pointer);
        let mut hostnames = Vec::new();
        for (key, record) in self.catalog.list(records::HOSTNAMES_PREFIX, None, false, usize::MAX).await? {
            let owner: HostnameRecord = records::read(&key, &record)?;
            if owner.is_of(app, environment) {
                hostnames.extend(key.rsplit('/').next().map(str::to_owned));
            }
        }
        Ok(Status {
            app: app.clone(),
            environment: environment.clone(),
            version: pointer.as_ref().map(|p| p.version),
            since_ms: pointer.as_ref().map(|p| p.switched_ms),
            deploy: pointer.as_ref().map(|p| p.deploy.clone()),
            urls: pointer.as_ref().map(|p| self.urls(app, environment, &p.version)),
            hostnames,
            places: self.places(app).await?,
            paused: self.paused(app, environment).await?.map(|(_, pause)| pause),
        })
    }

    /// Every environment and alias of an app.
    ///
    /// # Errors
    /// Where the catalog fails.
    pub async fn places(&self, app: &AppName) -> Result<Vec<PlaceStatus>, Error> {
        let mut places = Vec::new();
        for (key, record) in self.catalog.list(&records::live_prefix(app), None, false, usize::MAX).await? {
            let pointer: LivePointer = records::read(&key, &record)?;
            places.extend(self.place_status(app, &key, false, pointer.version));
        }
        for (key, record) in self.catalog.list(&records::alias_prefix(app), None, false, usize::MAX).await? {
            let alias: AliasRecord = records::read(&key, &record)?;
            places.extend(self.place_status(app, &key, true, alias.version));
        }
        Ok(places)
    }

    fn place_status(&self, app: &AppName, key: &str, alias: bool, version: VersionId) -> Option<PlaceStatus> {
        let name: PlaceName = key.rsplit('/').next()?.parse().ok()?;
        let domains = self.live.domains();
        let url = domains.url(&domains.place_host(app, &name));
        Some(PlaceStatus { name, alias, version, url })
    }

    pub(crate) async fn known(&self, app: &AppName) -> Result<(), Error> {
        if self.app_exists(app).await? {
            return Ok(());
        }
        Err(Problem::new(Code::NotFound, format!("There is no app {app}.")).hint("the first push makes it").into())
    }

    /// The version that a rollback goes to, the entry that the next rollback starts from, and what is live before it.
    ///
    /// Going back twice goes further back: a rollback stands, for the next one, where the entry stands that it went
    /// back to.
    pub(crate) async fn earlier(
        &self,
        app: &AppName,
        environment: &PlaceName,
        wanted: Option<VersionId>,
    ) -> Result<(VersionId, Option<String>, VersionId), Error> {
        self.known(app).await?;
        let pointer = self.live_pointer(app, environment).await?.map(|(_, pointer)| pointer);
        let Some(pointer) = pointer else {
            let detail =
                format!("Nothing is live in {environment} of the app {app}, so there is nothing to go back from.");
            return Err(Problem::new(Code::NoPrevious, detail)
                .hint("`devanture switch ID` makes a stored version live")
                .into());
        };
        let prefix = records::history_prefix(app, environment);
        let mut after = match wanted {
            Some(_) => None,
            None => Some(pointer.position.clone()),
        };
        loop {
            let page = self.catalog.list(&prefix, after.as_deref(), true, PAGE_MAX).await?;
            for (key, record) in &page {
                let entry: HistoryEntry = records::read(key, record)?;
                let fits = match wanted {
                    Some(id) => entry.deploy.version == id,
                    None => entry.deploy.version != pointer.version,
                };
                if entry.deploy.outcome == Outcome::Live && fits && self.is_stored(app, &entry.deploy.version).await? {
                    return Ok((entry.deploy.version, Some(entry.position), pointer.version));
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE_MAX => after = Some(key.clone()),
                _ => break,
            }
        }
        match wanted {
            Some(id) => Ok((id, None, pointer.version)),
            None => {
                let detail = format!("No version was live in {environment} before {}.", pointer.version.short());
                Err(Problem::new(Code::NoPrevious, detail)
                    .hint("`devanture switch ID` makes any stored version live")
                    .into())
            }
        }
    }

    /// Appends a deploy that did not move the live pointer.
    pub(crate) async fn append_history(&self, app: &AppName, deploy: Deploy) -> Result<(), Error> {
        let key = self.next_entry(app, &deploy.environment).await?;
        let entry = HistoryEntry { deploy, position: key.clone() };
        let commit = Commit {
            checks: vec![Check::Absent(key.clone())],
            changes: vec![Change::Put(key, records::write(&entry)?)],
        };
        commit_own(&*self.catalog, Own::History, commit).await?;
        Ok(())
    }

    /// The key of the next entry of a history: after every entry that is there, whatever the clock says.
    pub(crate) async fn next_entry(&self, app: &AppName, environment: &PlaceName) -> Result<String, Error> {
        let prefix = records::history_prefix(app, environment);
        let last = self.catalog.list(&prefix, None, true, 1).await?;
        let last = last.first().and_then(|(key, _)| key.rsplit('/').next()?.parse().ok());
        self.not_before(last.unwrap_or(0));
        Ok(records::history_key(app, environment, self.tick()))
    }
}
