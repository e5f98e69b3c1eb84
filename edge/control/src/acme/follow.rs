//! Follows the shared certificates of a cluster, whatever node orders.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tracing::{error, warn};

use super::Acme;
use super::store::shared::{CERTIFICATES, SharedRecords, Unread};
use devanture_serve::tls::Error;
use devanture_store::catalog::Revision;
use devanture_store::records::follow::{Follow, FollowStep};

/// The certificates of the catalog, as handshakes see them.
pub(crate) struct CertificateFollower {
    pub(crate) shared: SharedRecords,
    prefix: String,
    follow: Follow,
    /// The commit that wrote each certificate which was taken in.
    known: HashMap<String, Revision>,
    /// Names of certificates not decryptable with the node's keys.
    locked: HashSet<String>,
}

impl CertificateFollower {
    /// Takes in all that is there, in place of what is held.
    pub(crate) async fn begin(shared: SharedRecords, acme: &Acme) -> Result<Self, Error> {
        let (follow, prefix) = (shared.records.follow().begun(), shared.records.full_key(CERTIFICATES));
        let mut follower = Self { shared, prefix, follow, known: HashMap::new(), locked: HashSet::new() };
        acme.change(HashMap::clear);
        follower.read_all(acme).await?;
        Ok(follower)
    }

    /// Returns true if some certificates may be readable by other nodes, but not by the local node.
    pub(crate) fn lacks_keys(&self) -> bool {
        !self.locked.is_empty()
    }

    /// Waits for the next step. Nothing is lost where it is dropped.
    pub(crate) async fn next(&mut self) -> FollowStep {
        match self.follow.next().await {
            Some(step) => step,
            None => std::future::pending().await,
        }
    }

    /// Takes in what a commit changed, or all records.
    pub(crate) async fn take(&mut self, step: FollowStep, acme: &Acme) {
        match step {
            FollowStep::ReadAll => {
                if let Err(error) = self.read_all(acme).await {
                    warn!(%error, "the certificates that nodes share cannot be read");
                    self.follow.read_failed();
                }
            }
            FollowStep::Changes(commit) => {
                for change in &commit.changes {
                    // Those of another authority are none of this one.
                    let Some(name) = change.key.strip_prefix(&self.prefix).map(str::to_owned) else { continue };
                    match &change.value {
                        Some(value) => self.take_in(&name, value, commit.revision, acme),
                        None => self.forget(&name, acme),
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
