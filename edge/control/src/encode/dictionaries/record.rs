//! The records of dictionaries: read, joined with what is there, and written by compare-and-swap.

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

/// Places whose dictionaries are kept at hand.
const PLACES_MAX: usize = 256;

/// Dictionaries by what browsers call them.
pub(super) type BySha256 = Arc<HashMap<Sha256, Digest>>;

/// Where visitors come with dictionaries.
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

/// The dictionaries of a place, kept at hand.
#[derive(Clone)]
pub(super) struct KnownDictionaries {
    /// The revision of the live pointer when they were found out.
    switch: Option<Revision>,
    by_sha256: BySha256,
}

impl Dictionaries {
    /// The dictionaries of a version, if they were determined; an unreadable record counts as absent.
    pub(crate) async fn record(&self, app: &AppName, version: &VersionId) -> Result<Option<DictionariesRecord>, Error> {
        let key = records::dictionaries_key(app, version);
        let Some(record) = self.catalog.get(&key).await? else { return Ok(None) };
        Ok(records::read(&key, &record).ok())
    }

    /// Writes what of a stored version serves as dictionaries. What it has deltas with is added to what was there: they
    /// are made in several passes. Returns whether anything was written.
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
                // What a pass had no time for, an earlier one may have known.
                record.files.extend(&found.files);
                if record.pages.is_none() && (found.pages == sound || found.pages != before.pages) {
                    (record.pages, record.pages_of) = (found.pages, found.pages_of.clone());
                }
            }
            record
        };
        self.change(app, version, &joined).await
    }

    /// Adds dictionaries that deltas of a version's files were made with, for visitors of an environment.
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
            // It goes with its version: of one that is gone there is none.
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
                // Its visitors are sent whole files.
                tracing::warn!(%app, version = %version.short(), reason, "a version has too many files to serve as dictionaries");
                return Ok(Some(false));
            }
            if unless_conflict(committed)?.is_some() {
                // Browsers name nothing else: what is made with it may change at any time.
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

    /// The dictionaries that visitors of a place may have, by what browsers call them: in an environment the files of
    /// versions that were live there, in a preview those of its own version. Of any other stored version a visitor must
    /// learn nothing, as a delta confirms the guess at its content.
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
        // Each switch adds a version whose files visitors have.
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
            // An environment's take longer to find out, and a stranger may call up many previews.
            by_place.retain(|key, _| matches!(key, PlaceKey::Environment(..)));
        }
        if by_place.len() >= PLACES_MAX {
            by_place.clear();
        }
        // What was written while these were read is in none of them, perhaps.
        if self.writes.load(Ordering::Acquire) == writes {
            by_place.insert(key, KnownDictionaries { switch, by_sha256: Arc::clone(&by_sha256) });
        }
        Ok(by_sha256)
    }

    /// The dictionaries of all versions that were live in an environment, as far back as its history goes.
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

/// What of a version serves as dictionaries, by what browsers call it.
fn names(record: DictionariesRecord) -> HashMap<Sha256, Digest> {
    let files = record.files.into_iter().map(|(blob, sha256)| (sha256, blob));
    files.chain(record.pages.map(|pages| (pages.sha256, pages.blob))).collect()
}
