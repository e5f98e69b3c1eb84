//! Dictionary records: read, merged, and written by compare-and-swap.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use devanture_config::{AppName, Digest, PlaceName, Sha256, VersionId};

use super::maker::Dictionaries;
use crate::ledger::{Error, SystemWrite, commit_system, unless_conflict, update};
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{self, Change, Check, Commit, Revision};
use devanture_store::records::{self, DICTIONARIES_AT_ONCE, DictionariesRecord};
use devanture_store::records::{history, pointer};

/// Cached environments and previews.
const PLACES_MAX: usize = 256;

/// Dictionaries by their SHA-256, as named by browsers.
pub(super) type BySha256 = Arc<HashMap<Sha256, Digest>>;

/// Source of visitors with dictionaries.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum PlaceKey {
    Environment(AppName, PlaceName),
    Preview(AppName, VersionId),
}

impl PlaceKey {
    const fn app(&self) -> &AppName {
        match self {
            Self::Environment(app, _) | Self::Preview(app, _) => app,
        }
    }
}

/// Cached dictionaries of an environment or preview.
#[derive(Clone)]
pub(super) struct KnownDictionaries {
    /// Revision of the live pointer at the time of caching.
    switch: Option<Revision>,
    by_sha256: BySha256,
}

impl Dictionaries {
    /// Returns the dictionaries of a version, if determined; an unreadable record counts as absent.
    pub(crate) async fn record(&self, app: &AppName, version: &VersionId) -> Result<Option<DictionariesRecord>, Error> {
        let key = records::dictionaries_key(app, version);
        let Some(record) = self.catalog.get(&key).await? else { return Ok(None) };
        Ok(records::read(&key, &record).ok())
    }

    /// Writes the dictionaries of a stored version. Sources of deltas are added to earlier sources, since several
    /// passes make deltas. Returns true if written.
    pub(super) async fn write(
        &self,
        app: &AppName,
        version: &VersionId,
        wanted: &DictionariesRecord,
    ) -> Result<bool, Error> {
        let before = self.record(app, version).await?.unwrap_or_default();
        let withdrawn = self.withdrawn(app).await?;
        let sound = self.sound_pages(&before, &withdrawn).await?;
        let joined = |found: Option<&DictionariesRecord>| {
            let mut record = wanted.clone();
            if let Some(found) = found {
                for (environment, from) in &found.deltas_from {
                    record.add_from(environment, from.iter().copied());
                }
                // An earlier pass may have determined files that the present pass had no time for.
                record.files.extend(&found.files);
                if record.pages.is_none() && (found.pages == sound || found.pages != before.pages) {
                    (record.pages, record.pages_of) = (found.pages, found.pages_of.clone());
                }
            }
            record
        };
        self.change(app, version, &joined).await
    }

    /// Adds source dictionaries of a version's deltas, for visitors of an environment.
    pub(crate) async fn add_from(
        &self,
        app: &AppName,
        version: &VersionId,
        environment: &PlaceName,
        from: &BTreeSet<Digest>,
    ) -> Result<bool, Error> {
        let joined = |found: Option<&DictionariesRecord>| {
            let mut record = found.cloned().unwrap_or_default();
            record.add_from(environment, from.iter().copied());
            record
        };
        self.change(app, version, &joined).await
    }

    async fn change(
        &self,
        app: &AppName,
        version: &VersionId,
        joined: &(dyn Fn(Option<&DictionariesRecord>) -> DictionariesRecord + Sync),
    ) -> Result<bool, Error> {
        let key = records::dictionaries_key(app, version);
        update(&key, || async {
            let version_key = records::version_key(app, version);
            // The record is deleted with its version.
            let Some(stored) = self.catalog.get(&version_key).await? else { return Ok(Some(false)) };
            let found = self.catalog.get(&key).await?;
            let check = Check::of(key.clone(), found.as_ref().map(|record| record.revision));
            let found: Option<DictionariesRecord> = found.and_then(|record| records::read(&key, &record).ok());
            let record = joined(found.as_ref());
            let names = |record: &DictionariesRecord| (record.files.clone(), record.pages);
            let is_renamed = found.as_ref().map(names) != Some(names(&record));
            if found.as_ref() == Some(&record) {
                return Ok(Some(false));
            }
            let commit = Commit {
                checks: vec![check, Check::At(version_key, stored.revision)],
                changes: vec![Change::Put(key.clone(), records::write(&record)?)],
            };
            let committed = commit_system(&*self.catalog, SystemWrite::Dictionaries, commit).await;
            if let Err(catalog::Error::TooLarge { reason }) = &committed {
                // Visitors of the version get whole files.
                tracing::warn!(%app, version = %version.short(), reason, "a version has too many files to serve as dictionaries");
                return Ok(Some(false));
            }
            if unless_conflict(committed)?.is_some() {
                // Browsers name no other files: unfingerprinted files may change at any time.
                if is_renamed {
                    self.writes.fetch_add(1, Ordering::AcqRel);
                    let mut by_place = self.by_place.lock();
                    by_place.retain(|key, _| key.app() != app);
                }
                return Ok(Some(true));
            }
            Ok(None)
        })
        .await
    }

    /// Returns the dictionaries that visitors may have, by SHA-256: in an environment, files of its earlier live
    /// versions; in a preview, files of its own version. Other stored versions must stay hidden, since a delta would
    /// confirm a guess of their content.
    pub(crate) async fn by_sha256(
        &self,
        app: &AppName,
        environment: Option<&PlaceName>,
        version: &VersionId,
    ) -> Result<BySha256, Error> {
        let key = match environment {
            Some(environment) => PlaceKey::Environment(app.clone(), environment.clone()),
            None => PlaceKey::Preview(app.clone(), *version),
        };
        // Each switch adds a version with files held by visitors.
        let live = match environment {
            Some(environment) => pointer::live_pointer(&*self.catalog, app, environment).await?,
            None => None,
        };
        let switch = live.as_ref().map(|(revision, _)| *revision);
        let known = self.by_place.lock().get(&key).cloned();
        if let Some(known) = known.filter(|known| known.switch == switch) {
            return Ok(known.by_sha256);
        }
        let writes = self.writes.load(Ordering::Acquire);
        let by_sha256 = Arc::new(match environment {
            Some(environment) => {
                self.of_environment(app, environment, live.map(|(_, pointer)| pointer.version)).await?
            }
            None => self.record(app, version).await?.map(names).unwrap_or_default(),
        });
        let mut by_place = self.by_place.lock();
        if by_place.len() >= PLACES_MAX {
            // Entries of environments take longer to compute; strangers may request many previews.
            by_place.retain(|key, _| matches!(key, PlaceKey::Environment(..)));
        }
        if by_place.len() >= PLACES_MAX {
            by_place.clear();
        }
        // Records written during the read may be missing from the result.
        if self.writes.load(Ordering::Acquire) == writes {
            by_place.insert(key, KnownDictionaries { switch, by_sha256: Arc::clone(&by_sha256) });
        }
        Ok(by_sha256)
    }

    /// Returns the dictionaries of all versions in the history of an environment.
    async fn of_environment(
        &self,
        app: &AppName,
        environment: &PlaceName,
        live: Option<VersionId>,
    ) -> Result<HashMap<Sha256, Digest>, Error> {
        let history = records::history_prefix(app, environment);
        let switches = history::switches(&*self.catalog, &history, 0, usize::MAX).await?;
        let were_live = switches.into_iter().flat_map(|switch| [Some(switch.version), switch.previous]).chain([live]);
        let keys: HashSet<String> =
            were_live.flatten().map(|version| records::dictionaries_key(app, &version)).collect();
        let mut found = HashMap::new();
        let mut stored = Scan::new(&*self.catalog, records::dictionaries_prefix(app)).pages_of(DICTIONARIES_AT_ONCE);
        while let Some((key, record)) = stored.next().await? {
            if keys.contains(&key) {
                found.extend(records::read::<DictionariesRecord>(&key, &record).map(names).unwrap_or_default());
            }
        }
        Ok(found)
    }
}

/// Returns the dictionaries of a version by SHA-256.
fn names(record: DictionariesRecord) -> HashMap<Sha256, Digest> {
    let files = record.files.into_iter().map(|(blob, sha256)| (sha256, blob));
    files.chain(record.pages.map(|pages| (pages.sha256, pages.blob))).collect()
}
