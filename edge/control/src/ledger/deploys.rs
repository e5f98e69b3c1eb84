//! Reads the history of environments: pages of deploys, and earlier live versions.

use std::collections::BTreeSet;

use devanture_config::api::{Deploy, History};
use devanture_config::{AppName, PlaceName, VersionId};

use super::{Error, Ledger, Page};
use devanture_base::clock;
use devanture_store::catalog::Record;
use devanture_store::records::history;
use devanture_store::records::{self, HistoryEntry, LivePointer};

/// Bytes of entries after which a page ends: a single entry may have hundreds of KiB of texts from its push.
const HISTORY_PAGE_BYTES: usize = 1_024 * 1_024;
/// History entries searched for the live deploy: failed pushes and pauses come after the live deploy.
const RECENT_ENTRIES: usize = 20;
/// Longest caching of a file with a fingerprinted name by browsers: the `max-age` of such files.
const FINGERPRINT_AGE_MS_MAX: u64 = 365 * 86_400_000;
/// Switches of an environment searched for versions; names in older versions are unknown.
const SWITCHES_MAX: usize = 400;

impl Ledger {
    /// Returns a page of an environment's history, newest first.
    ///
    /// # Errors
    /// `not_found` for an unknown app; `bad_request` for an invalid cursor.
    pub async fn history(&self, app: &AppName, environment: &PlaceName, page: &Page) -> Result<History, Error> {
        self.must_exist(app).await?;
        let prefix = records::history_prefix(app, environment);
        let after = match page.after.as_deref() {
            Some(number) if (1..=20).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit()) => {
                Some(format!("{prefix}{number}"))
            }
            Some(_) => return Err(page.bad_cursor()),
            None => None,
        };
        let mut found = history::entries(&*self.catalog, prefix).after(after);
        let (mut entries, mut bytes, mut next) = (Vec::new(), 0_usize, None);
        while let Some((key, record)) = found.next().await? {
            if entries.len() == page.limit || bytes >= HISTORY_PAGE_BYTES {
                let number = |(key, _): &(String, Record)| key.rsplit('/').next().unwrap_or_default().to_owned();
                next = entries.last().map(number);
                break;
            }
            bytes = bytes.saturating_add(record.value.len());
            entries.push((key, record));
        }
        let mut deploys = Vec::with_capacity(entries.len());
        for (key, record) in &entries {
            deploys.extend(records::entry(key, record).map(|entry| Deploy::from(entry.deploy)));
        }
        let unreadable = u64::try_from(entries.len().saturating_sub(deploys.len())).unwrap_or(u64::MAX);
        let (deleted, collected) = self.gone(app, &deploys).await?;
        Ok(History {
            app: app.clone(),
            environment: environment.clone(),
            deploys,
            deleted,
            collected,
            unreadable,
            next,
        })
    }

    /// Returns the reason if the edge itself made the live version live.
    pub(crate) async fn why_went_back(
        &self,
        app: &AppName,
        environment: &PlaceName,
        pointer: &LivePointer,
    ) -> Result<Option<String>, Error> {
        Ok(self.live_deploy(app, environment, pointer).await?.and_then(|deploy| deploy.went_back))
    }

    /// Returns the author of the live version's deploy, as far as the newest entries contain the deploy.
    pub(crate) async fn who_switched(
        &self,
        app: &AppName,
        environment: &PlaceName,
        pointer: &LivePointer,
    ) -> Result<Option<String>, Error> {
        Ok(self.live_deploy(app, environment, pointer).await?.map(|deploy| deploy.who))
    }

    /// Returns the live version's deploy, if among the newest entries.
    async fn live_deploy(
        &self,
        app: &AppName,
        environment: &PlaceName,
        pointer: &LivePointer,
    ) -> Result<Option<Deploy>, Error> {
        let prefix = records::history_prefix(app, environment);
        for (key, record) in self.catalog.list(&prefix, None, true, RECENT_ENTRIES).await? {
            let Some(HistoryEntry { deploy, .. }) = records::entry(&key, &record) else { continue };
            if deploy.id == pointer.deploy {
                return Ok(Some(deploy.into()));
            }
        }
        Ok(None)
    }

    /// Returns true if an environment's visitors may have files of a version: the version is in the history, live, or
    /// still served. The history alone does not suffice, since switches by other actors displace entries.
    pub(crate) async fn names_version(
        &self,
        app: &AppName,
        environment: &PlaceName,
        version: &VersionId,
    ) -> Result<bool, Error> {
        if self
            .live_pointer(app, environment)
            .await?
            .is_some_and(|(_, pointer)| pointer.versions().any(|live| live == *version))
        {
            return Ok(true);
        }
        if self.live.answers_yet(app, environment, version) {
            return Ok(true);
        }
        let prefix = records::history_prefix(app, environment);
        let mut entries = history::entries(&*self.catalog, prefix);
        while let Some((key, record)) = entries.next().await? {
            if records::entry(&key, &record).is_some_and(|entry| entry.deploy.version == *version) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the versions of an environment live within a year, newest first. Their fingerprinted names still matter,
    /// so collections keep their manifests.
    pub(crate) async fn live_within_a_year(
        &self,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<Vec<VersionId>, Error> {
        let since_ms = clock::now_ms().saturating_sub(FINGERPRINT_AGE_MS_MAX);
        let prefix = records::history_prefix(app, environment);
        let switches = history::switches(&*self.catalog, &prefix, since_ms, SWITCHES_MAX).await?;
        let mut seen = BTreeSet::new();
        Ok(switches.iter().map(|switch| switch.version).filter(|version| seen.insert(*version)).collect())
    }
}
