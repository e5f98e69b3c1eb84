//! Bytes loaded again by returning visitors, with and without files of the earlier version as dictionaries.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use devanture_config::api::{Amount, Returning};
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use devanture_site::dictionary::Announced;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::publisher::Publisher;
use crate::encode::{Siblings, is_html, kept_in};
use crate::ledger::Error;
use crate::switch::SwitchOutcome;
use devanture_serve::version::{KeptFiles, Version, put_hashed_pages};
use devanture_store::blobs::{self, DeltaInfo};
use devanture_store::records::{self, DictionariesRecord, Levels, VersionRecord};

/// Files whose variants are looked up concurrently.
pub(super) const LOOKUPS_AT_ONCE: usize = 16;
/// Files prepared together: futures for a hundred thousand files take more memory than the manifest.
pub(super) const FILES_TOGETHER: usize = 256;

/// Bytes of new and changed files loaded by returning visitors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LoadedAgain {
    /// In browsers without dictionaries.
    pub(super) plain: Amount,
    /// In browsers with files of the earlier version, if the version has dictionaries.
    pub(super) with_dictionaries: Option<u64>,
}

/// Version, reduced to the facts that determine visitors' downloads.
pub(super) struct ServedVersion<'m> {
    /// Files as served by the environment, with hashed pages in place of the originals.
    manifest: Cow<'m, Manifest>,
    /// Files as received.
    came: &'m Manifest,
    /// True for a stored version, whose hashed pages are known.
    is_stored: bool,
    siblings: Siblings,
    /// Dictionaries and files kept by browsers; `None` if disabled or unknown.
    dictionaries: Option<(DictionariesRecord, KeptFiles)>,
    /// Dictionaries available to the environment's visitors for deltas of the files.
    from: BTreeSet<Digest>,
}

impl ServedVersion<'_> {
    /// Returns the files loaded by a visitor of all pages.
    pub(super) fn files(&self) -> impl Iterator<Item = (&BundlePath, &FileEntry)> {
        self.manifest.files.iter().filter(|(path, _)| self.siblings.is_loaded(path))
    }

    /// Returns true if the file at a path is the same as in the earlier version.
    pub(super) fn is_same(&self, before: &Self, path: &BundlePath) -> bool {
        match self.is_stored && before.is_stored {
            true => self.manifest.files.get(path) == before.manifest.files.get(path),
            // Hashed pages are unknown before the push.
            false => self.came.files.get(path) == before.came.files.get(path),
        }
    }
}

/// Files of an earlier version in a browser.
struct Had<'m> {
    manifest: &'m Manifest,
    kept: &'m KeptFiles,
    announced: Announced<'m>,
}

impl Had<'_> {
    /// Returns the dictionary announced by the browser on the request of a file.
    fn dictionary(&self, path: &BundlePath, entry: &FileEntry) -> Option<Digest> {
        match is_html(path, entry) {
            true => self.kept.pages_found_again().map(|pages| pages.blob),
            false => Some(self.manifest.files.get(self.kept.found_again(&self.announced, path.as_str())?)?.hash),
        }
    }
}

impl Publisher {
    /// Returns a stored version of an app, as served by an environment.
    ///
    /// # Errors
    /// Errors of a store.
    pub(super) async fn sent<'m>(
        &self,
        app: &AppName,
        environment: &PlaceName,
        version: Option<&VersionId>,
        manifest: &'m Manifest,
    ) -> Result<ServedVersion<'m>, Error> {
        let Some(version) = version else {
            let siblings = Siblings::new(manifest, &BTreeMap::default(), Levels::default());
            let (came, manifest) = (manifest, Cow::Borrowed(manifest));
            return Ok(ServedVersion {
                manifest,
                came,
                is_stored: false,
                siblings,
                dictionaries: None,
                from: BTreeSet::new(),
            });
        };
        let key = records::version_key(app, version);
        let (mut given, mut hashed, is_quick) = match self.ledger.catalog.get(&key).await? {
            Some(record) => {
                let record = records::read::<VersionRecord>(&key, &record)?;
                let hashed = record.integrity_in(manifest, environment.as_str());
                (record.given, hashed, record.quick)
            }
            None => Default::default(),
        };
        let with_hashes = put_hashed_pages(&*self.blobs, manifest, &mut hashed, &mut given).await?;
        let (came, is_stored) = (manifest, true);
        let manifest = with_hashes.map_or(Cow::Borrowed(manifest), |hashed| Cow::Owned(hashed.manifest));
        let record = match &self.dictionaries {
            Some(dictionaries) => dictionaries.record(app, version).await?,
            None => None,
        };
        let from = record.as_ref().map(|record| record.from_in(Some(environment))).unwrap_or_default();
        let dictionaries = match record {
            Some(record) => {
                let shared = Arc::new(Manifest::clone(&manifest));
                let limits = &self.ledger.limits();
                let memory = self.switcher.loader.rule_memory();
                let kept = kept_in(&*self.blobs, &shared, (environment, (memory, app)), &record, limits).await?;
                Some((record, kept))
            }
            None => None,
        };
        let levels = Levels::of((app, *version), is_quick, (&self.ledger.catalog, &self.blobs));
        let siblings = Siblings::new(&manifest, &given, levels);
        Ok(ServedVersion { siblings, manifest, came, is_stored, dictionaries, from })
    }

    /// Computes the bytes loaded again by a visitor of all pages who has loaded all of `before`. Only deltas in
    /// `served` count, if given.
    ///
    /// # Errors
    /// Errors of a store.
    pub(super) async fn loaded_again(
        &self,
        before: &ServedVersion<'_>,
        now: &ServedVersion<'_>,
        served: Option<&Version>,
    ) -> Result<LoadedAgain, Error> {
        let had = before.dictionaries.as_ref().map(|(_, kept)| {
            let announced = kept.announced(&before.manifest);
            Had { manifest: &before.manifest, kept, announced }
        });
        let changed: Vec<_> = now.files().filter(|(path, _)| !now.is_same(before, path)).collect();
        let mut loaded = LoadedAgain::default();
        let mut with = 0_u64;
        for group in changed.chunks(FILES_TOGETHER) {
            let lookups: Vec<_> =
                group.iter().map(|(path, entry)| self.again(path, entry, had.as_ref(), now, served)).collect();
            let found: Vec<(u64, u64)> = stream::iter(lookups).buffer_unordered(LOOKUPS_AT_ONCE).try_collect().await?;
            for (plain, delta) in found {
                loaded.plain.add(plain);
                with = with.saturating_add(delta);
            }
        }
        if let (Some(had), Some(pages)) = (&had, now.dictionaries.as_ref().and_then(|(_, kept)| kept.pages()))
            && had.kept.pages_found_again() != Some(pages)
        {
            let entry = FileEntry { hash: pages.blob, size: pages.size, media_type: None };
            with = with.saturating_add(self.travelling(now, &entry).await?);
        }
        loaded.with_dictionaries = had.map(|_| with);
        Ok(loaded)
    }

    /// Returns the transfer size of a file for all browsers, and for a browser with the dictionaries.
    async fn again(
        &self,
        path: &BundlePath,
        entry: &FileEntry,
        had: Option<&Had<'_>>,
        now: &ServedVersion<'_>,
        served: Option<&Version>,
    ) -> Result<(u64, u64), Error> {
        let plain = self.travelling(now, entry).await?;
        let Some(had) = had else { return Ok((plain, plain)) };
        let mut with = plain;
        // A delta left by a push of another app does not count for the present app.
        if let Some(dictionary) = had.dictionary(path, entry).filter(|dictionary| now.from.contains(dictionary)) {
            let deltas = self.blobs.deltas(entry.hash).await?;
            let is_served = |delta: &DeltaInfo| served.is_none_or(|served| served.has_delta(path.as_str(), delta));
            let usable = deltas.iter().filter(|delta| delta.dictionary == dictionary && is_served(delta));
            let usable = usable.map(|delta| delta.size);
            with = usable.fold(plain, u64::min);
        }
        Ok((plain, with))
    }

    /// Returns the transfer size of a file, in Brotli if available.
    pub(super) async fn travelling(&self, of: &ServedVersion<'_>, entry: &FileEntry) -> Result<u64, blobs::Error> {
        let stored = self.blobs.stored_variants(entry.hash).await?;
        let variants = of.siblings.served(&entry.hash, stored).await;
        Ok(of.siblings.in_brotli(entry, &variants))
    }

    /// Computes the bytes loaded again by visitors after a switch; `None` without an earlier version. Errors do not
    /// fail the push.
    pub(super) async fn returning(
        &self,
        app: &AppName,
        environment: &PlaceName,
        moved: &SwitchOutcome,
        (id, now): (&VersionId, &Manifest),
    ) -> Option<Returning> {
        let before = moved.previous.filter(|_| moved.switched)?;
        let found = async {
            let manifest = self.ledger.manifest(&*self.blobs, app, before).await?;
            let before = self.sent(app, environment, Some(&before), &manifest).await?;
            let served = self.ledger.live.place(app, environment).and_then(|place| place.loaded(id));
            let now = self.sent(app, environment, Some(id), now).await?;
            self.loaded_again(&before, &now, served.as_deref()).await
        };
        match found.await {
            Ok(found) => {
                let plain_bytes = found.plain.bytes;
                found.with_dictionaries.map(|bytes| Returning { bytes, plain_bytes })
            }
            Err(error) => {
                tracing::warn!(app = %app, %error, "what visitors load again is not known");
                None
            }
        }
    }
}
