//! What is requested to run: a backend, for whose settings, as which run of pools.

use std::sync::Arc;

use devanture_config::manifest::Managed;
use devanture_config::{AppName, VersionId};

use devanture_serve::live::Current;
use devanture_serve::proxy::{RunId, RunKey, RunOrigin};

/// A backend that is to run.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub place: String,
    /// The version.
    pub version: VersionId,
    /// Its backend.
    pub managed: Arc<Managed>,
    /// The revision of the settings that it runs with.
    pub settings: u64,
    /// Whether an admin of every app stored it.
    pub trusted: bool,
}

impl Wanted {
    pub(super) fn run(&self) -> RunId {
        let key = RunKey { digest: self.managed.digest, settings: self.settings };
        RunId { app: self.app.clone(), place: self.place.clone(), key }
    }
}

/// The reason that a group runs.
pub(super) struct GroupRequest {
    pub(super) id: RunId,
    pub(super) version: VersionId,
    pub(super) managed: Arc<Managed>,
    pub(super) trusted: bool,
    /// Whose settings it gets.
    pub(super) settings_place: String,
}

impl GroupRequest {
    /// The request for what a pool or an environment leads to.
    pub(super) fn from_origin(id: RunId, origin: &RunOrigin, settings_place: String) -> Self {
        let RunOrigin { version, managed, trusted, .. } = origin;
        Self { id, version: *version, managed: Arc::clone(managed), trusted: *trusted, settings_place }
    }
}

/// The run of something that is live, where it has a backend.
pub(super) fn run_of(current: &Current) -> Option<RunId> {
    let version = &current.version;
    let key = RunKey { digest: version.managed.as_ref()?.digest, settings: current.settings.load().revision };
    Some(RunId { app: version.app.clone(), place: version.place.clone(), key })
}
