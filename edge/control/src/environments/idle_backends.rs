//! Live versions with a backend on an edge that runs none, as after a restore onto an edge without `[runner]`: their
//! requests to the backend fail, and everything that reports troubles names them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::{AppName, PlaceName, VersionId};
use parking_lot::Mutex;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, timeout};

use super::Environments;
use crate::runner::TURN_ON;
use devanture_serve::live::Live;
use devanture_store::catalog::Revision;

/// How often all environments are looked at: other nodes of a cluster may make a version live that this one cannot run.
const LOOK: Duration = Duration::from_secs(60);

/// A live version whose backend this edge does not run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IdleBackend {
    app: AppName,
    environment: PlaceName,
    version: VersionId,
}

impl IdleBackend {
    /// A sentence for operators, without what to do.
    pub(crate) fn sentence(&self) -> String {
        let Self { app, environment, version } = self;
        format!("version {} of {app} in {environment} has a backend, and this edge has no [runner]", version.short())
    }
}

/// What was found when all environments were last looked at.
pub(super) struct FoundInLive<T>(Mutex<Option<Known<T>>>);

struct Known<T> {
    found: Arc<BTreeSet<T>>,
    /// The last commit that requests saw before the look.
    revision: Revision,
    looked: Instant,
    /// Environments that were loaded since.
    loaded: Receiver<(AppName, PlaceName)>,
}

impl<T> Known<T> {
    /// Looks, if anything was committed or loaded since the last look, or it is long ago.
    fn renew(&mut self, revision: Revision, look: impl FnOnce() -> BTreeSet<T>) {
        let is_loaded = self.take_loaded();
        if self.revision == revision && !is_loaded && self.looked.elapsed() < LOOK {
            return;
        }
        (self.found, self.revision, self.looked) = (Arc::new(look()), revision, Instant::now());
    }

    /// Whether an environment was loaded since the last call.
    fn take_loaded(&mut self) -> bool {
        let mut is_loaded = false;
        loop {
            match self.loaded.try_recv() {
                Ok(_) | Err(TryRecvError::Lagged(_)) => is_loaded = true,
                Err(TryRecvError::Closed | TryRecvError::Empty) => return is_loaded,
            }
        }
    }
}

impl<T> Default for FoundInLive<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> FoundInLive<T> {
    /// What `look` finds, or found while the same was live.
    pub(super) fn of(&self, live: &Live, look: impl FnOnce() -> BTreeSet<T>) -> Arc<BTreeSet<T>> {
        let mut known = self.0.lock();
        // Both before the look: what comes while it lasts is looked at the next time.
        let (revision, shown) = (live.revision(), known.is_none().then(|| live.shown()));
        if let Some(loaded) = shown {
            let (found, looked) = (Arc::new(look()), Instant::now());
            return Arc::clone(&known.insert(Known { found, revision, looked, loaded }).found);
        }
        known.as_mut().map_or_else(Arc::default, |known| {
            known.renew(revision, look);
            Arc::clone(&known.found)
        })
    }
}

impl Environments {
    /// Whether the live version of an environment, or its canary, has a backend that this edge does not run.
    pub(super) fn idle_backend(&self, app: &AppName, environment: &PlaceName) -> Option<IdleBackend> {
        if self.instances.runner.is_some() || self.ledger.live.is_deleted(app) {
            return None;
        }
        let current = self.ledger.live.place(app, environment)?.pointed()?;
        let side = current.sides().into_iter().find(|side| side.version.managed.is_some())?;
        Some(IdleBackend { app: app.clone(), environment: environment.clone(), version: side.version.id })
    }

    /// All of them, by app and environment. There may be thousands of environments, which are looked at where what is
    /// live has changed, and not for each of the requests that ask.
    pub(crate) fn idle_backends(&self) -> Arc<BTreeSet<IdleBackend>> {
        if self.instances.runner.is_some() {
            return Arc::default();
        }
        self.idle.of(&self.ledger.live, || {
            let environments = self.ledger.live.environments();
            environments.iter().filter_map(|(app, environment)| self.idle_backend(app, environment)).collect()
        })
    }

    /// Logs each of them when it is loaded, or made live by another node. Ends at once where backends are run.
    pub async fn keep_warning_of_idle_backends(self: Arc<Self>) {
        if self.instances.runner.is_some() {
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use devanture_serve::live::{Domains, Grace};

    #[tokio::test(start_paused = true)]
    async fn environments_are_looked_at_once_for_each_change_of_what_is_live() {
        let domain = || "localhost".parse().unwrap();
        let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
        let (known, looks) = (FoundInLive::default(), Cell::new(0_usize));
        // Each look finds one more.
        let look = || {
            looks.set(looks.get() + 1);
            let version = VersionId::of(b"");
            let of = |number| IdleBackend {
                app: format!("app-{number}").parse().unwrap(),
                environment: PlaceName::prod(),
                version,
            };
            (0..looks.get()).map(of).collect()
        };
        let found = || (known.of(&live, look).len(), known.of(&live, look).len());
        assert_eq!(found(), (1, 1));
        live.follow_nothing();
        assert_eq!(found(), (2, 2), "something was committed");
        live.show(&"shop".parse().unwrap(), &PlaceName::prod());
        assert_eq!(found(), (3, 3), "a version was loaded");
        tokio::time::advance(LOOK).await;
        assert_eq!(found(), (4, 4), "a minute has gone by");
    }
}
