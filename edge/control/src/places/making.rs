//! Apps and environments that are made: which names they may have, and how many there may be.
//!
//! They are made one at a time, from the count to the commit, so that no two of them are the last one that a limit
//! allows. What is there already waits for nobody.

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

/// What keeps others from making something until it is dropped.
pub(crate) type Making<'p> = MutexGuard<'p, ()>;

/// Checks that a version may be live in an environment: `preview` is where pushes to aliases, and the settings of all
/// previews, are.
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
    /// Checks, before anything is sent for it, that a push finds its app and its environment, or may make them. Of
    /// `preview` it may make the history alone (`is_noted_alone`), which does not count.
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

    /// Begins to make an app; `None` if it is there.
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

    /// Adds the record of an app to a commit, where the app is new.
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
            // It may end meanwhile, and another one of its name begin.
            Some(found) => commit.checks.push(Check::At(key, found.revision)),
            None => {
                let record = AppRecord { created_ms: now_ms, who: actor.name.clone() };
                commit.checks.push(Check::Absent(key.clone()));
                commit.changes.push(Change::Put(key, records::write(&record)?));
            }
        }
        Ok(())
    }

    /// Begins to make an environment; `None` if it is there, as the caller may know already.
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

    /// Begins to write the history of an environment, which makes it, unless it is that of `preview`.
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

    /// Checks that an app may store one more version.
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

    /// Whether there is anything of an environment.
    pub(crate) async fn has_environment(&self, app: &AppName, environment: &PlaceName) -> Result<bool, Error> {
        let history = records::history_prefix(app, environment);
        Ok(self.has_more_than_history(app, environment).await? || self.has_any(&history).await?)
    }

    /// Whether an environment is one of those that an app may have so many of: `preview` is not while there is its
    /// history alone, which pushes to aliases write.
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

    /// At most `max` of the environments of an app that count, as [`Places::is_counted`] has it.
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

    /// At most `max` of the environments of which an app has anything.
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
                    // Beyond every record of this environment.
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
