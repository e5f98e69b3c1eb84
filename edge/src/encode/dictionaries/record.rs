//! The records of dictionaries: read, joined with what is there, and written by compare-and-swap.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use devanture_config::{AppName, Digest, Sha256, VersionId};

use super::Dictionaries;
use crate::catalog::records::{self, DICTIONARIES_AT_ONCE, DictionariesRecord};
use crate::catalog::scan::Scan;
use crate::catalog::{Change, Check, Commit};
use crate::ledger::{Error, Own, commit_own, unless_conflict, update};

/// Apps whose dictionaries are kept at hand.
const APPS_MAX: usize = 256;

/// The dictionaries of an app by what browsers call them.
pub(super) type BySha256 = Arc<HashMap<Sha256, Digest>>;

impl Dictionaries {
    /// What of a version serves as dictionaries, where that was found out; a record that cannot be read is none.
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
                record.from.extend(&found.from);
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

    /// Adds a dictionary that deltas of a version's files were made with.
    pub(crate) async fn add_from(
        &self,
        app: &AppName,
        version: &VersionId,
        from: &BTreeSet<Digest>,
    ) -> Result<bool, Error> {
        let joined = |found: Option<&DictionariesRecord>| {
            let mut record = found.cloned().unwrap_or_default();
            record.from.extend(from);
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
            let check = match &found {
                Some(record) => Check::At(key.clone(), record.revision),
                None => Check::Absent(key.clone()),
            };
            let found: Option<DictionariesRecord> = found.and_then(|record| records::read(&key, &record).ok());
            let record = joined(found.as_ref());
            let names = |record: &DictionariesRecord| (record.files.clone(), record.pages);
            let is_named_anew = found.as_ref().map(names) != Some(names(&record));
            if found.as_ref() == Some(&record) {
                return Ok(Some(false));
            }
            let commit = Commit {
                checks: vec![check, Check::At(version_key, stored.revision)],
                changes: vec![Change::Put(key.clone(), records::write(&record)?)],
            };
            if unless_conflict(commit_own(&*self.catalog, Own::Dictionaries, commit).await)?.is_some() {
                // Browsers name nothing else: what is made with it may change as often as they wish.
                if is_named_anew {
                    self.writes.fetch_add(1, Ordering::AcqRel);
                    self.by_app.lock().unwrap_or_else(PoisonError::into_inner).remove(app);
                }
                return Ok(Some(true));
            }
            Ok(None)
        })
        .await
    }

    /// The dictionaries of an app, by what browsers call them.
    pub(crate) async fn by_sha256(&self, app: &AppName) -> Result<BySha256, Error> {
        let at_hand = self.by_app.lock().unwrap_or_else(PoisonError::into_inner).get(app).cloned();
        if let Some(at_hand) = at_hand {
            return Ok(at_hand);
        }
        let writes = self.writes.load(Ordering::Acquire);
        let prefix = records::dictionaries_prefix(app);
        let mut found: HashMap<Sha256, Digest> = HashMap::new();
        let mut stored = Scan::new(&*self.catalog, prefix).pages_of(DICTIONARIES_AT_ONCE);
        while let Some((key, record)) = stored.next().await? {
            let Ok(record) = records::read::<DictionariesRecord>(&key, &record) else { continue };
            found.extend(record.files.into_iter().map(|(blob, sha256)| (sha256, blob)));
            found.extend(record.pages.map(|pages| (pages.sha256, pages.blob)));
        }
        let found = Arc::new(found);
        let mut by_app = self.by_app.lock().unwrap_or_else(PoisonError::into_inner);
        if by_app.len() >= APPS_MAX {
            by_app.clear();
        }
        // What was written while these were read is in none of them, perhaps.
        if self.writes.load(Ordering::Acquire) == writes {
            by_app.insert(app.clone(), Arc::clone(&found));
        }
        Ok(found)
    }
}
