//! Paths that were withdrawn: no version that was stored until then answers them any more, on any hostname of the app.

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
    /// Path, without its leading slash as a bundle has it, to the moment, in milliseconds since 1970 UTC. There
    /// if any was.
    paths: ArcSwapOption<HashMap<Box<str>, u64>>,
    /// Whether there are any, since mostly there are none.
    any: AtomicBool,
    /// The commit that they were last written by.
    written: AtomicU64,
}

impl Withdrawn {
    /// Whether `version` no longer answers the normal path `path` of a request.
    #[must_use]
    #[inline]
    pub fn hides(&self, version: &Version, path: &str) -> bool {
        self.has_any() && self.hides_path(version, path.strip_prefix('/').unwrap_or(path))
    }

    // Apart from what every request runs through.
    #[cold]
    fn hides_path(&self, version: &Version, path: &str) -> bool {
        self.paths.load().as_ref().is_some_and(|paths| is_before(paths, version, path))
    }

    /// Whether `version` no longer answers with its file of that number: its own path was withdrawn, or another one at
    /// which it answers in this version, or it is a compressed form of one that was.
    #[must_use]
    #[inline]
    pub fn hides_file(&self, version: &Version, number: u32) -> bool {
        self.has_any() && self.hides_one(version, number)
    }

    #[cold]
    fn hides_one(&self, version: &Version, number: u32) -> bool {
        self.paths.load().as_ref().is_some_and(|paths| is_file_before(paths, version, number))
    }

    /// Whether a path was withdrawn when `version` was stored already.
    #[must_use]
    pub fn touches(&self, version: &Version) -> bool {
        let is_before = |at_ms: &u64| version.stored_ms <= *at_ms;
        self.has_any() && self.paths.load().as_ref().is_some_and(|paths| paths.values().any(is_before))
    }

    #[inline]
    fn has_any(&self) -> bool {
        // A thread that sees the announcement of a withdrawal sees this, too.
        self.any.load(Ordering::Acquire)
    }

    /// Lets the next write through, whatever its revision.
    pub(super) fn forget_revision(&self) {
        self.written.store(0, Ordering::Release);
    }

    fn write(&self, paths: HashMap<Box<str>, u64>, revision: Revision) {
        // After everything was read again, the watch still holds commits that were in what was read.
        if self.written.fetch_max(revision, Ordering::AcqRel) <= revision {
            let any = !paths.is_empty();
            self.paths.store(any.then(|| Arc::new(paths)));
            self.any.store(any, Ordering::Release);
        }
    }
}

/// Whether `path` was withdrawn when `version` was stored already.
fn is_before(paths: &HashMap<Box<str>, u64>, version: &Version, path: &str) -> bool {
    paths.get(path).is_some_and(|at_ms| version.stored_ms <= *at_ms)
}

/// Whether a path was withdrawn at which the file `number` of `version` answers, when it was stored already.
fn is_file_before(paths: &HashMap<Box<str>, u64>, version: &Version, number: u32) -> bool {
    let Some(file) = version.file(number) else { return false };
    let name = &*file.path;
    if is_before(paths, version, name) {
        return true;
    }
    // Compressed forms go with the file.
    if let Some(whole) = Coding::plain_path(name) {
        let number = version.indexes.paths.exact(whole);
        return number
            .map_or_else(|| is_before(paths, version, whole), |number| is_file_before(paths, version, number));
    }
    // A file that came compressed alone answers under both names.
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
    /// Withdrawn paths of an app: a handle that stays valid for as long as the edge runs.
    pub fn withdrawn(&self, app: &AppName) -> Arc<Withdrawn> {
        let known = self.0.withdrawn.read().get(app).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.0.withdrawn.write();
            Arc::clone(all.entry(app.clone()).or_default())
        })
    }

    /// Whether a version of `app` that is at hand (live, aliased, kept, about to be live, or a loaded preview) answers
    /// the normal path `path` with something of its own.
    #[must_use]
    pub fn answers(&self, app: &AppName, path: &str) -> bool {
        self.answers_but(&self.withdrawn(app), app, path)
    }

    /// As [`Live::answers`], as if `path` were not withdrawn.
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
            // What was withdrawn stays so.
            Err(error) => tracing::error!(key, %error, "what was withdrawn cannot be read"),
        }
    }
}
