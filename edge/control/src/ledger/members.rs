//! Nodes of a cluster: one record each, bound to a lease and removed with the node.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use devanture_store::catalog::{Catalog, Change, Check, Commit, Error, Lease};
use devanture_store::records;
use devanture_store::records::follow::Follow;
use devanture_store::records::nodes::{NODES_PREFIX, node_key};
use devanture_store::records::table::FollowedBy;

/// Prefix of duties, each done by one node at a time.
const DUTIES_PREFIX: &str = "duties/";
/// Most listed nodes.
const NODES_MAX: usize = 1_000;
/// Pause before another attempt to renew the node's record.
const PAUSE: Duration = Duration::from_millis(500);

/// `nodes/{name}`: a live node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Name.
    pub node: String,
    /// Address for other nodes.
    pub advertise: SocketAddr,
    /// Machine and data folder, which distinguish nodes of the same name.
    pub home: String,
    /// Release of the program.
    pub release: String,
    /// Start, in milliseconds since 1970 UTC.
    pub started_ms: u64,
    /// Addresses of its listeners, forbidden as targets of app routes; `None` in the previous release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listens: Option<Vec<SocketAddr>>,
}

/// Duty of the node for all nodes, until its lease is ended, dropped or lost.
#[derive(Debug)]
pub struct Duty {
    pub(super) lease: Lease,
    /// Check for every commit under the duty: fails once another node has taken the duty.
    pub(super) held: Check,
}

impl Duty {
    /// Waits for the loss of the duty, possibly forever.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }
}

/// All nodes, with the local node among them.
pub struct Members {
    catalog: Arc<dyn Catalog>,
    own: Member,
    /// Set once the listeners are bound.
    listens: OnceLock<Vec<SocketAddr>>,
    lease: Duration,
}

impl Members {
    /// Tracks the nodes of `catalog`. `own` is the local node, considered gone after silence for `lease`.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, own: Member, lease: Duration) -> Self {
        Self { catalog, own, listens: OnceLock::new(), lease }
    }

    /// Adds the listener addresses to the node's record.
    pub fn set_listens(&self, listens: Vec<SocketAddr>) {
        self.listens.get_or_init(|| listens);
    }

    /// Returns the local node.
    #[must_use]
    pub const fn own(&self) -> &Member {
        &self.own
    }

    /// Returns all locally known live nodes, by name.
    ///
    /// # Errors
    /// Errors of the catalog.
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

    /// Returns all live nodes except the local node.
    ///
    /// # Errors
    /// As [`Members::all`].
    pub async fn others(&self) -> Result<Vec<Member>, Error> {
        let mut all = self.all().await?;
        all.retain(|member| member.node != self.own.node);
        Ok(all)
    }

    /// Returns the live node of the given name; a different process may have replaced the earlier process.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub async fn current(&self, node: &str) -> Result<Option<Member>, Error> {
        let key = node_key(node);
        let found = self.catalog.get(&key).await?;
        found.map(|record| records::read(&key, &record)).transpose()
    }

    /// Follows the nodes that come and go.
    #[must_use]
    pub fn follow(&self, follower: FollowedBy) -> Follow {
        Follow::new(&*self.catalog, follower)
    }

    /// Waits until all acknowledged commits are readable locally.
    ///
    /// # Errors
    /// The catalog is unreachable.
    pub async fn catch_up(&self) -> Result<(), Error> {
        self.catalog.refresh().await.map(drop)
    }

    /// Returns the silence after which a node counts as gone.
    #[must_use]
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    /// Returns another live node with the name of the local node. A record of the same home is a leftover of the local
    /// node.
    ///
    /// # Errors
    /// As [`Members::all`].
    pub async fn namesake(&self) -> Result<Option<Member>, Error> {
        // Without etcd, the mirror shows the nodes of the last connection, including the local node.
        if !self.catalog.state().is_connected {
            return Ok(None);
        }
        let is_other = |member: &Member| member.node == self.own.node && member.home != self.own.home;
        Ok(self.all().await?.into_iter().find(is_other))
    }

    /// Maintains the record of the node until `stop` is cancelled, then deletes the record, unless another process of
    /// the node has replaced the record.
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

    /// Takes a duty, done by one node at a time, for the lifetime of the lease; `None` if taken by another node.
    ///
    /// # Errors
    /// Errors of the catalog.
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

    /// Returns true if a node has the duty, as far as known locally.
    ///
    /// # Errors
    /// Errors of the catalog.
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

/// Returns the key of a duty's record.
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
