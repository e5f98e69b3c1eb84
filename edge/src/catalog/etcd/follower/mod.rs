//! Keeps the mirror up to date: connects to one member after the other, takes a snapshot where one is needed, and watches.
//!
//! etcd leaves all of this to its clients: a watch does not go on by itself after a break, ends for good where etcd was
//! compacted beyond it, and a member that is cut off or stopped just falls silent.

mod events;
mod snapshot;
mod watch;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::Client;
use super::fault::Fault;
use super::grpc::Channel;
use super::origin::Origin;
use super::progress::Progress;
use super::settings::Endpoint;
use super::wire::{self, ResponseHeader};
use crate::catalog::embedded::RedbCatalog;
use crate::catalog::{Catalog as _, Committed, Revision};

/// Longest time to connect to a member, to authenticate there and to read a first key. Checking a password takes etcd a
/// tenth of a second by design.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(4);
/// Pause after no member could be followed; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest such pause: how late a node notices that etcd is back.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// What is applied is on stable storage at the latest so long afterwards, and
const DURABLE_EVERY: Duration = Duration::from_secs(5);
/// after so many commits: pages of commits that are not durable cannot be used again, so that the file would grow.
const COMMITS_UNDURABLE_MAX: usize = 512;

/// Follows etcd into the mirror.
pub(super) struct Follower {
    pub(super) client: Arc<Client>,
    pub(super) mirror: Arc<RedbCatalog>,
    pub(super) progress: Arc<Progress>,
    pub(super) endpoints: Vec<Endpoint>,
    /// Whether the mirror has ever had a whole state.
    pub(super) has_snapshot: bool,
    /// Commits in the mirror that are not on stable storage, and since when that is so.
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
        // Each node begins at another member, so that none has all watches.
        let mut next = rand::random_range(0..self.endpoints.len().max(1));
        let mut round: Vec<Fault> = Vec::new();
        let mut pause = PAUSE_MIN;
        loop {
            let Some(endpoint) = self.endpoints.get(next % self.endpoints.len().max(1)).cloned() else { return };
            next = next.wrapping_add(1);
            let Err(fault) = Box::pin(self.session(&endpoint)).await;
            let was_connected = self.progress.is_connected();
            self.progress.set_connected(false);
            self.client.note_fault(fault.clone());
            if was_connected {
                tracing::warn!(%fault, "etcd is not followed any more; another member is tried");
                self.client.note_reconnect();
                (round, pause) = (Vec::new(), PAUSE_MIN);
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
                // Nodes that lost etcd together do not come back together.
                sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
                pause = pause.saturating_mul(2).min(PAUSE_MAX);
            }
        }
    }

    /// Follows one member for as long as that goes well.
    async fn session(&mut self, endpoint: &Endpoint) -> Result<Infallible, Fault> {
        let until = Instant::now() + CONNECT_TIME_MAX;
        let channel = self.client.connect(endpoint, until).await?;
        let header = self.verify(&channel, until).await?;
        let client = Arc::clone(&self.client);
        let _offer = client.offer(Arc::clone(&channel));
        let mirrored = self.mirrored().await?;
        let revision = Revision::try_from(header.revision).unwrap_or(0);
        let went_back = revision < mirrored;
        if went_back {
            // A restored backup of etcd: a watch from the mirror's revision on would wait for what is never to come.
            tracing::error!(revision, mirrored, "etcd has an earlier state than the mirror, which follows it back");
            self.progress.set_announced(0);
        }
        let mut needs_snapshot = went_back || !self.has_snapshot;
        loop {
            if needs_snapshot {
                match self.snapshot(&channel, header.cluster_id).await {
                    // Compacted while it was read.
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

    /// Reads from a member, so that it is known to have a leader, to accept the user, and to be of the right cluster.
    async fn verify(&self, channel: &Channel, until: Instant) -> Result<ResponseHeader, Fault> {
        let malformed = || Fault::Malformed { endpoint: channel.url().to_owned(), reason: "no header".to_owned() };
        let found = channel.call::<wire::Range>(&self.client.last_marker(), until).await?;
        let header = found.header.ok_or_else(malformed)?;
        self.client.check_cluster(channel, &header)?;
        self.client.note_contact();
        Ok(header)
    }

    /// The revision up to which the mirror holds everything and watchers know it.
    async fn mirrored(&self) -> Result<Revision, Fault> {
        let stored = self.mirror.last_revision().await.map_err(|error| Fault::Mirror(error.to_string()))?;
        self.progress.set_applied(stored);
        Ok(stored.min(self.progress.announced()))
    }

    /// Writes commits into the mirror, which has everything up to `after`, and sends them to the watchers.
    async fn apply(&mut self, after: Revision, commits: Vec<Committed>) -> Result<(), Fault> {
        self.undurable = self.undurable.saturating_add(commits.len());
        let is_durable = self.undurable >= COMMITS_UNDURABLE_MAX || self.durable_at.elapsed() >= DURABLE_EVERY;
        let applied = self.mirror.apply(after, commits.clone(), is_durable).await;
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
        Ok(())
    }

    /// Brings to stable storage what was applied a while ago.
    async fn flush(&mut self) -> Result<(), Fault> {
        if self.undurable > 0 && self.durable_at.elapsed() >= DURABLE_EVERY {
            self.apply(0, Vec::new()).await?;
        }
        Ok(())
    }

    /// The origin of a mirror of this cluster.
    fn origin(&self, cluster: u64) -> Origin {
        Origin { cluster, prefix: self.client.keys.prefix().to_owned() }
    }
}
