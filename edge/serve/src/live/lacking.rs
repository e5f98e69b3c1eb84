//! Live versions or files that one process lacks and another serves: an edge that would serve less than the running one
//! does not take over.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::{AppName, Digest, PlaceName, VersionId};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Live, Place};
use crate::version::Setting;
use devanture_store::blobs::Key;

/// Maximum files of one version to check.
const FILES_MAX: usize = 100;
/// Maximum files named in a message.
const FILES_NAMED_MAX: usize = 3;
/// Time limit for checking the files of one version. Unchecked files count as served.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);

/// An environment whose live version a process cannot serve, or serves without some files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The version that should be live; `None` if the record cannot be read.
    pub version: Option<VersionId>,
    /// Number of files left out of an otherwise served version.
    pub count: usize,
    /// Paths and contents of the missing files, a hundred at most.
    pub files: Vec<(Box<str>, Digest)>,
    /// Reason, if no file of the version is served.
    pub error: Option<String>,
}

impl Lacking {
    /// A version of which no file can be served.
    #[must_use]
    pub fn whole(app: &AppName, environment: PlaceName, version: VersionId, error: String) -> Self {
        let (app, version, error) = (app.clone(), Some(version), Some(error));
        Self { app, environment, version, count: 0, files: Vec::new(), error }
    }

    /// Returns true if both are about the same environment.
    #[must_use]
    pub fn is_of(&self, other: &Self) -> bool {
        (&self.app, &self.environment) == (&other.app, &other.environment)
    }
}

/// Manifest fields that are read in every format.
#[derive(Deserialize)]
struct ManifestFormat {
    format: u32,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { app, environment, version, count, files, error } = self;
        match version {
            Some(version) => write!(f, "version {} of {app} in {environment}", version.short())?,
            None => write!(f, "what is live of {app} in {environment}")?,
        }
        if let Some(error) = error {
            return write!(f, " cannot be loaded ({error})");
        }
        let named: Vec<&str> = files.iter().take(FILES_NAMED_MAX).map(|(path, _)| &**path).collect();
        let more = if *count > named.len() { ", …" } else { "" };
        write!(f, " lacks {count} of its files ({}{more})", named.join(", "))
    }
}

impl Place {
    fn lacking(&self) -> Option<Lacking> {
        let of = |version| {
            let (app, environment) = (self.app.clone(), self.name.clone());
            Lacking { app, environment, version, count: 0, files: Vec::new(), error: None }
        };
        if let Some(unloaded) = &*self.unloaded.load() {
            return Some(Lacking { error: Some(unloaded.error.clone()), ..of(unloaded.version) });
        }
        let current = self.current.load();
        let version = &current.as_ref()?.version;
        let damaged = &version.damaged;
        let files = damaged.iter().take(FILES_MAX).map(|file| (file.path.clone(), file.blob)).collect();
        (!damaged.is_empty()).then(|| Lacking { count: damaged.len(), files, ..of(Some(version.id)) })
    }

    /// Content of a version, damaged on the disk, that is served from memory.
    fn in_memory_alone(&self) -> Option<Lacking> {
        let current = self.current.load();
        let version = &current.as_ref()?.version;
        let at_rest = self.at_rest(&version.id)?;
        let is_left_out = |path: &str| version.damaged.iter().any(|file| &*file.path == path);
        let files: Vec<_> = at_rest.files.iter().filter(|(path, _)| !is_left_out(path)).cloned().collect();
        let (app, environment) = (self.app.clone(), self.name.clone());
        let (count, error) = (files.len(), at_rest.error.clone());
        let is_any = count > 0 || error.is_some();
        let files = files.into_iter().take(FILES_MAX).collect();
        is_any.then(|| Lacking { app, environment, version: Some(version.id), count, files, error })
    }
}

impl Live {
    /// Environments whose live version the process cannot serve, or serves without some files, by app and name; without
    /// versions not loaded yet.
    #[must_use]
    pub fn lacking(&self) -> Vec<Lacking> {
        let hosts = self.0.hosts.load();
        let is_served =
            |place: &&Arc<Place>| place.setting == Setting::Environment && !hosts.deleted.contains(&place.app);
        let environments = hosts.places.values().filter(is_served);
        let mut lacking: Vec<_> = environments.filter_map(|place| place.lacking()).collect();
        lacking.sort_by(|a, b| (&a.app, &a.environment).cmp(&(&b.app, &b.environment)));
        lacking
    }

    /// An environment whose live version has a manifest of a higher format than `read`. Reads manifests of versions not
    /// loaded.
    pub async fn beyond_format(&self, read: u32) -> Option<String> {
        let sentence = |place: &Place, version: VersionId, format: u32| {
            let (app, environment) = (&place.app, &place.name);
            let version = version.short();
            format!("the manifest of version {version} of {app} in {environment} has format {format}")
        };
        for place in self.environment_places() {
            if let Some(current) = place.current() {
                let mut versions = current.versions();
                if let Some(version) = versions.find(|version| version.format > read) {
                    return Some(sentence(&place, version.id, version.format));
                }
            } else if let Some(load) = place.first_load.load_full()
                && let Some(loader) = self.0.loader.get()
                && let Ok(manifest) = loader.blobs().get(Key::Manifest(load.of.version)).await
                && let Ok(ManifestFormat { format }) = serde_json::from_slice(&manifest)
                && format > read
            {
                return Some(sentence(&place, load.of.version, format));
            }
        }
        None
    }

    /// Environments with damage on the disk that the process serves from memory: another process that loads the
    /// versions would lack the files.
    #[must_use]
    pub fn in_memory_alone(&self) -> Vec<Lacking> {
        let hosts = self.0.hosts.load();
        let environments = hosts.places.values().filter(|place| place.setting == Setting::Environment);
        let mut lacking: Vec<_> = environments.filter_map(|place| place.in_memory_alone()).collect();
        lacking.sort_by(|a, b| (&a.app, &a.environment).cmp(&(&b.app, &b.environment)));
        lacking
    }

    /// The environments of `lacking` that the local process serves better: a version is loaded, and of the files
    /// missing elsewhere at least one is readable here.
    pub async fn serving(&self, lacking: Vec<Lacking>) -> Vec<(AppName, PlaceName)> {
        let mut serving = Vec::new();
        for Lacking { app, environment, version, files, error, .. } in lacking {
            if let Some(loader) = self.0.loader.get() {
                // Damage found by the other process suspects the files loaded here.
                let of_version = version.map(Key::Manifest).into_iter();
                of_version
                    .chain(files.iter().map(|(_, blob)| Key::Blob(*blob)))
                    .for_each(|key| loader.blobs().suspect(key));
            }
            let Some(current) = self.place(&app, &environment).and_then(|place| place.current()) else { continue };
            let version = Arc::clone(&current.version);
            // A file on the disk is read to the end: its stored bytes may be the damaged ones.
            let look = move || error.is_some() || files.iter().any(|(path, _)| version.has_whole(path) == Some(true));
            let looked = timeout(LOOK_TIME_MAX, tokio::task::spawn_blocking(look)).await;
            if !matches!(looked, Ok(Ok(false))) {
                serving.push((app, environment));
            }
        }
        serving
    }
}
