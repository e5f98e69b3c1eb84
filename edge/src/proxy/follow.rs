//! Follows the catalog: the pools of what is live are there before the first request, and members set by the API take
//! effect at once.

use std::sync::Arc;

use devanture_config::{AppName, PlaceName};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::registry::Registry;
use crate::catalog::scan::Scan;
use crate::catalog::{self, Catalog, Change, Committed, Record};
use crate::live::{Current, Live};
use crate::records;
use crate::records::upstreams::{MembersRecord, UPSTREAMS_PREFIX};

/// Brings a registry to what the catalog says, and keeps it there.
pub struct Following {
    registry: Registry,
    live: Live,
    catalog: Arc<dyn Catalog>,
    watch: Receiver<Committed>,
    /// Environments whose version was loaded after its pointer was known.
    shown: Receiver<(AppName, PlaceName)>,
}

impl Following {
    /// Brings `registry` to what the catalog says now; `live` has what is live already, or reports
    /// it when it is loaded.
    ///
    /// # Errors
    /// Where the catalog cannot be read.
    pub async fn start(registry: Registry, live: Live, catalog: Arc<dyn Catalog>) -> Result<Self, catalog::Error> {
        // The watch begins before the first reading: nothing that is committed in between is missed.
        let (watch, shown) = (catalog.watch(), live.shown());
        let following = Self { registry, live, catalog, watch, shown };
        following.read_all().await?;
        Ok(following)
    }

    /// Follows until the catalog is closed.
    pub async fn run(mut self) {
        loop {
            let missed = tokio::select! {
                committed = self.watch.recv() => match committed {
                    Ok(committed) => {
                        self.apply(&committed).await;
                        continue;
                    }
                    Err(RecvError::Lagged(missed)) => missed,
                    Err(RecvError::Closed) => return,
                },
                shown = self.shown.recv() => match shown {
                    Ok((app, name)) => {
                        self.hold(&app, &name);
                        continue;
                    }
                    Err(RecvError::Lagged(missed)) => missed,
                    Err(RecvError::Closed) => return,
                },
            };
            tracing::warn!(missed, "the watch of what is live lagged: upstreams are read again");
            if let Err(error) = self.read_all().await {
                tracing::error!(%error, "the catalog cannot be read: upstreams stay as they are");
            }
        }
    }

    async fn read_all(&self) -> Result<(), catalog::Error> {
        let mut known: Vec<(AppName, String, String)> = Vec::new();
        let mut revision = 0;
        let mut upstreams = Scan::new(&*self.catalog, UPSTREAMS_PREFIX);
        while let Some((key, record)) = upstreams.next().await? {
            self.set_members(&key, Some(&record));
            known.extend(names_of(&key));
            revision = record.revision.max(revision);
        }
        self.registry.forget_members_but(&known);
        for (app, name) in self.live.environments() {
            self.hold(&app, &name);
        }
        self.registry.applied(revision);
        Ok(())
    }

    async fn apply(&self, committed: &Committed) {
        let mut switched = Vec::new();
        for change in committed.changes.iter() {
            let (key, value) = match change {
                Change::Delete(key) => (key, None),
                Change::Put(key, value) => (key, Some(value)),
            };
            if key.starts_with(UPSTREAMS_PREFIX) {
                let record = value.map(|value| Record { value: Arc::clone(value), revision: committed.revision });
                self.set_members(key, record.as_ref());
            } else if let Some((app, name)) =
                key.strip_prefix(records::LIVE_PREFIX).and_then(|names| names.split_once('/'))
            {
                switched.extend(app.parse::<AppName>().ok().zip(name.parse::<PlaceName>().ok()));
            }
        }
        self.registry.applied(committed.revision);
        if !switched.is_empty() {
            self.live.wait_for(committed.revision).await;
        }
        for (app, name) in switched {
            self.hold(&app, &name);
        }
    }

    fn set_members(&self, key: &str, record: Option<&Record>) {
        let Some((app, place, name)) = names_of(key) else { return };
        match record.map(|record| records::read::<MembersRecord>(key, record)).transpose() {
            Ok(record) => self.registry.set_members(&app, &place, &name, record),
            Err(error) => tracing::error!(key, %error, "the members of an upstream cannot be read: they stay"),
        }
    }

    /// Keeps the pools of what visitors of an environment get.
    fn hold(&self, app: &AppName, name: &PlaceName) {
        let place = self.live.place(app, name);
        let pools_of = |side: &Arc<Current>| {
            let settings = side.settings.load().revision;
            let numbers = 0..side.version.upstreams.len();
            numbers.filter_map(|number| self.registry.pool_of(&side.version, number, settings)).collect::<Vec<_>>()
        };
        let sides = place.iter().flat_map(|place| {
            let pointed = place.pointed().map_or_else(Vec::new, |current| current.sides());
            pointed.into_iter().chain(place.all_pinned())
        });
        self.registry.hold(app, name.as_str(), sides.flat_map(|side| pools_of(&side)).collect());
    }
}

/// App, environment and pool of a record's key.
fn names_of(key: &str) -> Option<(AppName, String, String)> {
    let (app, rest) = key.strip_prefix(UPSTREAMS_PREFIX)?.split_once('/')?;
    let (place, name) = rest.split_once('/')?;
    Some((app.parse().ok()?, place.to_owned(), name.to_owned()))
}
