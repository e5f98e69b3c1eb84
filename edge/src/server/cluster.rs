//! The local node in its cluster: certificate, record, and listener for other nodes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::edge_toml::{EdgeFile, Tls};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use super::sockets::Addresses;
use super::stores::data_dir;
use devanture_base::clock;
use devanture_control::access::Credentials;
use devanture_control::admin::Admin;
use devanture_control::cluster::{self, Answers, Api, Error, Identity, InstanceService as _, Listener, Nodes};
use devanture_control::ledger::{Member, Members};
use devanture_control::publish::{NodeService, Publisher};
use devanture_control::settings::KeyFile;
use devanture_serve::proxy::Registry;
use devanture_serve::proxy::address::OtherNodes;
use devanture_serve::tls;
use devanture_store::catalog::Catalog;

/// The default folder of a node's certificate in the data folder.
const FOLDER_NAME: &str = "cluster";
/// The secrets keys shared by all nodes, beside the CA.
const SECRETS_FILE: &str = "secrets.key";
/// The ticket keys shared by all nodes, beside the CA and on each node.
const TICKETS_FILE: &str = "tickets.key";
/// The folder of the local authority, beside the CA and in each data folder.
const AUTHORITY_FOLDER: &str = "tls";
/// Days left of a node's certificate below which each start warns.
pub(crate) const WARN_DAYS: i64 = 60;
const DAY_S: i64 = 86_400;
/// Longest wait of a start for commits made while the node was absent.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);
/// Longest wait at shutdown for the removal of the node's record.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// A node that is about to join, or has joined.
pub(super) struct Cluster {
    identity: Identity,
    members: Arc<Members>,
    listener: Listener,
}

/// A node known to the other nodes.
pub(super) struct Joined {
    stop: CancellationToken,
    serving: JoinHandle<()>,
    keeping: JoinHandle<()>,
    registry: Registry,
}

impl Cluster {
    /// Reads the node's certificate and opens its listener; `None` without a cluster.
    ///
    /// # Errors
    /// [`StartError::Cluster`].
    pub(super) fn open(
        (file, base): (&EdgeFile, &Path),
        control: &Runtime,
        catalog: &Arc<dyn Catalog>,
    ) -> Result<Option<Self>, StartError> {
        let Some(settings) = &file.cluster else { return Ok(None) };
        let identity = Identity::read(&folder(file, base), &file.node)?;
        warn_of_certificate(&identity);
        let listener = Listener::bind(settings.listen)?;
        let mut advertise = settings.advertise;
        if advertise.port() == 0 {
            advertise.set_port(listener.address().port());
        }
        let own = Member {
            node: file.node.clone(),
            advertise,
            home: home(&data_dir(file, base)),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: clock::now_ms(),
            // Set in the record once all listeners are bound.
            listens: None,
        };
        // Missed commits are read before any request is served; without etcd, the last known state is served.
        let caught_up = control.block_on(async { tokio::time::timeout(CATCH_UP_MAX, catalog.refresh()).await });
        if !matches!(caught_up, Ok(Ok(_))) {
            tracing::warn!("etcd does not answer: this node serves what it knew last, until it does");
        }
        let members = Arc::new(Members::new(Arc::clone(catalog), own, Duration::from_secs(settings.lease_s)));
        match control.block_on(members.namesake())? {
            Some(other) => Err(Error::NameTaken { node: other.node, advertise: other.advertise }.into()),
            None => Ok(Some(Self { identity, members, listener })),
        }
    }

    /// Returns the node's certificate.
    pub(super) fn identity(&self) -> Identity {
        self.identity.clone()
    }

    /// Returns the other nodes.
    pub(super) fn nodes(&self) -> Nodes {
        Nodes::new(self.identity.clone(), Arc::clone(&self.members))
    }

    /// Returns the addresses of the node listener: bound, and advertised.
    pub(super) fn own_listeners(&self) -> [SocketAddr; 2] {
        [self.listener.address(), self.members.own().advertise]
    }

    /// Publishes the addresses of the node's listeners, and keeps `others` up to date from now on.
    pub(super) fn share_listeners(&self, control: &Runtime, addresses: Addresses, others: &OtherNodes) {
        let listens: Vec<SocketAddr> = addresses.all().chain([self.listener.address()]).collect();
        let own_ports: Vec<u16> = listens.iter().map(SocketAddr::port).collect();
        self.members.set_listens(listens);
        // Before any request is served: no route may lead to an existing node.
        control.block_on(self.nodes().read_listeners(others, &own_ports));
        control.spawn(self.nodes().follow_listeners(others.clone(), own_ports));
    }

    /// Starts answering other nodes, publishes the node, and connects to other nodes' instances.
    ///
    /// # Errors
    /// [`StartError::Cluster`] if other nodes cannot reach the node.
    pub(super) fn join(
        self,
        control: &Runtime,
        publisher: &Publisher,
        credentials: &Arc<Credentials>,
        admin: &Arc<Admin>,
    ) -> Result<Joined, StartError> {
        // Before the node is known: otherwise other nodes would wait in vain.
        self.listener.listen()?;
        let stop = CancellationToken::new();
        let service = Arc::new(NodeService::new(publisher, Arc::clone(credentials)));
        let (nodes, registry) = (self.nodes(), service.registry().clone());
        nodes.open_tunnels(&registry);
        control.spawn(nodes.follow_runs(registry.clone(), stop.clone()));
        control.spawn(Arc::clone(credentials).keep_reporting_attempts(self.nodes()));
        let answers = Answers { service, api: Arc::clone(admin) as Arc<dyn Api> };
        let serving = control.spawn(self.listener.serve(self.identity, answers, stop.clone()));
        let keeping = control.spawn(self.members.keep(stop.clone()));
        Ok(Joined { stop, serving, keeping, registry })
    }
}

impl Joined {
    /// Returns a token whose cancellation withdraws the process from other nodes; another process of the node may
    /// remain.
    pub(super) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Leaves the cluster: other nodes no longer wait for the node, and send no requests to its instances. Requests in
    /// flight continue for `requests` at most.
    pub(super) async fn leave(self, requests: Duration) {
        self.stop.cancel();
        // The listener is closed before other nodes query the runs again: a successor process answers them.
        tokio::time::timeout(LEAVE_MAX, self.serving).await.ok();
        self.registry.end_sharing();
        tokio::time::timeout(requests, self.registry.tunnels_ended()).await.ok();
        tokio::time::timeout(LEAVE_MAX, self.keeping).await.ok();
    }
}

/// Returns the folder of the node's certificate.
pub(crate) fn folder(file: &EdgeFile, base: &Path) -> PathBuf {
    let named = file.cluster.as_ref().and_then(|cluster| cluster.folder.as_ref());
    named.map_or_else(|| data_dir(file, base).join(FOLDER_NAME), |folder| base.join(folder))
}

/// Returns the file of shared ticket keys, if the node has joined a cluster.
pub(super) fn ticket_keys(file: &EdgeFile, base: &Path) -> Option<PathBuf> {
    file.cluster.as_ref()?;
    Some(folder(file, base).join(TICKETS_FILE)).filter(|path| path.exists())
}

/// Warns of a certificate close to expiry, or refused: without the certificate, the node can neither push to other
/// nodes nor be pushed to.
fn warn_of_certificate(identity: &Identity) {
    if let Some(reason) = identity.refused() {
        tracing::warn!(reason, "other nodes cannot be spoken to: `devanture-edge cluster join` makes a certificate");
    }
    let now_s = i64::try_from(clock::now_ms() / 1_000).unwrap_or(i64::MAX);
    let days = identity.ends_s().saturating_sub(now_s) / DAY_S;
    if days < WARN_DAYS {
        tracing::warn!(days, "the certificate of this node ends: renew it by `devanture-edge cluster join`");
    }
}

/// Returns the machine and the folder, such as `edge-1:/var/lib/devanture/data`.
pub(super) fn home(data_dir: &Path) -> String {
    let machine = rustix::system::uname();
    let folder = std::path::absolute(data_dir).unwrap_or_else(|_error| data_dir.to_owned());
    format!("{}:{}", machine.nodename().to_string_lossy(), folder.display())
}

/// Checks the files that a node needs for its cluster.
///
/// # Errors
/// [`StartError::Cluster`].
pub(super) fn check(file: &EdgeFile, base: &Path) -> Result<(), StartError> {
    if file.cluster.is_some() {
        Identity::read(&folder(file, base), &file.node)?;
    }
    Ok(())
}

/// Creates the CA of a new cluster in the folder `out`, and the data shared by all nodes: the keys of secrets and of
/// tickets, and the local authority. Joining nodes only read the folder.
///
/// # Errors
/// [`StartError::Cluster`], [`StartError::Certificates`].
pub fn cluster_init(out: &Path) -> Result<(), StartError> {
    cluster::init(out)?;
    KeyFile::new(Some(out.join(SECRETS_FILE))).make_if_missing().map_err(|error| shared_keys(out, &error))?;
    tls::make_ticket_keys(&out.join(TICKETS_FILE))?;
    Ok(tls::make_authority(&out.join(AUTHORITY_FOLDER))?)
}

/// Issues the node's certificate by the CA in the folder `ca`, and copies the shared data to the node: the keys of
/// secrets and of tickets, and the local authority, unless all certificates are files. Returns the folder of the
/// certificate.
///
/// # Errors
/// [`StartError::Cluster`], [`StartError::Certificates`].
pub fn cluster_join(file: &EdgeFile, base: &Path, ca: &Path) -> Result<PathBuf, StartError> {
    let Some(settings) = &file.cluster else {
        let reason = "there is no table [cluster] in edge.toml".to_owned();
        return Err(Error::File { path: base.to_owned(), reason }.into());
    };
    let folder = folder(file, base);
    let keys = file.secrets_key_file().map(|path| base.join(path));
    if let Some(keys) = keys {
        KeyFile::new(Some(keys)).share(&ca.join(SECRETS_FILE)).map_err(|error| shared_keys(ca, &error))?;
    }
    cluster::join(ca, &folder, &file.node, settings.advertise.ip())?;
    tls::share_ticket_keys(&ca.join(TICKETS_FILE), &folder.join(TICKETS_FILE))?;
    if !matches!(file.tls, Tls::Files(_)) {
        tls::share_authority(&ca.join(AUTHORITY_FOLDER), &data_dir(file, base).join(AUTHORITY_FOLDER))?;
    }
    Ok(folder)
}

fn shared_keys(path: &Path, error: &devanture_control::ledger::Error) -> StartError {
    Error::File { path: path.join(SECRETS_FILE), reason: error.to_string() }.into()
}
