//! Keeps the mirror up to date: connects to member after member, takes a snapshot if needed, and watches.
//!
//! etcd leaves all of this to its clients: a watch does not go on by itself after a break, ends for good if etcd was
//! compacted beyond its revision, and a stopped or cut-off member just falls silent.

mod events;
mod snapshot;
mod watch;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::{Client, REQUEST_TIME_MAX};
use super::fault::Fault;
use super::grpc::Channel;
use super::history::Marked;
use super::origin::Origin;
use super::progress::Progress;
use super::settings::Endpoint;
use super::wire::{self, KeyValue, RangeRequest, ResponseHeader};
use crate::catalog::embedded::RedbCatalog;
use crate::catalog::{Catalog as _, Change, Committed, LIVE_PREFIX, Revision};

/// Longest time to connect to a member, authenticate and read a first key. The check of a password takes etcd a tenth
/// of a second by design.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(4);
/// Pause after no member could be followed; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause: the delay until a node notices that etcd is back.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Time from which a followed member counts as stable. A member followed for less is left with a pause, so that a fault
/// of this node, such as a full disk, does not become a storm of connections.
const STABLE_AFTER: Duration = Duration::from_secs(1);
/// Applied commits are on stable storage after this time at the latest, and
const DURABLE_EVERY: Duration = Duration::from_secs(5);
/// after so many commits; switches at once. Pages of commits that are not durable cannot be reused, so that the file
/// would grow.
const COMMITS_UNDURABLE_MAX: usize = 512;

/// Follows etcd into the mirror.
pub(super) struct Follower {
    pub(super) client: Arc<Client>,
    pub(super) mirror: Arc<RedbCatalog>,
    pub(super) progress: Arc<Progress>,
    pub(super) endpoints: Vec<Endpoint>,
    /// Set once the mirror had a whole state.
    pub(super) has_snapshot: bool,
    /// Number of commits in the mirror that are not on stable storage, and the time of the first.
    undurable: usize,
    durable_at: Instant,
}

impl Follower {
    pub(super) fn new(
        client: Arc<Client>,
        mirror: Arc<RedbCatalog>,
        progress: Arc<Progress>,
        endpoints: Vec<Endpoint>,
        has_snapshot: bool,
    ) -> Self {
        Self { client, mirror, progress, endpoints, has_snapshot, undurable: 0, durable_at: Instant::now() }
    }

    /// Follows for ever.
    pub(super) async fn run(mut self) {
        // Each node begins at a random member, so that the watches spread over all members.
        let mut next = rand::random_range(0..self.endpoints.len().max(1));
        let mut round: Vec<Fault> = Vec::new();
        let mut pause = PAUSE_MIN;
        loop {
            let Some(endpoint) = self.endpoints.get(next % self.endpoints.len().max(1)).cloned() else { return };
            next = next.wrapping_add(1);
            let began = Instant::now();
            let Err(fault) = Box::pin(self.session(&endpoint)).await;
            let was_connected = self.progress.is_connected();
            self.progress.set_connected(false);
            self.client.note_fault(fault.clone());
            if was_connected {
                tracing::warn!(%fault, "etcd is not followed any more; another member is tried");
                self.client.note_reconnect();
                round.clear();
                if began.elapsed() >= STABLE_AFTER {
                    pause = PAUSE_MIN;
                } else {
                    pause = take_pause(pause).await;
                }
                continue;
            }
            tracing::debug!(%fault, endpoint = endpoint.url, "a member of etcd cannot be followed");
            round.push(fault);
            if round.len() >= self.endpoints.len() {
                if pause == PAUSE_MIN {
                    let faults: Vec<_> = round.iter().map(ToString::to_string).collect();
                    tracing::error!(faults = faults.join("; "), "no member of etcd can be followed");
                }
                self.progress.note_failed(std::mem::take(&mut round));
                pause = take_pause(pause).await;
            }
        }
    }

    /// Follows one member until a fault.
    async fn session(&mut self, endpoint: &Endpoint) -> Result<Infallible, Fault> {
        let until = Instant::now() + CONNECT_TIME_MAX;
        let channel = self.client.connect(endpoint, until).await?;
        let header = self.verify(&channel, until).await?;
        let client = Arc::clone(&self.client);
        let _offer = client.offer(Arc::clone(&channel));
        let mut needs_snapshot = !self.has_snapshot
            || match self.is_continued(&channel, &header).await {
                Err(Fault::Compacted) => true,
                is_continued => !is_continued?,
            };
        loop {
            if needs_snapshot {
                match self.snapshot(&channel, header.cluster_id).await {
                    // etcd was compacted during the read.
                    Err(Fault::Compacted) => continue,
                    taken => taken?,
                }
                self.has_snapshot = true;
            }
            let Err(fault) = self.watch(&channel).await;
            match fault {
                Fault::Compacted => needs_snapshot = true,
                fault => return Err(fault),
            }
        }
    }

    /// Reads from a member, to check that the member has a leader, accepts the user, and is of the right cluster.
    async fn verify(&self, channel: &Channel, until: Instant) -> Result<ResponseHeader, Fault> {
        let malformed = || Fault::Malformed { endpoint: channel.url().to_owned(), reason: "no header".to_owned() };
        let found = channel.call::<wire::Range>(&self.client.last_marker(), until).await?;
        let header = found.header.ok_or_else(malformed)?;
        self.client.check_cluster(channel, &header)?;
        self.client.note_contact();
        Ok(header)
    }

    /// Returns true if the mirror is an earlier state of this etcd, so that a watch can go on from there. A restored
    /// backup may be at an earlier revision, or have assigned the mirror's revisions to different commits.
    async fn is_continued(&self, channel: &Channel, header: &ResponseHeader) -> Result<bool, Fault> {
        self.mirrored().await?;
        let mirrored = self.progress.applied();
        let is_continued = Revision::try_from(header.revision).is_ok_and(|revision| revision >= mirrored)
            && self.has_marked(channel).await?;
        if !is_continued {
            tracing::error!(mirrored, "etcd is not in a state after that of the mirror, which takes a new snapshot");
            self.progress.set_announced(0);
        }
        Ok(is_continued)
    }

    /// Returns true if the last commit known to the mirror is in this etcd; [`Fault::Compacted`] if etcd has forgotten
    /// the commit.
    async fn has_marked(&self, channel: &Channel) -> Result<bool, Fault> {
        let note = self.mirror.note().await.map_err(|error| Fault::Mirror(error.to_string()))?;
        let Some(marked) = note.and_then(|note| Marked::from_text(&note)) else { return Ok(true) };
        let key = self.client.keys.marker(&marked.node);
        let request = RangeRequest { key, revision: marked.revision, ..RangeRequest::default() };
        let until = Instant::now() + REQUEST_TIME_MAX;
        let found = self.client.call_on::<wire::Range>(channel, &request, until).await?;
        let is_marked = |kv: &KeyValue| kv.mod_revision == marked.revision && kv.value.as_ref() == marked.id.as_bytes();
        Ok(found.kvs.first().is_some_and(is_marked))
    }

    /// Returns the revision up to which the mirror is complete and watchers are informed.
    async fn mirrored(&self) -> Result<Revision, Fault> {
        let stored = self.mirror.last_revision().await.map_err(|error| Fault::Mirror(error.to_string()))?;
        self.progress.set_applied(stored);
        Ok(stored.min(self.progress.announced()))
    }

    /// Writes commits into the mirror, which is complete up to `after`, and sends them to the watchers.
    async fn apply(&mut self, after: Revision, commits: Vec<Committed>, marked: Option<&Marked>) -> Result<(), Fault> {
        self.undurable = self.undurable.saturating_add(commits.len());
        let is_durable = self.undurable >= COMMITS_UNDURABLE_MAX || self.durable_at.elapsed() >= DURABLE_EVERY;
        let is_switch = commits.iter().any(|committed| committed.changes.iter().any(moves_live));
        let applied = self.mirror.apply(after, commits.clone(), marked.map(Marked::to_text), is_durable).await;
        applied.map_err(|error| Fault::Mirror(error.to_string()))?;
        if is_durable {
            (self.undurable, self.durable_at) = (0, Instant::now());
        }
        for committed in commits {
            let revision = committed.revision;
            if revision > self.progress.announced() {
                self.mirror.announce(committed);
                self.progress.set_announced(revision);
            }
        }
        self.progress.set_applied(self.mirror.state().revision);
        if is_switch && !is_durable {
            // Last, so that no visitor waits for the disk. A node killed after this point serves the version even while
            // etcd is away.
            let made = self.mirror.apply(0, Vec::new(), None, true).await;
            made.map_err(|error| Fault::Mirror(error.to_string()))?;
            (self.undurable, self.durable_at) = (0, Instant::now());
        }
        Ok(())
    }

    /// Brings commits applied a while ago to stable storage.
    async fn flush(&mut self) -> Result<(), Fault> {
        if self.undurable > 0 && self.durable_at.elapsed() >= DURABLE_EVERY {
            self.apply(0, Vec::new(), None).await?;
        }
        Ok(())
    }

    /// Returns the origin of a mirror of this cluster.
    fn origin(&self, cluster: u64) -> Origin {
        Origin { cluster, prefix: self.client.keys.prefix().to_owned() }
    }
}

/// Returns true if a change moves a live pointer.
fn moves_live(change: &Change) -> bool {
    let (Change::Delete(key) | Change::Put(key, _)) = change;
    key.starts_with(LIVE_PREFIX)
}

/// Waits for a random part of `pause`, so that nodes that lost etcd together do not return together. Returns the next
/// pause.
async fn take_pause(pause: Duration) -> Duration {
    sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
    pause.saturating_mul(2).min(PAUSE_MAX)
}
