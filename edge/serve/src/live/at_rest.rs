//! Damaged stored files of loaded versions, as found by a check of the stored files: such a version is still served
//! from memory, and could not be loaded again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use devanture_config::path::BundlePath;
use devanture_config::{Digest, VersionId};

use super::{Live, LoadError, Loader, Place};
use crate::version::{self, Version};
use devanture_base::durable;
use devanture_base::fair::Lane;
use devanture_store::blobs::{self, Blobs, Key};
use devanture_store::records::{self, VersionRecord};

/// Files of one version checked per look for repair.
const FILES_LOOKED_AT_MAX: usize = 64;
/// Paths of one version in the log.
const LOGGED_MAX: usize = 10;

/// Damaged or missing stored files that a version serves from memory.
#[derive(Debug)]
pub(super) struct AtRest {
    pub(super) version: VersionId,
    /// Paths and contents.
    pub(super) files: Vec<(Box<str>, Digest)>,
    /// Reason that the whole version could not be loaded again, if any.
    pub(super) error: Option<String>,
}

/// Result of a look at one environment: the checked version, and its damage.
pub(super) type LookedAtRest = (Arc<Place>, VersionId, Option<AtRest>);

impl AtRest {
    /// Returns true if a file may be repaired. Checks a bounded number of files, different ones at each `turn`.
    async fn may_be_whole(&self, blobs: &dyn Blobs, turn: usize) -> bool {
        if self.error.is_some() {
            return true;
        }
        let first = turn.saturating_mul(FILES_LOOKED_AT_MAX).checked_rem(self.files.len()).unwrap_or_default();
        let count = self.files.len().min(FILES_LOOKED_AT_MAX);
        for (_, blob) in self.files.iter().cycle().skip(first).take(count) {
            if blobs.open(Key::Blob(*blob)).await.is_ok() {
                return true;
            }
        }
        false
    }
}

impl Place {
    /// Damage of the stored files of a loaded version.
    pub(super) fn at_rest(&self, version: &VersionId) -> Option<Arc<AtRest>> {
        self.at_rest.load_full().filter(|at_rest| at_rest.version == *version)
    }

    /// Records the result of a look; ignored if another version is live by now.
    pub(super) fn note_at_rest(&self, version: &VersionId, found: Option<AtRest>) {
        let is_new = self.at_rest(version).is_none();
        if let Some(AtRest { files, error, .. }) = found.as_ref().filter(|_| is_new) {
            let (app, environment) = (&self.app, &self.name);
            let paths: Vec<&str> = files.iter().take(LOGGED_MAX).map(|(path, _)| &**path).collect();
            tracing::error!(%app, %environment, %version, files = files.len(), paths = paths.join(", "), error = error.as_deref(),
                "stored files of a live version are damaged or missing: what is in memory is served until it is loaded again");
        }
        self.at_rest.store(found.map(Arc::new));
    }
}

impl Live {
    /// Environments whose loaded versions must be checked: all if suspects exist, and those with known damage.
    pub(super) fn suspected(&self, suspects: &HashSet<Key>) -> Vec<(Arc<Place>, Arc<Version>)> {
        let hosts = self.0.hosts.load();
        let is_suspected = |place: &Place, version: &Version| {
            place.setting == version::Setting::Environment
                && (!suspects.is_empty() || place.at_rest(&version.id).is_some())
        };
        let loaded = hosts.places.values().filter_map(|place| {
            let version = Arc::clone(&place.current.load().as_ref()?.version);
            is_suspected(place, &version).then(|| (Arc::clone(place), version))
        });
        loaded.collect()
    }
}

impl Loader {
    /// Checks stored files of loaded versions: suspected files, and files with known damage.
    pub(super) async fn look_at_rest(
        &self,
        suspected: Vec<(Arc<Place>, Arc<Version>)>,
        suspects: &HashSet<Key>,
        turn: usize,
    ) -> Vec<LookedAtRest> {
        let mut looked = Vec::new();
        for (place, version) in suspected {
            let known = place.at_rest(&version.id);
            if suspects.is_empty()
                && let Some(known) = &known
                && !known.may_be_whole(&**self.blobs(), turn).await
            {
                continue;
            }
            match self.at_rest(&version, known.as_deref(), suspects).await {
                Ok(at_rest) => looked.push((place, version.id, at_rest)),
                // Known damage stays recorded.
                Err(error) => {
                    tracing::warn!(app = %place.app, version = %version.id, %error, "the stored files of a live version cannot be looked at");
                }
            }
        }
        looked
    }

    async fn at_rest(
        &self,
        version: &Arc<Version>,
        known: Option<&AtRest>,
        suspects: &HashSet<Key>,
    ) -> Result<Option<AtRest>, LoadError> {
        let id = version.id;
        let manifest = match self.manifest(id).await {
            Ok(manifest) => manifest,
            Err(error) if is_of_manifest(&error) => {
                return Ok(Some(AtRest { version: id, files: Vec::new(), error: Some(error.to_string()) }));
            }
            Err(error) => return Err(error),
        };
        let known: HashSet<Digest> = known.iter().flat_map(|known| &known.files).map(|(_, blob)| *blob).collect();
        let is_suspect = |blob: &Digest| known.contains(blob) || suspects.contains(&Key::Blob(*blob));
        let suspected = |(path, blob): (&BundlePath, Digest)| is_suspect(&blob).then(|| (path.as_str().into(), blob));
        let files = manifest.files.iter().map(|(path, file)| (path, file.hash));
        let mut named: Vec<(Box<str>, Digest)> = files.filter_map(suspected).collect();
        // Decoded files and pages with hashes, made at the push and served in place of the bundle's files.
        let key = records::version_key(&version.app, &version.id);
        if let Some(record) = self.catalog().get(&key).await? {
            let record: VersionRecord = records::read(&key, &record)?;
            let pages = record.integrity_in(&manifest, &version.place).pages;
            let made = record.decoded.iter().chain(&pages).map(|(path, file)| (path, file.hash));
            named.extend(made.filter_map(suspected));
        }
        let blobs = self.blobs().of(Lane::of(version.app.as_str()));
        let mut files: BTreeMap<Box<str>, Digest> = BTreeMap::new();
        for (path, blob) in named {
            if blobs.open(Key::Blob(blob)).await.is_err_and(|error| is_damage(&error)) {
                files.insert(path, blob);
            }
        }
        // Reading finds the damage of a file on the disk, and the version is loaded again without the file.
        let loaded = Arc::clone(version);
        let served = move || {
            files.retain(|path, _| loaded.has_whole(path) != Some(false));
            files
        };
        let files = tokio::task::spawn_blocking(served).await.map_err(|_panicked| version::Error::Panicked)?;
        let files: Vec<_> = files.into_iter().collect();
        Ok((!files.is_empty()).then_some(AtRest { version: id, files, error: None }))
    }
}

/// Returns true if a store's error is damage of one file. An unreachable bucket is no damage.
const fn is_damage(error: &blobs::Error) -> bool {
    matches!(
        error,
        blobs::Error::Corrupt { .. } | blobs::Error::Missing(_) | blobs::Error::Disk(durable::Error::Io { .. })
    )
}

fn is_of_manifest(error: &LoadError) -> bool {
    match error {
        LoadError::Version(version::Error::Blobs(error)) => is_damage(error),
        LoadError::Version(version::Error::Manifest(_)) => true,
        _ => false,
    }
}
