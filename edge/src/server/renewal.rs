//! The certificates that this edge shows to other nodes and to etcd: read again when their files change.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::cluster::Cluster;
use super::error::StartError;
use super::stores::Stores;
use devanture_serve::tls::{Changes, WATCH_INTERVAL};

/// Reads files again; what they said before stays where they are not good.
type Read = Box<dyn Fn() -> Result<(), StartError> + Send + Sync>;

/// All of them. A clone is for the same files.
#[derive(Clone)]
pub(super) struct Renewal(Arc<Vec<Files>>);

/// Files that are good or bad together.
struct Files {
    /// Whom the certificate is for.
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
    /// Looks from now on at those of a node and of its etcd, where there are any.
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

    /// Reads all files again, and gives what is wrong with them.
    pub(super) fn reload(&self) -> Vec<StartError> {
        self.0.iter().filter_map(|files| files.changes.reload(&files.read).err()).collect()
    }

    /// Looks at the files every [`WATCH_INTERVAL`] and reads them again when they have changed; never ends.
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
            // The disk may be slow. A panic there would leave the certificates as they are.
            drop(tokio::task::spawn_blocking(move || renewal.look(is_first)).await);
            is_first = false;
        }
    }

    /// Reads what has changed; at first all of it, since it may have changed between the start and the first look.
    fn look(&self, is_first: bool) {
        for Files { whom, changes, read } in self.0.iter() {
            let looked = if is_first { changes.reload(read) } else { changes.look(read) };
            if let Err(error) = looked {
                tracing::warn!(%error, "a changed certificate for {whom} cannot be used; the earlier one stays until it can");
            }
        }
    }
}
