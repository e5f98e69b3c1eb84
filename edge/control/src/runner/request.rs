//! Requested run: backend, settings, and run of pools.

use std::sync::Arc;

use devanture_config::manifest::Managed;
use devanture_config::{AppName, VersionId};

use devanture_serve::live::Current;
use devanture_serve::proxy::{RunId, RunKey, RunOrigin};

/// Backend to be run.
#[derive(Debug, Clone)]
pub struct BackendSpec {
    /// App.
    pub app: AppName,
    /// Environment.
    pub place: String,
    /// Version.
    pub version: VersionId,
    /// Backend.
    pub managed: Arc<Managed>,
    /// Revision of the settings.
    pub settings: u64,
    /// True if stored by an admin of every app.
    pub trusted: bool,
}

impl BackendSpec {
    pub(super) fn run(&self) -> RunId {
        let key = RunKey { digest: self.managed.digest, settings: self.settings };
        RunId { app: self.app.clone(), place: self.place.clone(), key }
    }
}

/// Request for a group, with its reason.
pub(super) struct GroupRequest {
    pub(super) id: RunId,
    pub(super) version: VersionId,
    pub(super) managed: Arc<Managed>,
    pub(super) trusted: bool,
    /// Environment of the settings.
    pub(super) settings_place: String,
}

impl GroupRequest {
    /// Creates the request for the target of a pool or environment.
    pub(super) fn from_origin(id: RunId, origin: &RunOrigin, settings_place: String) -> Self {
        let RunOrigin { version, managed, trusted, .. } = origin;
        Self { id, version: *version, managed: Arc::clone(managed), trusted: *trusted, settings_place }
    }
}

/// Returns the run of a live version, if it has a backend.
pub(super) fn run_of(current: &Current) -> Option<RunId> {
    let version = &current.version;
    let key = RunKey { digest: version.managed.as_ref()?.digest, settings: current.settings.load().revision };
    Some(RunId { app: version.app.clone(), place: version.place.clone(), key })
}
