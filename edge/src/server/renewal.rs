//! The certificates for other nodes and etcd, read again after their files change.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::cluster::Cluster;
use super::error::StartError;
use super::stores::Stores;
use devanture_serve::tls::{Changes, WATCH_INTERVAL};

/// Function that reads files again; invalid files leave the earlier content in use.
type Read = Box<dyn Fn() -> Result<(), StartError> + Send + Sync>;

/// All certificate files. Clones share the files.
#[derive(Clone)]
pub(super) struct Renewal(Arc<Vec<Files>>);

/// Files that are valid or invalid together.
struct Files {
    /// The peers that the certificate is for.
    whom: &'static str,
    changes: Changes,
    read: Read,
}

impl Files {
    fn new(whom: &'static str, paths: Vec<PathBuf>, read: Read) -> Self {
        Self { whom, changes: Changes::new(paths), read }
    }
}

impl Renewal {
    /// Watches the files of a node and of its etcd from now on, if present.
    pub(super) fn start(control: &Runtime, cluster: Option<&Cluster>, stores: &mut Stores) -> Self {
        let identity = cluster.map(Cluster::identity).map(|identity| {
            let paths = identity.paths();
            Files::new("other nodes", paths, Box::new(move || Ok(identity.read_again()?)))
        });
        let etcd =
            stores.etcd_files.take().map(|etcd| Files::new("etcd", etcd.paths(), Box::new(move || etcd.read_again())));
        let renewal = Self(Arc::new(identity.into_iter().chain(etcd).collect()));
        control.spawn(renewal.clone().watch());
        renewal
    }

    /// Reads all files again, and returns all errors.
    pub(super) fn reload(&self) -> Vec<StartError> {
        self.0.iter().filter_map(|files| files.changes.reload(&files.read).err()).collect()
    }

    /// Checks the files every [`WATCH_INTERVAL`], and reads changed files again; never ends.
    async fn watch(self) {
        if self.0.is_empty() {
            return;
        }
        let mut interval = tokio::time::interval(WATCH_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_first = true;
        loop {
            interval.tick().await;
            let renewal = self.clone();
            // The disk may be slow. A panic in the blocking task leaves the certificates unchanged.
            drop(tokio::task::spawn_blocking(move || renewal.look(is_first)).await);
            is_first = false;
        }
    }

    /// Reads changed files; at first all files, since changes between the start and the first check are possible.
    fn look(&self, is_first: bool) {
        for Files { whom, changes, read } in self.0.iter() {
            let looked = if is_first { changes.reload(read) } else { changes.look(read) };
            if let Err(error) = looked {
                tracing::warn!(%error, "a changed certificate for {whom} cannot be used; the earlier one stays until it can");
            }
        }
    }
}
