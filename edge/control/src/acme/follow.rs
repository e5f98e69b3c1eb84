//! Follows the shared certificates of a cluster, whatever node orders.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tracing::{error, warn};

use super::Acme;
use super::store::shared::{CERTIFICATES, SharedRecords, Unread};
use devanture_serve::tls::Error;
use devanture_store::catalog::{Change, Committed, Revision};

/// Certificates of the catalog, available to handshakes.
pub(crate) struct Follow {
    pub(crate) shared: SharedRecords,
    prefix: String,
    commits: broadcast::Receiver<Committed>,
    /// Revision of each loaded certificate.
    known: HashMap<String, Revision>,
    /// Names of certificates not decryptable with the node's keys.
    locked: HashSet<String>,
}

impl Follow {
    /// Loads all certificates, replacing the present ones.
    pub(crate) async fn begin(shared: SharedRecords, acme: &Acme) -> Result<Self, Error> {
        let (commits, prefix) = (shared.records.watch(), shared.records.full_key(CERTIFICATES));
        let mut follow = Self { shared, prefix, commits, known: HashMap::new(), locked: HashSet::new() };
        acme.change(HashMap::clear);
        follow.read_all(acme).await?;
        Ok(follow)
    }

    /// Returns true if some certificates may be readable by other nodes, but not by the local node.
    pub(crate) fn lacks_keys(&self) -> bool {
        !self.locked.is_empty()
    }

    /// Returns the next commit; `None` after missed commits. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Committed> {
        match self.commits.recv().await {
            Ok(committed) => Some(committed),
            Err(RecvError::Lagged(_)) => None,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Applies a commit.
    pub(crate) async fn apply(&mut self, committed: Option<Committed>, acme: &Acme) {
        let Some(committed) = committed else {
            if let Err(error) = self.read_all(acme).await {
                warn!(%error, "the certificates that nodes share cannot be read");
            }
            return;
        };
        for change in committed.changes.iter() {
            match change {
                Change::Put(key, value) => {
                    if let Some(name) = key.strip_prefix(&self.prefix).map(str::to_owned) {
                        self.take_in(&name, value, committed.revision, acme);
                    }
                }
                Change::Delete(key) => {
                    if let Some(name) = key.strip_prefix(&self.prefix) {
                        self.forget(&name.to_owned(), acme);
                    }
                }
            }
        }
    }

    /// Reads all records, including records unreadable before.
    pub(crate) async fn read_all(&mut self, acme: &Acme) -> Result<(), Error> {
        let listed = self.shared.records.list(CERTIFICATES).await?;
        let names: HashSet<&str> = listed.iter().map(|(name, _)| name.as_str()).collect();
        let gone: Vec<String> = self.known.keys().filter(|name| !names.contains(name.as_str())).cloned().collect();
        gone.iter().for_each(|name| self.forget(name, acme));
        let were_locked = self.locked.len();
        self.locked.retain(|name| names.contains(name.as_str()));
        for (name, record) in &listed {
            self.take_in(name, &record.value, record.revision, acme);
        }
        let locked = self.locked.len();
        if locked > were_locked {
            error!(
                locked,
                "the key of certificates is not at hand: restore the key file of secrets, as by joining again"
            );
        }
        Ok(())
    }

    fn take_in(&mut self, name: &str, value: &[u8], revision: Revision, acme: &Acme) {
        // The full read may have loaded a newer revision than a queued commit.
        if self.known.get(name).is_some_and(|known| *known >= revision) {
            return;
        }
        match self.shared.certificate(name, value) {
            Ok(held) => {
                self.locked.remove(name);
                self.known.insert(name.to_owned(), revision);
                acme.hold(name, &Arc::new(held));
            }
            // The loaded certificate of the name stays in use.
            Err(Unread::Locked) => drop(self.locked.insert(name.to_owned())),
            Err(Unread::Bad(error)) => {
                self.known.insert(name.to_owned(), revision);
                warn!(%error, "a certificate that nodes share cannot be used");
            }
        }
    }

    fn forget(&mut self, name: &String, acme: &Acme) {
        self.known.remove(name);
        self.locked.remove(name);
        acme.change(|held| drop(held.remove(name.as_str())));
    }
}
