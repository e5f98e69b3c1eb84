//! Reads and appends the history of an environment, and finds what a rollback goes back to.

use std::collections::HashMap;

use devanture_config::api::{AliasList, Damage, DeployKind, History, Outcome, PlaceStatus, Status};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName, VersionId};

use super::Publisher;
use crate::catalog::Revision;
use crate::catalog::records::{self, HistoryEntry, LivePointer};
use crate::catalog::scan::Scan;
use crate::ledger::{Actor, Error, Page};
use crate::live::DamagedPlace;

/// Most environments, and most aliases, that a status tells.
const PLACES_MAX: usize = 1_000;
/// Paths of damaged files that a status lists.
const DAMAGED_FILES_MAX: usize = 100;

/// Entries of the history that are searched for the deploy that is live: failed pushes and pauses come after it.
const RECENT_ENTRIES: usize = 20;

/// What a rollback goes back to.
pub(crate) struct Earlier {
    /// The version.
    pub(crate) version: VersionId,
    /// The entry that the next rollback starts from; none where the version was never live here.
    pub(crate) position: Option<String>,
    /// What is live before it.
    pub(crate) from: VersionId,
    /// The revision of the settings that the version was live with last.
    pub(crate) settings: Option<u64>,
}

impl Publisher {
    /// A page of an environment's history, newest first.
    ///
    /// # Errors
    /// `not_found` where there is no such app; `bad_request` for a cursor that no page gave.
    pub async fn history(&self, app: &AppName, environment: &PlaceName, page: &Page) -> Result<History, Error> {
        self.ledger.must_exist(app).await?;
        let prefix = records::history_prefix(app, environment);
        let after = match page.after.as_deref() {
            Some(number) if (1..=20).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit()) => {
                Some(format!("{prefix}{number}"))
            }
            Some(_) => return Err(page.bad_cursor()),
            None => None,
        };
        let mut entries = self.catalog.list(&prefix, after.as_deref(), true, page.limit.saturating_add(1)).await?;
        let next = page.next(&entries, |(key, _)| key.rsplit('/').next().unwrap_or_default().to_owned());
        entries.truncate(page.limit);
        let mut deploys = Vec::with_capacity(entries.len());
        for (key, record) in &entries {
            deploys.extend(records::entry(key, record).map(|entry| entry.deploy));
        }
        let (deleted, collected) = self.ledger.gone(app, &deploys).await?;
        Ok(History { app: app.clone(), environment: environment.clone(), deploys, deleted, collected, next })
    }

    /// What is live in an environment, and where else the actor can see the app; with the revision of its live pointer.
    ///
    /// # Errors
    /// `not_found` where there is no such app.
    pub async fn status(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<(Option<Revision>, Status), Error> {
        self.ledger.must_exist(app).await?;
        let (revision, pointer) = self.ledger.live_pointer(app, environment).await?.unzip();
        let pointer = pointer.filter(LivePointer::is_known);
        let (places, more_places) = self.places(actor, app).await?;
        let mut hostnames = Vec::new();
        for (key, record) in self.catalog.list(records::HOSTNAMES_PREFIX, None, false, usize::MAX).await? {
            let Some(owner) = records::hostname(&key, &record) else { continue };
            if owner.is_of(app, environment) {
                hostnames.extend(key.rsplit('/').next().map(str::to_owned));
            }
        }
        let went_back = match &pointer {
            Some(pointer) => self.why_went_back(app, environment, pointer).await?,
            None => None,
        };
        let status = Status {
            app: app.clone(),
            environment: environment.clone(),
            version: pointer.as_ref().map(|p| p.version),
            since_ms: pointer.as_ref().map(|p| p.switched_ms),
            deploy: pointer.as_ref().map(|p| p.deploy.clone()),
            urls: pointer.as_ref().map(|p| self.urls(app, environment, &p.version)),
            hostnames,
            places,
            paused: self.paused(app, environment).await?.map(|(_, pause)| pause),
            locked: self.locked(app, environment).await?.map(|(_, lock)| lock),
            damaged: self.live.damage_of(app, environment).map(damage),
            lost_secrets: self.settings(app, environment).await?.lost(),
            more_places,
            went_back,
            parts: self.live_parts(app, environment),
        };
        Ok((revision, status))
    }

    /// Why the edge made live by itself what is live, where it did.
    async fn why_went_back(
        &self,
        app: &AppName,
        environment: &PlaceName,
        pointer: &LivePointer,
    ) -> Result<Option<String>, Error> {
        let prefix = records::history_prefix(app, environment);
        for (key, record) in self.catalog.list(&prefix, None, true, RECENT_ENTRIES).await? {
            let Some(HistoryEntry { deploy, .. }) = records::entry(&key, &record) else { continue };
            if deploy.id == pointer.deploy {
                return Ok(deploy.went_back);
            }
        }
        Ok(None)
    }

    /// The environments and aliases of an app that the actor sees, as many as a status lists, and whether there are more.
    async fn places(&self, actor: &Actor, app: &AppName) -> Result<(Vec<PlaceStatus>, bool), Error> {
        let name = |key: &str| -> Option<PlaceName> { key.rsplit('/').next()?.parse().ok() };
        let mut places = Vec::new();
        let live = match &actor.environment {
            Some(own) => {
                let key = records::live_key(app, own);
                self.catalog.get(&key).await?.map(|record| (key, record)).into_iter().collect()
            }
            None => self.catalog.list(&records::live_prefix(app), None, false, PLACES_MAX + 1).await?,
        };
        for (key, record) in live.iter().take(PLACES_MAX) {
            // The status of its own environment reports it.
            let Ok(pointer) = records::read::<LivePointer>(key, record) else { continue };
            places.extend(name(key).map(|name| self.environment_status(app, name, &pointer)));
        }
        let page = Page { limit: PLACES_MAX, after: None, cursor: "after" };
        let AliasList { aliases, next, .. } = self.aliases(actor, app, &page).await?;
        places.extend(aliases);
        Ok((places, live.len() > PLACES_MAX || next.is_some()))
    }

    fn environment_status(&self, app: &AppName, name: PlaceName, pointer: &LivePointer) -> PlaceStatus {
        let domains = self.live.domains();
        PlaceStatus {
            alias: false,
            version: pointer.version,
            url: domains.url(&domains.place_host(app, &name)),
            since_ms: pointer.switched_ms,
            who: None,
            expires_ms: None,
            name,
        }
    }

    /// Whether the history of an environment names a version, or it is live there.
    pub(crate) async fn names_version(
        &self,
        app: &AppName,
        environment: &PlaceName,
        version: &VersionId,
    ) -> Result<bool, Error> {
        if self.ledger.live_pointer(app, environment).await?.is_some_and(|(_, pointer)| pointer.version == *version) {
            return Ok(true);
        }
        let prefix = records::history_prefix(app, environment);
        let mut entries = Scan::new(&*self.catalog, prefix).newest_first();
        while let Some((key, record)) = entries.next().await? {
            if records::entry(&key, &record).is_some_and(|entry| entry.deploy.version == *version) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a rollback goes back to.
    ///
    /// Going back twice goes further back: a rollback stands, for the next one, where the entry stands that it went
    /// back to.
    pub(crate) async fn earlier(
        &self,
        app: &AppName,
        environment: &PlaceName,
        wanted: Option<VersionId>,
    ) -> Result<Earlier, Error> {
        self.ledger.must_exist(app).await?;
        let pointer = self.ledger.live_pointer(app, environment).await?.map(|(_, pointer)| pointer);
        let Some(pointer) = pointer else {
            let detail =
                format!("Nothing is live in {environment} of the app {app}, so there is nothing to go back from.");
            return Err(Problem::new(Code::NoPrevious, detail)
                .hint("`devanture switch ID` makes a stored version live")
                .into());
        };
        self.earlier_of(app, environment, &pointer, wanted).await
    }

    /// The same for a pointer, which may be the one of an environment that was deleted.
    pub(crate) async fn earlier_of(
        &self,
        app: &AppName,
        environment: &PlaceName,
        pointer: &LivePointer,
        wanted: Option<VersionId>,
    ) -> Result<Earlier, Error> {
        let prefix = records::history_prefix(app, environment);
        let after = match wanted {
            Some(_) => None,
            None => Some(pointer.position.clone()).filter(|position| !position.is_empty()),
        };
        // Of all that held while a version was live, what its last entry says.
        let mut settings_of: HashMap<VersionId, u64> = HashMap::new();
        // Of the live version itself, what counts is what it was live with before another one was.
        let mut has_left = wanted != Some(pointer.version);
        let mut not_stored = None;
        let mut entries = Scan::new(&*self.catalog, prefix).newest_first().after(after);
        while let Some((key, record)) = entries.next().await? {
            let Some(entry) = records::entry(&key, &record) else { continue };
            has_left |= entry.deploy.outcome == Outcome::Live && entry.deploy.version != pointer.version;
            if !has_left {
                continue;
            }
            if entry.deploy.outcome == Outcome::Live || entry.deploy.kind == DeployKind::Settings {
                settings_of.entry(entry.deploy.version).or_insert(entry.deploy.settings);
            }
            let fits = match wanted {
                Some(id) => entry.deploy.version == id,
                None => entry.deploy.version != pointer.version,
            };
            if entry.deploy.outcome == Outcome::Live && fits {
                let version = entry.deploy.version;
                if self.ledger.is_stored(app, &version).await? {
                    let settings = settings_of.get(&version).copied();
                    return Ok(Earlier { version, position: Some(entry.position), from: pointer.version, settings });
                }
                not_stored = not_stored.or(Some(version));
            }
        }
        match wanted {
            Some(version) => Ok(Earlier { version, position: None, from: pointer.version, settings: None }),
            None => Err(no_previous(environment, &pointer.version, not_stored.as_ref()).into()),
        }
    }
}
/// Damage as the API reports it.
fn damage(damaged: DamagedPlace) -> Damage {
    let count = u64::try_from(damaged.files.len()).unwrap_or(u64::MAX);
    let files = damaged.files.iter().take(DAMAGED_FILES_MAX).map(|path| path.to_string()).collect();
    Damage { version: damaged.version, count, files, error: damaged.error }
}

/// Why there is no version to go back to: none was live before, or those that were are not stored any more.
fn no_previous(environment: &PlaceName, live: &VersionId, not_stored: Option<&VersionId>) -> Problem {
    let live = live.short();
    match not_stored.map(VersionId::short) {
        Some(gone) => Problem::new(
            Code::NoPrevious,
            format!("No version that was live in {environment} before {live} is stored any more; the last one was {gone}."),
        )
        .hint(format!("`devanture undelete version {gone}` restores it while it can be; `devanture switch ID` makes any stored version live")),
        None => Problem::new(Code::NoPrevious, format!("No version was live in {environment} before {live}."))
            .hint("`devanture switch ID` makes any stored version live"),
    }
}
