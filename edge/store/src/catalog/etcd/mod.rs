//! The catalog of a cluster: records in etcd, read from a mirror on this node.
//!
//! All reads come from the mirror, a file like that of the built-in catalog: requests never wait for etcd, and a node
//! starts without it. A task follows etcd into the mirror (`follower`). A commit is one transaction of etcd (`commit`),
//! and returns when it can be read here.

mod client;
mod commit;
mod fault;
mod follower;
mod grpc;
mod history;
mod keys;
mod lease;
mod origin;
mod progress;
mod settings;
#[cfg(test)]
mod tests;
mod transaction;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::client::Client;
use self::commit::Committer;
use self::fault::Fault;
use self::follower::Follower;
use self::keys::Keys;
use self::origin::Origin;
use self::progress::{Progress, Start};
use super::embedded::RedbCatalog;
use super::{Catalog, CatalogState, Commit, Committed, Error, Lease, Record, Revision};

pub use settings::EtcdSettings;

/// Longest wait of a node without a mirror for the first snapshot.
const FIRST_SNAPSHOT_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest wait of a node with a mirror, to start with current records if etcd answers, and to refuse a wrong mirror.
const CONTACT_TIME_MAX: Duration = Duration::from_secs(1);
/// Longest wait of [`Catalog::refresh`].
const REFRESH_TIME_MAX: Duration = Duration::from_secs(5);

/// A catalog in etcd.
pub(super) struct EtcdCatalog {
    client: Arc<Client>,
    mirror: Arc<RedbCatalog>,
    progress: Arc<Progress>,
    committer: Arc<Committer>,
    follower: JoinHandle<()>,
    /// The runtime of commits, which outlive their callers.
    runtime: Handle,
}

impl Drop for EtcdCatalog {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl EtcdCatalog {
    /// Opens the catalog; see [`super::open_etcd`].
    pub(super) async fn open(path: &Path, settings: EtcdSettings) -> Result<Self, Error> {
        let endpoints = settings.members()?;
        let opening = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || RedbCatalog::open(&opening)).await;
        let mirror = Arc::new(opened.map_err(|error| Error::Store(error.to_string()))??);
        let origin = origin_of(path, &mirror, &settings.prefix).await?;
        let keys = Keys::new(settings.prefix);
        let has_mirror = origin.is_some();
        let client = Arc::new(Client::new(keys, settings.credentials, origin.map(|origin| origin.cluster)));
        let progress = Arc::new(Progress::new(mirror.state().revision));
        let committer = Committer::new(Arc::clone(&client), Arc::clone(&mirror), Arc::clone(&progress), &settings.node);
        let follower =
            Follower::new(Arc::clone(&client), Arc::clone(&mirror), Arc::clone(&progress), endpoints, has_mirror);
        let catalog = Self {
            client,
            mirror,
            progress,
            committer: Arc::new(committer),
            follower: tokio::spawn(follower.run()),
            runtime: Handle::current(),
        };
        if has_mirror {
            catalog.check_origin(path).await?;
        } else {
            catalog.wait_for_first_snapshot().await?;
        }
        Ok(catalog)
    }

    /// Refuses a mirror of a different cluster, if etcd answers in time.
    async fn check_origin(&self, path: &Path) -> Result<(), Error> {
        let until = Instant::now() + CONTACT_TIME_MAX;
        let start = self.progress.started(until, |start| !matches!(start, Start::Waiting)).await;
        let Start::Failed(faults) = start else { return Ok(()) };
        let other = faults.iter().find_map(|fault| match fault {
            Fault::OtherCluster { expected, found, .. } => Some((*expected, *found)),
            _ => None,
        });
        let Some((mirrored, configured)) = other else { return Ok(()) };
        let origin = |cluster| Origin { cluster, prefix: self.client.keys.prefix().to_owned() }.to_string();
        Err(Error::OtherOrigin {
            path: path.display().to_string(),
            found: origin(mirrored),
            expected: origin(configured),
        })
    }

    async fn wait_for_first_snapshot(&self) -> Result<(), Error> {
        let until = Instant::now() + FIRST_SNAPSHOT_TIME_MAX;
        let is_refusal = |fault: &Fault| matches!(fault, Fault::BadCredentials | Fault::Denied);
        let is_enough = |start: &Start| match start {
            Start::Waiting => false,
            Start::Followed => true,
            // Other faults may pass.
            Start::Failed(faults) => faults.iter().any(is_refusal),
        };
        match self.progress.started(until, is_enough).await {
            Start::Followed => Ok(()),
            Start::Waiting => Err(Error::Unavailable { reason: "its first answer takes too long".to_owned() }),
            Start::Failed(faults) => match faults.iter().find(|fault| is_refusal(fault)) {
                Some(refusal) => Err(refusal.clone().into()),
                None => {
                    let reasons: Vec<_> = faults.iter().map(ToString::to_string).collect();
                    Err(Error::Unavailable { reason: reasons.join("; ") })
                }
            },
        }
    }

    /// Commits in a task, which runs to completion even if the caller is dropped.
    async fn run(&self, commit: Commit, lease: i64) -> Result<Revision, Error> {
        let committer = Arc::clone(&self.committer);
        match self.runtime.spawn(async move { committer.commit(commit, lease).await }).await {
            Ok(made) => made,
            Err(error) if error.is_cancelled() => Err(Error::Ending),
            Err(error) => Err(Error::Store(error.to_string())),
        }
    }
}

/// Returns the origin of the mirror; `None` for a new mirror.
async fn origin_of(path: &Path, mirror: &RedbCatalog, prefix: &str) -> Result<Option<Origin>, Error> {
    let other = |found: String| Error::OtherOrigin {
        path: path.display().to_string(),
        found,
        expected: format!("that below the prefix {prefix} of an etcd cluster"),
    };
    let Some(text) = mirror.origin().await? else {
        return match mirror.state().revision {
            0 => Ok(None),
            _ => Err(other("nothing, but a catalog of its own".to_owned())),
        };
    };
    match text.parse::<Origin>() {
        Ok(origin) if origin.prefix == prefix => Ok(Some(origin)),
        Ok(_) | Err(()) => Err(other(text)),
    }
}

#[async_trait]
impl Catalog for EtcdCatalog {
    async fn get(&self, key: &str) -> Result<Option<Record>, Error> {
        self.mirror.get(key).await
    }

    async fn get_all(&self, keys: &[String]) -> Result<Vec<Option<Record>>, Error> {
        self.mirror.get_all(keys).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, Error> {
        self.mirror.list(prefix, after, newest_first, limit).await
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, Error> {
        self.run(commit, 0).await
    }

    async fn commit_leased(&self, commit: Commit, lease: &Lease) -> Result<Revision, Error> {
        if lease.is_lost() {
            return Err(Error::LeaseLost);
        }
        self.run(commit, lease.id).await
    }

    async fn lease(&self, ttl: Duration) -> Result<Lease, Error> {
        let client = Arc::clone(&self.client);
        let granting = self.runtime.spawn(async move { lease::grant(&client, ttl).await });
        granting.await.unwrap_or(Err(Error::Ending))
    }

    fn check_in_place(&self) -> Result<(), Error> {
        self.mirror.check_in_place()
    }

    async fn look_after(&self) -> Result<(), Error> {
        self.mirror.look_after().await
    }

    /// Hands the mirror over to the next process. This process follows etcd on its own, into a copy.
    async fn hand_over(&self) -> Result<(), Error> {
        let _no_commits = self.committer.pause().await?;
        self.mirror.hand_over().await
    }

    async fn take_back(&self) -> Result<(), Error> {
        self.mirror.take_back().await?;
        // The file may have more commits than the copy, or fewer.
        self.progress.restart.notify_one();
        Ok(())
    }

    /// Ignores the commit: commits of the next process come from etcd, in the common order.
    async fn follow(&self, committed: Committed) -> Result<(), Error> {
        self.wait_for(committed.revision, REFRESH_TIME_MAX).await;
        Ok(())
    }

    async fn copy_to(&self, path: &Path, left_out: &'static [&'static str]) -> Result<Revision, Error> {
        self.mirror.copy_to(path, left_out).await
    }

    async fn check_pages(&self, bytes_per_second_max: u64) -> Result<(), Error> {
        self.mirror.check_pages(bytes_per_second_max).await
    }

    fn watch(&self) -> broadcast::Receiver<Committed> {
        self.mirror.watch()
    }

    fn state(&self) -> CatalogState {
        CatalogState {
            revision: self.progress.applied(),
            age: self.client.age(),
            reconnects: self.client.reconnects(),
            is_connected: self.progress.is_connected(),
            is_damaged: self.mirror.state().is_damaged,
            is_unwritable: self.mirror.state().is_unwritable,
        }
    }

    async fn refresh(&self) -> Result<Revision, Error> {
        let until = Instant::now() + REFRESH_TIME_MAX;
        let last = self.client.last_commit(until).await?;
        if self.progress.reached(last, until).await {
            return Ok(self.progress.applied());
        }
        Err(Error::Unavailable { reason: format!("its last commit, {last}, does not arrive") })
    }

    async fn wait_for(&self, revision: Revision, at_most: Duration) -> bool {
        self.progress.reached(revision, Instant::now() + at_most).await
    }
}
