//! The nodes of a cluster: a record for each, which hangs on a lease and goes with the node.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio_util::sync::CancellationToken;

use devanture_store::catalog::{Catalog, Change, Check, Commit, Committed, Error, Lease};
use devanture_store::records;
use devanture_store::records::nodes::{NODES_PREFIX, node_key};

/// The prefix of what one node does at a time.
const DUTIES_PREFIX: &str = "duties/";
/// Most nodes that are listed.
const NODES_MAX: usize = 1_000;
/// Pause before a node that could not renew its record tries again.
const PAUSE: Duration = Duration::from_millis(500);

/// `nodes/{name}`: a node that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub node: String,
    /// Where other nodes reach it.
    pub advertise: SocketAddr,
    /// The machine and the data folder that it runs over, which tell it from another node of its name.
    pub home: String,
    /// The release of its program.
    pub release: String,
    /// When it started, in milliseconds since 1970 UTC.
    pub started_ms: u64,
    /// The addresses of its listeners, where no route of an app may lead; `None` of the release before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listens: Option<Vec<SocketAddr>>,
}

/// What this node does for all, until its lease is ended, dropped or lost.
#[derive(Debug)]
pub struct Duty {
    pub(super) lease: Lease,
    /// Holds for as long as no other node has taken the duty on: a check of every commit that is made by it.
    pub(super) held: Check,
}

impl Duty {
    /// Waits until it is lost; for ever, where that does not happen.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }
}

/// The nodes, and this one among them.
pub struct Members {
    catalog: Arc<dyn Catalog>,
    own: Member,
    /// Known once the listeners are bound.
    listens: OnceLock<Vec<SocketAddr>>,
    lease: Duration,
}

impl Members {
    /// Knows the nodes of `catalog`; this one is `own`, and counts as gone when it was silent for `lease`.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, own: Member, lease: Duration) -> Self {
        Self { catalog, own, listens: OnceLock::new(), lease }
    }

    /// Has the record of this node say where it listens.
    pub fn set_listens(&self, listens: Vec<SocketAddr>) {
        self.listens.get_or_init(|| listens);
    }

    /// This node.
    #[must_use]
    pub const fn own(&self) -> &Member {
        &self.own
    }

    /// All nodes that live as far as this one knows, by their names.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn all(&self) -> Result<Vec<Member>, Error> {
        let listed = self.catalog.list(NODES_PREFIX, None, false, NODES_MAX).await?;
        let members = listed.iter().filter_map(|(key, record)| match records::read::<Member>(key, record) {
            Ok(member) => Some(member),
            Err(error) => {
                tracing::error!(%error, key, "the record of a node cannot be read");
                None
            }
        });
        Ok(members.collect())
    }

    /// All nodes that live but this one.
    ///
    /// # Errors
    /// As [`Members::all`].
    pub async fn others(&self) -> Result<Vec<Member>, Error> {
        let mut all = self.all().await?;
        all.retain(|member| member.node != self.own.node);
        Ok(all)
    }

    /// The node of that name, if it lives; another process than before may have taken its place.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn current(&self, node: &str) -> Result<Option<Member>, Error> {
        let key = node_key(node);
        let found = self.catalog.get(&key).await?;
        found.map(|record| records::read(&key, &record)).transpose()
    }

    /// Commits from now on, those among them by which nodes come and go.
    #[must_use]
    pub fn commits(&self) -> Receiver<Committed> {
        self.catalog.watch()
    }

    /// Waits until what was acknowledged anywhere can be read here.
    ///
    /// # Errors
    /// Where the catalog cannot be reached.
    pub async fn catch_up(&self) -> Result<(), Error> {
        self.catalog.refresh().await.map(drop)
    }

    /// Time after which a silent node counts as gone.
    #[must_use]
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    /// Another node that lives and has this one's name. A record of the same home is one that this node left behind.
    ///
    /// # Errors
    /// As [`Members::all`].
    pub async fn namesake(&self) -> Result<Option<Member>, Error> {
        // Without etcd the mirror shows who was there when it was reached last; this node among them.
        if !self.catalog.state().is_connected {
            return Ok(None);
        }
        let is_other = |member: &Member| member.node == self.own.node && member.home != self.own.home;
        Ok(self.all().await?.into_iter().find(is_other))
    }

    /// Keeps this node's record for as long as it lives, and takes it away when `stop` is cancelled, unless another
    /// process of this node has put its own there.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let registered = tokio::select! {
                () = stop.cancelled() => return,
                registered = self.register() => registered,
            };
            match registered {
                Ok(lease) => tokio::select! {
                    () = stop.cancelled() => {
                        lease.end().await;
                        return;
                    }
                    () = lease.lost() => tracing::warn!("this node counted as gone for a while: its lease ran out"),
                },
                Err(error) => {
                    tracing::warn!(%error, "this node is not known to the others");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
            }
        }
    }

    /// Takes on what one node does at a time, for as long as the lease lives; `None` if another one does it.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn take_duty(&self, duty: &str) -> Result<Option<Duty>, Error> {
        let lease = self.catalog.lease(self.lease).await?;
        let key = duty_key(duty);
        let changes = vec![Change::Put(key.clone(), records::write(&self.own)?)];
        let commit = Commit { checks: vec![Check::Absent(key.clone())], changes };
        match self.catalog.commit_leased(commit, &lease).await {
            Ok(revision) => Ok(Some(Duty { lease, held: Check::At(key, revision) })),
            Err(error) => {
                lease.end().await;
                if matches!(error, Error::Conflict { .. }) { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Whether some node has a duty, as far as this one knows.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn is_duty_taken(&self, duty: &str) -> Result<bool, Error> {
        Ok(self.catalog.get(&duty_key(duty)).await?.is_some())
    }

    async fn register(&self) -> Result<Lease, Error> {
        let lease = self.catalog.lease(self.lease).await?;
        let key = node_key(&self.own.node);
        let own = Member { listens: self.listens.get().cloned(), ..self.own.clone() };
        let put = Change::Put(key, records::write(&own)?);
        self.catalog.commit_leased(Commit { checks: Vec::new(), changes: vec![put] }, &lease).await?;
        Ok(lease)
    }
}

/// The key of the record of who does something.
fn duty_key(duty: &str) -> String {
    format!("{DUTIES_PREFIX}{duty}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_stored_as_it_was() {
        let member = Member {
            node: "edge-1".to_owned(),
            advertise: "192.0.2.1:7443".parse().unwrap(),
            home: "0123abcd".to_owned(),
            release: "0.1.0".to_owned(),
            started_ms: 1,
            listens: Some(vec!["192.0.2.1:443".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap()]),
        };
        records::golden::check("nodes/{node}", &member);
        records::golden::check("duties/{duty}", &member);
    }
}
