//! Creation of apps and environments: allowed names, and limits on numbers.
//!
//! Creations run one at a time, from the count to the commit: two concurrent creations must not both take the last
//! place below a limit. Existing apps and environments never wait.

use std::collections::BTreeSet;

use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, HostPattern, PlaceName};
use tokio::sync::MutexGuard;

use super::Places;
use super::counts::check_count;
use super::reserved::why_reserved;
use crate::ledger::{Actor, Error};
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::{self, AppRecord, HostnameRecord};
use devanture_store::records::{gone, settings, signing};

/// Exclusive permit for a creation, held until dropped.
pub(crate) type Making<'p> = MutexGuard<'p, ()>;

/// Checks that a version may be live in an environment: `preview` is reserved for pushes to aliases and for the
/// settings of all previews.
///
/// # Errors
/// `name_reserved`.
pub(crate) fn check_may_be_live(environment: &PlaceName) -> Result<(), Error> {
    if !environment.is_preview() {
        return Ok(());
    }
    let detail = "`preview` is the environment of all previews: no version is live in it.";
    let hint = "`devanture push --alias NAME` makes a preview at an address of its own, and `devanture push --no-switch` \
                one of the version alone; an environment for visitors has another name, such as staging";
    Err(Problem::new(Code::NameReserved, detail).hint(hint).into())
}

impl Places {
    /// Checks, before an upload, that the app and the environment of a push exist or may be created. In `preview`, a
    /// push without a switch (`is_noted_alone`) creates only the history, and the history does not count against the
    /// limit.
    ///
    /// # Errors
    /// `name_reserved`, `too_many`.
    pub(crate) async fn check_may_make(
        &self,
        app: &AppName,
        environment: &PlaceName,
        is_noted_alone: bool,
    ) -> Result<(), Error> {
        if !self.ledger.app_exists(app).await? {
            return self.check_new_app(app).await;
        }
        if is_noted_alone && environment.is_preview() {
            return Ok(());
        }
        match self.is_counted(app, environment).await? {
            true => Ok(()),
            false => self.check_environment_count(app).await,
        }
    }

    /// Begins to create an app; `None` if the app exists.
    ///
    /// # Errors
    /// `name_reserved`, `too_many`.
    pub(crate) async fn make_app(&self, app: &AppName) -> Result<Option<Making<'_>>, Error> {
        if self.ledger.app_exists(app).await? {
            return Ok(None);
        }
        let making = self.making.lock().await;
        self.check_new_app(app).await?;
        Ok(Some(making))
    }

    /// Adds the record of a new app to a commit.
    pub(crate) async fn add_app(
        &self,
        app: &AppName,
        actor: &Actor,
        now_ms: u64,
        commit: &mut Commit,
    ) -> Result<(), Error> {
        commit.checks.push(Check::Absent(gone::deleted_app_key(app)));
        let key = records::app_key(app);
        match self.ledger.catalog.get(&key).await? {
            // The app may be deleted meanwhile, and a new app of the same name created.
            Some(found) => commit.checks.push(Check::At(key, found.revision)),
            None => {
                let record = AppRecord { created_ms: now_ms, who: actor.name.clone() };
                commit.checks.push(Check::Absent(key.clone()));
                commit.changes.push(Change::Put(key, records::write(&record)?));
            }
        }
        Ok(())
    }

    /// Begins to create an environment; `None` if the environment exists (`is_there` if the caller knows already).
    ///
    /// # Errors
    /// `too_many`.
    pub(crate) async fn make_environment(
        &self,
        app: &AppName,
        environment: &PlaceName,
        is_there: bool,
    ) -> Result<Option<Making<'_>>, Error> {
        if is_there || self.is_counted(app, environment).await? {
            return Ok(None);
        }
        let making = self.making.lock().await;
        self.check_environment_count(app).await?;
        Ok(Some(making))
    }

    /// Begins to write the history of an environment, and so creates the environment, except for `preview`.
    ///
    /// # Errors
    /// `too_many`.
    pub(crate) async fn make_history(
        &self,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<Option<Making<'_>>, Error> {
        if environment.is_preview() {
            return Ok(None);
        }
        self.make_environment(app, environment, false).await
    }

    async fn check_new_app(&self, app: &AppName) -> Result<(), Error> {
        let reserved = |detail: String| -> Result<(), Error> {
            let hint = "choose another name; the operator of the edge may give an app that hostname, or allow the name by \
                `[names] allow` in edge.toml";
            Err(Problem::new(Code::NameReserved, detail).hint(hint).into())
        };
        let domains = self.ledger.live.domains();
        if let Some(why) = why_reserved(domains, &self.names, app) {
            return reserved(why);
        }
        let host = domains.place_host(app, &PlaceName::prod());
        if let Ok(pattern) = host.parse::<HostPattern>() {
            let key = records::hostname_key(&pattern);
            let owner = self.ledger.catalog.get(&key).await?;
            let owner: Option<HostnameRecord> = owner.map(|found| records::read(&key, &found)).transpose()?;
            if owner.is_some_and(|owner| owner.app != *app) {
                return reserved(format!("{host} was given to another app, so no app is called {app}."));
            }
        }
        let max = size(self.ledger.limits().apps_max);
        if self.ledger.catalog.list(records::APPS_PREFIX, None, false, max).await?.len() < max {
            return Ok(());
        }
        Err(Problem::new(Code::TooMany, format!("The edge has {} already.", counted(max, "app")))
            .hint("delete those that nobody uses; `apps_max` in edge.toml is the limit")
            .into())
    }

    /// Checks that an app may store an additional version.
    ///
    /// # Errors
    /// `too_many`.
    pub(crate) async fn check_version_count(&self, app: &AppName) -> Result<(), Error> {
        let max = self.ledger.limits().for_app(app).versions_max;
        let prefix = records::versions_prefix(app);
        let used = self.ledger.catalog.list(&prefix, None, false, size(max)).await?.len();
        let hint = "`devanture delete version` deletes one, `[retention]` lets old ones go";
        check_count(app, "version", used, "versions_max", max, hint)
    }

    async fn check_environment_count(&self, app: &AppName) -> Result<(), Error> {
        let max = self.ledger.limits().for_app(app).environments_max;
        let used = self.counted_names_of(app, size(max)).await?.len();
        let hint = "`devanture delete environment NAME` deletes one";
        check_count(app, "environment", used, "environments_max", max, hint)
    }

    /// Returns true if the catalog has any record of an environment.
    pub(crate) async fn has_environment(&self, app: &AppName, environment: &PlaceName) -> Result<bool, Error> {
        let history = records::history_prefix(app, environment);
        Ok(self.has_more_than_history(app, environment).await? || self.has_any(&history).await?)
    }

    /// Returns true if an environment counts against the limit of the app: `preview` does not count with only a
    /// history, as written by pushes to aliases.
    async fn is_counted(&self, app: &AppName, environment: &PlaceName) -> Result<bool, Error> {
        match environment.is_preview() {
            true => self.has_more_than_history(app, environment).await,
            false => self.has_environment(app, environment).await,
        }
    }

    async fn has_more_than_history(&self, app: &AppName, environment: &PlaceName) -> Result<bool, Error> {
        let keys = [
            records::live_key(app, environment),
            gone::deleted_environment_key(app, environment),
            records::listed_key(app, environment),
            signing::signers_key(app, environment),
        ];
        if self.ledger.catalog.get_all(&keys).await?.iter().any(Option::is_some) {
            return Ok(true);
        }
        self.has_any(&settings::settings_prefix(app, environment)).await
    }

    async fn has_any(&self, prefix: &str) -> Result<bool, Error> {
        Ok(!self.ledger.catalog.list(prefix, None, false, 1).await?.is_empty())
    }

    /// Returns at most `max` of the environments that count against the limit, as in [`Places::is_counted`].
    pub(crate) async fn counted_names_of(&self, app: &AppName, max: usize) -> Result<BTreeSet<String>, Error> {
        let mut found = self.names_of(app, max.saturating_add(1)).await?;
        let preview = PlaceName::preview();
        if found.contains(preview.as_str()) && !self.is_counted(app, &preview).await? {
            found.remove(preview.as_str());
        }
        while found.len() > max {
            found.pop_last();
        }
        Ok(found)
    }

    /// Returns at most `max` of the environments of an app with any record.
    pub(crate) async fn names_of(&self, app: &AppName, max: usize) -> Result<BTreeSet<String>, Error> {
        let mut found = BTreeSet::new();
        for prefix in [
            records::live_prefix(app),
            gone::deleted_environments_prefix(app),
            format!("listed/{app}/"),
            signing::signers_prefix(app),
            records::histories_prefix(app),
            format!("{}{app}/", settings::SETTINGS_PREFIX),
        ] {
            let mut after: Option<String> = None;
            while found.len() < max {
                let next = self.ledger.catalog.list(&prefix, after.as_deref(), false, 1).await?;
                let Some((key, _)) = next.first() else { break };
                let rest = key.strip_prefix(&prefix).unwrap_or_default();
                after = Some(match rest.split_once('/') {
                    // After all records of this environment.
                    Some((name, _)) => format!("{prefix}{name}/~"),
                    None => key.clone(),
                });
                found.extend(rest.split('/').next().map(str::to_owned));
            }
        }
        Ok(found)
    }
}

pub(crate) fn size(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
