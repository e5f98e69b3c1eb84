//! Withdrawn paths: versions stored before the withdrawal no longer answer the paths, on any hostname of the app.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use devanture_config::AppName;
use devanture_site::negotiate::Coding;
use devanture_site::resolve::{Resolution, addresses, ends_at, resolve};

use super::{Follower, Live};
use crate::version::Version;
use devanture_store::blobs::Form;
use devanture_store::catalog::{Record, Revision};
use devanture_store::records::{self, WithdrawnRecord};

/// Withdrawn paths of one app, shared by all its versions.
#[derive(Default)]
pub struct Withdrawn {
    /// Time of withdrawal by path without its leading slash, in milliseconds since 1970 UTC. Present if any path was
    /// withdrawn.
    paths: ArcSwapOption<HashMap<Box<str>, u64>>,
    /// True if any path was withdrawn: a cheap check, since mostly none was.
    any: AtomicBool,
    /// The commit that last wrote the paths.
    written: AtomicU64,
}

impl Withdrawn {
    /// Returns true if `version` no longer answers the normalized path `path`.
    #[must_use]
    #[inline]
    pub fn hides(&self, version: &Version, path: &str) -> bool {
        self.has_any() && self.hides_path(version, path.strip_prefix('/').unwrap_or(path))
    }

    // Out of line, to keep the common path short.
    #[cold]
    fn hides_path(&self, version: &Version, path: &str) -> bool {
        self.paths.load().as_ref().is_some_and(|paths| is_before(paths, version, path))
    }

    /// Returns true if `version` no longer answers with the file of the number: the file's own path was withdrawn, or
    /// another path of the file in the version, or the uncompressed file's.
    #[must_use]
    #[inline]
    pub fn hides_file(&self, version: &Version, number: u32) -> bool {
        self.has_any() && self.hides_one(version, number)
    }

    #[cold]
    fn hides_one(&self, version: &Version, number: u32) -> bool {
        self.paths.load().as_ref().is_some_and(|paths| is_file_before(paths, version, number))
    }

    /// Returns true if a path was withdrawn after `version` was stored.
    #[must_use]
    pub fn touches(&self, version: &Version) -> bool {
        let is_before = |at_ms: &u64| version.stored_ms <= *at_ms;
        self.has_any() && self.paths.load().as_ref().is_some_and(|paths| paths.values().any(is_before))
    }

    #[inline]
    fn has_any(&self) -> bool {
        // A thread that sees the announcement of a withdrawal sees the withdrawal, too.
        self.any.load(Ordering::Acquire)
    }

    /// Accepts the next write, whatever its revision.
    pub(super) fn forget_revision(&self) {
        self.written.store(0, Ordering::Release);
    }

    fn write(&self, paths: HashMap<Box<str>, u64>, revision: Revision) {
        // After a full read, the watch still holds commits contained in the read.
        if self.written.fetch_max(revision, Ordering::AcqRel) <= revision {
            let any = !paths.is_empty();
            self.paths.store(any.then(|| Arc::new(paths)));
            self.any.store(any, Ordering::Release);
        }
    }
}

/// Returns true if `path` was withdrawn after `version` was stored.
fn is_before(paths: &HashMap<Box<str>, u64>, version: &Version, path: &str) -> bool {
    paths.get(path).is_some_and(|at_ms| version.stored_ms <= *at_ms)
}

/// Returns true if a path of the file `number` of `version` was withdrawn after `version` was stored.
fn is_file_before(paths: &HashMap<Box<str>, u64>, version: &Version, number: u32) -> bool {
    let Some(file) = version.file(number) else { return false };
    let name = &*file.path;
    if is_before(paths, version, name) {
        return true;
    }
    // Compressed forms are hidden with the file.
    if let Some(whole) = Coding::plain_path(name) {
        let number = version.indexes.paths.exact(whole);
        return number
            .map_or_else(|| is_before(paths, version, whole), |number| is_file_before(paths, version, number));
    }
    // A file uploaded only in compressed form answers under both names.
    let other = |form: &Form| {
        let other = format!("{name}.{}", form.suffix());
        is_before(paths, version, &other) && version.indexes.paths.exact(&other) == Some(number)
    };
    if Form::ALL.iter().any(other) {
        return true;
    }
    addresses(name).iter().any(|address| {
        let path = address.strip_prefix('/').unwrap_or(address);
        is_before(paths, version, path)
            && ends_at(&version.indexes.paths, version.html_handling, address) == Some(number)
    })
}

impl Live {
    /// Withdrawn paths of an app: a handle valid for as long as the edge runs.
    pub fn withdrawn(&self, app: &AppName) -> Arc<Withdrawn> {
        let known = self.0.withdrawn.read().get(app).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.0.withdrawn.write();
            Arc::clone(all.entry(app.clone()).or_default())
        })
    }

    /// Returns true if a loaded version of `app` (live, aliased, kept, about to go live, or a preview) answers the
    /// normalized path `path` with content of its own.
    #[must_use]
    pub fn answers(&self, app: &AppName, path: &str) -> bool {
        self.answers_but(&self.withdrawn(app), app, path)
    }

    /// Evaluates [`Live::answers`] as if `path` were not withdrawn.
    #[must_use]
    pub fn would_answer(&self, app: &AppName, path: &str) -> bool {
        let mut paths = self.withdrawn(app).paths.load().as_deref().cloned().unwrap_or_default();
        paths.remove(path.strip_prefix('/').unwrap_or(path));
        let others = Withdrawn::default();
        others.write(paths, 0);
        self.answers_but(&others, app, path)
    }

    fn answers_but(&self, withdrawn: &Withdrawn, app: &AppName, path: &str) -> bool {
        let has = |version: &Version| match resolve(&version.indexes.paths, version.html_handling, path) {
            Resolution::File(number) => !withdrawn.hides_file(version, number),
            Resolution::Redirect(_) => !withdrawn.hides(version, path),
            Resolution::Missing => false,
        };
        let hosts = self.0.hosts.load();
        let mut places = hosts.places.values().filter(|place| place.app == *app);
        let mut previews = self.0.previews.load_full().as_ref().clone().into_iter();
        places.any(|place| place.all_loaded().iter().any(|version| has(version)))
            || previews.any(|(key, current)| key.app == *app && has(&current.version))
    }
}

impl Follower {
    /// Follows `withdrawn/{app}`.
    pub(super) fn withdraw(&self, key: &str, value: Option<&Arc<[u8]>>, revision: Revision) {
        let Some(Ok(app)) = key.strip_prefix("withdrawn/").map(str::parse::<AppName>) else { return };
        let record = value.map(|value| Record { value: Arc::clone(value), revision });
        match record.map(|record| records::read::<WithdrawnRecord>(key, &record)).transpose() {
            Ok(record) => {
                let paths = record.unwrap_or_default().paths.into_iter();
                let paths = paths.map(|(path, entry)| (path.strip_prefix('/').unwrap_or(&path).into(), entry.at_ms));
                self.live.withdrawn(&app).write(paths.collect(), revision);
            }
            // Withdrawn paths stay withdrawn.
            Err(error) => tracing::error!(key, %error, "what was withdrawn cannot be read"),
        }
    }
}
