//! Live versions with a backend on an edge without `[runner]`, for example after a restore: requests to the backend
//! fail, and all problem reports name the versions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::{AppName, PlaceName, VersionId};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::Instances;
use crate::runner::TURN_ON;

/// Maximum time between scans of all environments: another node may make a version live that this node cannot run.
const LOOK: Duration = Duration::from_secs(60);

/// Live version with a backend that this edge does not run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IdleBackend {
    app: AppName,
    environment: PlaceName,
    version: VersionId,
}

impl IdleBackend {
    /// Returns a sentence for operators, without the remedy.
    pub(crate) fn sentence(&self) -> String {
        let Self { app, environment, version } = self;
        format!("version {} of {app} in {environment} has a backend, and this edge has no [runner]", version.short())
    }
}

impl Instances {
    /// Returns the live version or canary of an environment with a backend that this edge does not run.
    pub(crate) fn idle_backend(&self, app: &AppName, environment: &PlaceName) -> Option<IdleBackend> {
        if self.runner.is_some() || self.ledger.live.is_deleted(app) {
            return None;
        }
        let current = self.ledger.live.place(app, environment)?.pointed()?;
        let side = current.sides().into_iter().find(|side| side.version.managed.is_some())?;
        Some(IdleBackend { app: app.clone(), environment: environment.clone(), version: side.version.id })
    }

    /// Returns all idle backends by app and environment. With thousands of environments, the scan runs only after a
    /// change of the live versions, not per request.
    pub(crate) fn idle_backends(&self) -> Arc<BTreeSet<IdleBackend>> {
        if self.runner.is_some() {
            return Arc::default();
        }
        self.idle.of(&self.ledger.live, || {
            let environments = self.ledger.live.environments();
            environments.iter().filter_map(|(app, environment)| self.idle_backend(app, environment)).collect()
        })
    }

    /// Logs each idle backend once loaded or made live by another node. Returns at once on an edge with a runner.
    pub async fn keep_warning_of_idle_backends(self: Arc<Self>) {
        if self.runner.is_some() {
            return;
        }
        let mut loaded = self.ledger.live.shown();
        let mut warned = self.idle_backends();
        warned.iter().for_each(warn);
        loop {
            match timeout(LOOK, loaded.recv()).await {
                Ok(Ok((app, environment))) => {
                    if let Some(idle) = self.idle_backend(&app, &environment).filter(|idle| !warned.contains(idle)) {
                        warn(&idle);
                        Arc::make_mut(&mut warned).insert(idle);
                    }
                }
                Ok(Err(RecvError::Closed)) => return,
                Ok(Err(RecvError::Lagged(_))) | Err(_) => {
                    let now = self.idle_backends();
                    now.difference(&warned).for_each(warn);
                    warned = now;
                }
            }
        }
    }
}

fn warn(idle: &IdleBackend) {
    let IdleBackend { app, environment, version } = idle;
    let version = version.short();
    tracing::warn!(%app, %environment, version, "this version has a backend, and this edge has no [runner]: {TURN_ON}");
}
