//! Damage of stored files of versions that are in memory, as a check of the stored files finds it: what was loaded
//! before is served as it was, and could not be loaded again.

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

/// Files of one version that are looked at each time, to see whether they are whole again.
const FILES_LOOKED_AT_MAX: usize = 64;
/// Paths that the log names of one version.
const LOGGED_MAX: usize = 10;

/// The stored files of a version that are damaged or missing, and that it serves from memory.
#[derive(Debug)]
pub(super) struct AtRest {
    pub(super) version: VersionId,
    /// Their paths and contents.
    pub(super) files: Vec<(Box<str>, Digest)>,
    /// Why the whole version could not be loaded again, if it could not.
    pub(super) error: Option<String>,
}

/// What a look at one environment came to: the version that it was for, and its damage.
pub(super) type LookedAtRest = (Arc<Place>, VersionId, Option<AtRest>);

impl AtRest {
    /// Whether some of it may be whole again. At most so many files are looked at, others each `turn`.
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
    /// The damage of the stored files of a version that is in memory.
    pub(super) fn at_rest(&self, version: &VersionId) -> Option<Arc<AtRest>> {
        self.at_rest.load_full().filter(|at_rest| at_rest.version == *version)
    }

    /// Notes what a look came to. Of another version than is live by now it is not used.
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
    /// The environments whose loaded versions are to be looked at: all, where there are suspects, and those with damage
    /// that is known.
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
    /// Looks at stored files of loaded versions: at those that are suspected, and those whose damage is known.
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
                // What is known stays.
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
        // What was made of its files at the push, and is served in their place.
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
        // A file that is read from the disk is found damaged by this, and its version loaded again without it.
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

/// Whether an error of a store is damage of one file. A bucket that is away is none.
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
