//! Aliases: named pointers of an app outside environments, set manually or by pushes, with or without an expiry.

use std::sync::{Arc, Weak};
use std::time::Duration;

use devanture_config::api::{AliasList, AliasPrediction, AliasRequest, ConfirmedAction, PlaceStatus, Scope};
use devanture_config::manifest::halves::Half;
use devanture_config::problem::{Code, Problem};
use devanture_config::text::Expiry;
use devanture_config::{AppName, PlaceName, VersionId};
use tokio::sync::MutexGuard;

use crate::hostnames::Hostnames;
use crate::ledger::{
    Action, Actor, AuditEvent, Condition, Error, Ledger, Page, SystemWrite, check_confirmed, other_than, update,
};
use crate::places::{Places, check_count, size};
use crate::settings::Settings;
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit, Record, Revision};
use devanture_store::records::gone;
use devanture_store::records::halves_begun::HalvesBegun;
use devanture_store::records::{self, AliasRecord, LivePointer};

/// Maximum number of environments, and of aliases, in a status.
const PLACES_MAX: usize = 1_000;
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Requested state of an alias.
pub(crate) struct AliasRequestContext<'a> {
    pub(crate) app: &'a AppName,
    pub(crate) name: &'a PlaceName,
    pub(crate) version: VersionId,
    pub(crate) actor: &'a Actor,
    pub(crate) expires: Option<Expiry>,
    /// For a push: the time of its begin, and true if the order of pushes is ignored.
    pub(crate) push: Option<(u64, bool)>,
    /// For a push of a half: the half, and the version with the other half.
    pub(crate) half: Option<(Half, Option<VersionId>)>,
    /// Environment that will own the alias: the environment of the push, or of the token.
    pub(crate) environment: Option<&'a PlaceName>,
    pub(crate) if_live: Option<&'a str>,
    pub(crate) condition: &'a Condition,
}

/// Result of setting an alias.
pub(crate) struct AliasOutcome {
    pub(crate) status: PlaceStatus,
    pub(crate) previous: Option<VersionId>,
    revision: Revision,
}

/// Validated change of an alias.
struct AliasChange<'e> {
    record: AliasRecord,
    previous: Option<VersionId>,
    /// Revision of the record if the record is unchanged.
    unchanged: Option<Revision>,
    commit: Commit,
    /// Held until the commit of a new alias: without concurrent creations, the limit holds.
    making: Option<MutexGuard<'e, ()>>,
}

/// Aliases of apps.
pub struct Aliases {
    ledger: Arc<Ledger>,
    places: Arc<Places>,
    hostnames: Arc<Hostnames>,
    settings: Arc<Settings>,
}

impl Aliases {
    pub(crate) const fn new(
        ledger: Arc<Ledger>,
        places: Arc<Places>,
        hostnames: Arc<Hostnames>,
        settings: Arc<Settings>,
    ) -> Self {
        Self { ledger, places, hostnames, settings }
    }
}

impl Aliases {
    /// Points an alias at a version, and creates a new alias if needed. Returns the alias with the revision of the
    /// record.
    ///
    /// # Errors
    /// `alias_taken` for the name of an environment, `forbidden` for an alias of another owner, `too_many`,
    /// `precondition_failed`, `confirmation_required` for an earlier expiry, and as [`Ledger::resolve_version`].
    pub async fn set_alias(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &PlaceName,
        wanted: &AliasRequest,
        condition: &Condition,
    ) -> Result<(Revision, PlaceStatus), Error> {
        let version = self.resolve_alias(app, name, wanted).await?;
        let _lease = self.ledger.leases.version(version).await;
        let aliasing = AliasRequestContext::by_hand(actor, (app, name), (version, wanted.expires), condition);
        let aliased = self.point_alias(&aliasing).await?;
        Ok((aliased.revision, aliased.status))
    }

    /// Predicts [`Aliases::set_alias`], including errors, without changes.
    ///
    /// # Errors
    /// As [`Aliases::set_alias`].
    pub async fn predict_alias(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &PlaceName,
        wanted: &AliasRequest,
        condition: &Condition,
    ) -> Result<AliasPrediction, Error> {
        let version = self.resolve_alias(app, name, wanted).await?;
        let aliasing = AliasRequestContext::by_hand(actor, (app, name), (version, wanted.expires), condition);
        let change = self.alias_change(&aliasing).await?;
        Ok(AliasPrediction {
            dry_run: true,
            app: app.clone(),
            alias: name.clone(),
            version: Some(version),
            previous: change.previous,
            expires_ms: change.record.expires_ms,
            changed: change.unchanged.is_none(),
        })
    }

    /// Returns the requested version of an alias.
    async fn resolve_alias(&self, app: &AppName, name: &PlaceName, wanted: &AliasRequest) -> Result<VersionId, Error> {
        self.ledger.check_there(app, Some(name)).await?;
        self.ledger.resolve_version(app, &wanted.version).await
    }

    /// Rejects a push to an alias before the upload.
    ///
    /// # Errors
    /// `forbidden`, `alias_taken`, `bad_request` for an expiry in the past, `confirmation_required` for an earlier
    /// expiry than before, `deleted` for the name of a restorable environment.
    pub(crate) async fn check_alias(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &PlaceName,
        expires: Option<Expiry>,
    ) -> Result<(), Error> {
        actor.may_alias(Scope::Push, app, name)?;
        ends_ms(expires, None, clock::now_ms())?;
        self.ledger.check_there(app, Some(name)).await?;
        let (_, before) = self.alias_record(app, name).await?;
        actor.may_move(name, before.as_ref())?;
        let expires_ms = ends_ms(expires, before.as_ref(), clock::now_ms())?;
        self.check_shortened(actor, app, before.as_ref(), expires_ms).await?;
        self.check_no_environment(app, name).await?;
        if before.is_none() { self.hostnames.check_address(actor, (app, name)).await } else { Ok(()) }
    }

    /// Checks that an actor may set this expiry: a session that shortens the lifetime must confirm the change like a
    /// deletion.
    ///
    /// # Errors
    /// `confirmation_required`.
    async fn check_shortened(
        &self,
        actor: &Actor,
        app: &AppName,
        before: Option<&AliasRecord>,
        expires_ms: Option<u64>,
    ) -> Result<(), Error> {
        let ends = |at_ms: Option<u64>| at_ms.unwrap_or(u64::MAX);
        match before.is_some_and(|before| ends(expires_ms) < ends(before.expires_ms)) {
            true => check_confirmed(&*self.ledger.catalog, actor, app, Some(ConfirmedAction::Delete)).await,
            false => Ok(()),
        }
    }

    /// Returns the version of an alias.
    pub(crate) async fn aliased(&self, app: &AppName, name: &PlaceName) -> Result<Option<VersionId>, Error> {
        Ok(self.alias_record(app, name).await?.1.map(|alias| alias.version))
    }

    async fn check_no_environment(&self, app: &AppName, name: &PlaceName) -> Result<(), Error> {
        // `preview` is the name for the settings and protection of all previews.
        if name.is_prod() || name.is_preview() || self.ledger.live_pointer(app, name).await?.is_some() {
            let detail = format!("{name} is an environment of the app {app}.");
            return Err(Problem::new(Code::AliasTaken, detail).hint("choose another name for the alias").into());
        }
        Ok(())
    }

    /// Returns the stored record of an alias, and the parsed record unless the alias has expired.
    async fn alias_record(
        &self,
        app: &AppName,
        name: &PlaceName,
    ) -> Result<(Option<Record>, Option<AliasRecord>), Error> {
        let key = records::alias_key(app, name);
        let Some(record) = self.ledger.catalog.get(&key).await? else { return Ok((None, None)) };
        let alias: AliasRecord = records::read(&key, &record)?;
        let is_there = !alias.has_expired(clock::now_ms());
        Ok((Some(record), is_there.then_some(alias)))
    }

    /// Points an alias at a version, and creates a new alias if needed.
    ///
    /// # Errors
    /// As [`Aliases::set_alias`]; `live_moved`, `superseded`.
    pub(crate) async fn point_alias(&self, wanted: &AliasRequestContext<'_>) -> Result<AliasOutcome, Error> {
        let AliasRequestContext { app, name, version, actor, .. } = *wanted;
        update(&records::alias_key(app, name), || async {
            let AliasChange { record, previous, unchanged, commit, making: _making } =
                self.alias_change(wanted).await?;
            let status = self.alias_status(app, name, &record);
            if let Some(revision) = unchanged {
                return Ok(Some(AliasOutcome { status, previous, revision }));
            }
            let event = AuditEvent::of(Action::SetAlias).place(app, name).what(version.short());
            if let Some(revision) = self.ledger.commit_unseen(actor, event, commit).await? {
                self.ledger.live.wait_for(revision).await;
                tracing::info!(app = %app, alias = %name, version = %version.short(), who = actor.name, "an alias was set");
                return Ok(Some(AliasOutcome { status, previous, revision }));
            }
            Ok(None)
        })
        .await
    }

    /// Checks that an alias may point at a version, and prepares the commit.
    async fn alias_change(&self, wanted: &AliasRequestContext<'_>) -> Result<AliasChange<'_>, Error> {
        let AliasRequestContext { app, name, version, .. } = *wanted;
        let key = records::alias_key(app, name);
        self.ledger.check_there(app, Some(name)).await?;
        self.check_no_environment(app, name).await?;
        let (found, before) = self.alias_record(app, name).await?;
        let revision = found.as_ref().map(|record| record.revision);
        wanted.condition.check(revision.filter(|_| before.is_some()))?;
        wanted.actor.may_move(name, before.as_ref())?;
        wanted.may_replace(before.as_ref())?;
        let record = wanted.record(before.as_ref())?;
        self.check_shortened(wanted.actor, app, before.as_ref(), record.expires_ms).await?;
        let previous = before.as_ref().map(|before| before.version);
        let unchanged = revision.filter(|_| before.as_ref() == Some(&record));
        let is_new = found.is_none();
        let checks = vec![
            Check::of(key.clone(), revision),
            Check::Absent(records::live_key(app, name)),
            Check::Absent(gone::deleted_environment_key(app, name)),
        ];
        let mut commit = Commit { checks, changes: vec![Change::Put(key, records::write(&record)?)] };
        if unchanged.is_some() {
            return Ok(AliasChange { record, previous, unchanged, commit, making: None });
        }
        self.ledger.hold_version(&mut commit, app, &version, is_new).await?;
        let making = if is_new { Some(self.places.making.lock().await) } else { None };
        if is_new {
            self.check_alias_count(app).await?;
            self.hostnames.hold_no_hostnames(app, name, &mut commit).await?;
            self.settings.hold_no_settings(app, name, &mut commit).await?;
        }
        if before.is_none() {
            self.hostnames.take_address(wanted.actor, (app, name), &mut commit).await?;
        }
        Ok(AliasChange { record, previous, unchanged, commit, making })
    }

    async fn check_alias_count(&self, app: &AppName) -> Result<(), Error> {
        let max = self.ledger.limits().for_app(app).aliases_max;
        let used = self.ledger.catalog.list(&records::alias_prefix(app), None, false, size(max)).await?.len();
        check_count(app, "alias", used, "aliases_max", max, "delete some, or let them end by themselves")
    }

    pub(crate) fn alias_status(&self, app: &AppName, name: &PlaceName, record: &AliasRecord) -> PlaceStatus {
        let domains = self.ledger.live.domains();
        PlaceStatus {
            name: name.clone(),
            alias: true,
            version: record.version,
            url: domains.url(&domains.place_host(app, name)),
            since_ms: record.switched_ms,
            who: Some(record.who.clone()).filter(|who| !who.is_empty()),
            expires_ms: record.expires_ms,
        }
    }

    /// Returns an alias with the revision of the record.
    ///
    /// # Errors
    /// `not_found`; `forbidden` for an alias outside the environment of the token.
    pub async fn alias(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &PlaceName,
    ) -> Result<(Revision, PlaceStatus), Error> {
        match self.alias_record(app, name).await? {
            (Some(record), Some(alias)) => {
                if !actor.has_alias(name, &alias) {
                    actor.may(Scope::Read, app, Some(name))?;
                }
                Ok((record.revision, self.alias_status(app, name, &alias)))
            }
            _ => Err(no_alias(app, name)),
        }
    }

    /// Returns a page of the aliases of an app visible to the actor, in order of name.
    ///
    /// # Errors
    /// `not_found` for an unknown app; `bad_request` for an unknown cursor.
    pub async fn aliases(&self, actor: &Actor, app: &AppName, page: &Page) -> Result<AliasList, Error> {
        self.ledger.must_exist(app).await?;
        let prefix = records::alias_prefix(app);
        let mut after = match &page.after {
            Some(name) => Some(format!("{prefix}{}", name.parse::<PlaceName>().map_err(|_bad| page.bad_cursor())?)),
            None => None,
        };
        let mut aliases = Vec::new();
        let now_ms = clock::now_ms();
        // An alias beyond the page size shows if another page follows; hidden aliases never become a cursor.
        let at_once = page.limit.saturating_add(1);
        while aliases.len() < at_once {
            let found = self.ledger.catalog.list(&prefix, after.as_deref(), false, at_once).await?;
            for (key, record) in &found {
                let alias: AliasRecord = records::read(key, record)?;
                let name: Option<PlaceName> = key.rsplit('/').next().and_then(|name| name.parse().ok());
                let name = name.filter(|name| !alias.has_expired(now_ms) && actor.has_alias(name, &alias));
                aliases.extend(name.map(|name| self.alias_status(app, &name, &alias)));
            }
            match found.last() {
                Some((key, _)) if found.len() == at_once => after = Some(key.clone()),
                _ => break,
            }
        }
        let next = page.next(&aliases, |alias| alias.name.to_string());
        aliases.truncate(page.limit);
        Ok(AliasList { app: app.clone(), aliases, next })
    }

    /// Returns the environments and aliases of an app visible to the actor, up to the limit of a status; the flag is
    /// true if there are more.
    pub(crate) async fn all_places(&self, actor: &Actor, app: &AppName) -> Result<(Vec<PlaceStatus>, bool), Error> {
        let name = |key: &str| -> Option<PlaceName> { key.rsplit('/').next()?.parse().ok() };
        let mut places = Vec::new();
        let live = match &actor.environment {
            Some(own) => {
                let key = records::live_key(app, own);
                self.ledger.catalog.get(&key).await?.map(|record| (key, record)).into_iter().collect()
            }
            None => self.ledger.catalog.list(&records::live_prefix(app), None, false, PLACES_MAX + 1).await?,
        };
        for (key, record) in live.iter().take(PLACES_MAX) {
            // The status of the environment itself reports the damage.
            let Ok(pointer) = records::read::<LivePointer>(key, record) else { continue };
            places.extend(name(key).map(|name| self.environment_status(app, name, &pointer)));
        }
        let page = Page { limit: PLACES_MAX, after: None, cursor: "after" };
        let AliasList { aliases, next, .. } = self.aliases(actor, app, &page).await?;
        places.extend(aliases);
        Ok((places, live.len() > PLACES_MAX || next.is_some()))
    }

    fn environment_status(&self, app: &AppName, name: PlaceName, pointer: &LivePointer) -> PlaceStatus {
        let domains = self.ledger.live.domains();
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

    /// Deletes an alias; the hostname of the alias then serves no version. With `dry_run`, changes nothing. Returns the
    /// version of the alias.
    ///
    /// # Errors
    /// `not_found`, `precondition_failed`.
    pub async fn delete_alias(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &PlaceName,
        condition: &Condition,
        dry_run: bool,
    ) -> Result<VersionId, Error> {
        update(&records::alias_key(app, name), || async {
            let (Some(record), Some(alias)) = self.alias_record(app, name).await? else {
                condition.check(None)?;
                return Err(no_alias(app, name));
            };
            actor.may_move(name, Some(&alias))?;
            condition.check(Some(record.revision))?;
            let key = records::alias_key(app, name);
            let is_made = dry_run || self.remove_alias(Some((actor, app, name)), key, record.revision).await?;
            Ok(is_made.then_some(alias.version))
        })
        .await
    }

    /// Removes the record of an alias: a named alias on request, or an expired alias. Returns false if another commit
    /// won the race.
    async fn remove_alias(
        &self,
        wanted: Option<(&Actor, &AppName, &PlaceName)>,
        key: String,
        revision: Revision,
    ) -> Result<bool, Error> {
        let commit = Commit { checks: vec![Check::At(key.clone(), revision)], changes: vec![Change::Delete(key)] };
        match wanted {
            Some((actor, app, name)) => {
                self.ledger.commit(actor, AuditEvent::of(Action::DeleteAlias).place(app, name), commit).await
            }
            None => Ok(self.ledger.commit_system(SystemWrite::ExpiredAlias, commit).await?.is_some()),
        }
    }

    /// Removes the records of expired aliases. Returns the number of removed records.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub async fn sweep_aliases(&self) -> Result<u64, Error> {
        let (now_ms, mut removed) = (clock::settled_ms(), 0);
        for (key, record) in self.ledger.catalog.list(records::ALIASES_PREFIX, None, false, usize::MAX).await? {
            // Unreadable records were logged at load time.
            let has_expired = records::read::<AliasRecord>(&key, &record).is_ok_and(|alias| alias.has_expired(now_ms));
            if has_expired && self.remove_alias(None, key, record.revision).await? {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl<'a> AliasRequestContext<'a> {
    /// Returns the request for an alias set without a push.
    fn by_hand(
        actor: &'a Actor,
        (app, name): (&'a AppName, &'a PlaceName),
        (version, expires): (VersionId, Option<Expiry>),
        condition: &'a Condition,
    ) -> Self {
        let environment = actor.environment.as_ref();
        Self { app, name, version, actor, expires, push: None, half: None, environment, if_live: None, condition }
    }

    /// Checks that the request may replace the current version of the alias.
    fn may_replace(&self, before: Option<&AliasRecord>) -> Result<(), Error> {
        if let Some(expected) = self.if_live {
            check_expected_alias(expected, self.name, before.map(|before| before.version))?;
        }
        if let (Some((begun, false)), Some(before)) = (self.push, before)
            && begun < self.half.map_or(before.begun, |(half, _)| before.halves().of(half))
            && before.version != self.version
        {
            let detail = format!(
                "{} got the alias {} from a push that began after this one.",
                before.version.short(),
                self.name
            );
            return Err(Problem::new(Code::Superseded, detail)
                .hint("the version is stored and has its preview; --force moves the alias all the same")
                .into());
        }
        match (self.half, before.map(|before| before.version)) {
            // A new alias takes the other half from another source.
            (Some((_, with)), Some(now)) if with != Some(now) && now != self.version => {
                let detail = format!("{} got the alias {}, which gives the other half.", now.short(), self.name);
                Err(Problem::new(Code::LiveMoved, detail).hint("push again").into())
            }
            _ => Ok(()),
        }
    }

    fn record(&self, before: Option<&AliasRecord>) -> Result<AliasRecord, Error> {
        let now_ms = clock::now_ms();
        let same = before.filter(|before| before.version == self.version);
        // The time of a switch never decreases, as for an environment.
        let moved_ms = now_ms.max(before.map_or(0, |before| before.switched_ms));
        let halves = before.map(AliasRecord::halves).unwrap_or_default();
        // After a manual change, pushes older than the replaced version still fail.
        let halves = match (self.push, self.half) {
            (Some((pushed, _)), Some((half, _))) => halves.with(half, pushed.max(halves.of(half))),
            (Some((pushed, _)), None) => HalvesBegun::both(pushed.max(halves.recorded().0)),
            (None, _) => halves,
        };
        let (begun, halves_begun) = halves.recorded();
        Ok(AliasRecord {
            version: self.version,
            switched_ms: same.map_or(moved_ms, |same| same.switched_ms),
            begun,
            halves_begun,
            who: match same.filter(|_| self.expires.is_none() && self.push.is_none()) {
                Some(same) => same.who.clone(),
                None => self.actor.name.clone(),
            },
            environment: self.environment.cloned(),
            expires_ms: ends_ms(self.expires, before, now_ms)?,
        })
    }
}

/// Removes the records of expired aliases while the edge serves.
pub async fn keep_sweeping_aliases(aliases: Weak<Aliases>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(aliases) = aliases.upgrade() else { return };
        if let Err(error) = aliases.sweep_aliases().await {
            tracing::warn!(%error, "aliases that have ended could not be removed");
        }
    }
}

/// Returns the expiry of an alias; unchanged by default.
fn ends_ms(expires: Option<Expiry>, before: Option<&AliasRecord>, now_ms: u64) -> Result<Option<u64>, Error> {
    let Some(expires) = expires else { return Ok(before.and_then(|before| before.expires_ms)) };
    let at_ms = expires.at_ms(now_ms);
    if at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
        let detail = format!("The alias would have ended already, at {expires}.");
        return Err(Problem::new(Code::BadRequest, detail)
            .hint("say a moment to come, or a duration such as 14d")
            .into());
    }
    Ok(at_ms)
}

fn no_alias(app: &AppName, name: &PlaceName) -> Error {
    Problem::new(Code::NotFound, format!("The app {app} has no alias {name}."))
        .hint("`devanture alias list` lists those that it has")
        .into()
}

/// Checks that an alias points at the version expected by a push.
///
/// # Errors
/// `live_moved`.
pub(crate) fn check_expected_alias(expected: &str, name: &PlaceName, before: Option<VersionId>) -> Result<(), Error> {
    let Some(is) = other_than(expected, before) else { return Ok(()) };
    let detail = format!("The alias {name} was expected to be {expected}, but is {is}.");
    Err(Problem::new(Code::LiveMoved, detail).hint("look at `devanture alias list`, then decide").into())
}
