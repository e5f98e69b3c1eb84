//! This node in its cluster: its certificate, its record, and its listener for other nodes.

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
use devanture_control::environments::KeyFile;
use devanture_control::ledger::{Member, Members};
use devanture_control::publish::{NodeService, Publisher};
use devanture_serve::proxy::Registry;
use devanture_serve::proxy::address::OtherNodes;
use devanture_serve::tls;
use devanture_store::catalog::Catalog;

/// The folder of a node's certificate in the data folder, where nothing else is said.
const FOLDER_NAME: &str = "cluster";
/// The keys of secrets that all nodes share, beside the CA.
const SECRETS_FILE: &str = "secrets.key";
/// The keys of tickets that all nodes share, beside the CA and on each node.
const TICKETS_FILE: &str = "tickets.key";
/// The folder of the local authority, beside the CA and in each data folder.
const AUTHORITY_FOLDER: &str = "tls";
/// Days before the end of a node's certificate from which on each start warns of it.
pub(crate) const WARN_DAYS: i64 = 60;
const DAY_S: i64 = 86_400;
/// Longest wait of a start for what was committed while this node was away.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);
/// Longest wait at the end for the record of this node to be taken away.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// A node that is about to join, or has.
pub(super) struct Cluster {
    identity: Identity,
    members: Arc<Members>,
    listener: Listener,
}

/// A node that the others know.
pub(super) struct Joined {
    stop: CancellationToken,
    serving: JoinHandle<()>,
    keeping: JoinHandle<()>,
    registry: Registry,
}

impl Cluster {
    /// Reads the certificate of this node and opens its listener; `None` of an edge that is alone.
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
            // Said in its record once all of them are bound.
            listens: None,
        };
        // What was missed is known before anything is served; without etcd, what was known last is served.
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

    /// The certificate of this node.
    pub(super) fn identity(&self) -> Identity {
        self.identity.clone()
    }

    /// The other nodes.
    pub(super) fn nodes(&self) -> Nodes {
        Nodes::new(self.identity.clone(), Arc::clone(&self.members))
    }

    /// Where this node listens for others, as it is bound and as they reach it.
    pub(super) fn own_listeners(&self) -> [SocketAddr; 2] {
        [self.listener.address(), self.members.own().advertise]
    }

    /// Tells the others where this node listens, and has `others` know where they do, from now on.
    pub(super) fn share_listeners(&self, control: &Runtime, addresses: Addresses, others: &OtherNodes) {
        let listens: Vec<SocketAddr> = addresses.all().chain([self.listener.address()]).collect();
        let own_ports: Vec<u16> = listens.iter().map(SocketAddr::port).collect();
        self.members.set_listens(listens);
        // Before anything is served: no route leads to a node that is there already.
        control.block_on(self.nodes().read_listeners(others, &own_ports));
        control.spawn(self.nodes().follow_listeners(others.clone(), own_ports));
    }

    /// Answers other nodes from now on, becomes known to them, and reaches their instances.
    ///
    /// # Errors
    /// [`StartError::Cluster`] where it cannot be reached by others.
    pub(super) fn join(
        self,
        control: &Runtime,
        publisher: &Publisher,
        credentials: &Arc<Credentials>,
        admin: &Arc<Admin>,
    ) -> Result<Joined, StartError> {
        // Before it is known: others would wait for it in vain.
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
    /// Cancelled, this process is known to other nodes no longer; another one of this node may be.
    pub(super) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Leaves: other nodes do not wait for this one any longer, and send no requests to its instances. Those under way
    /// go on for `requests` at most.
    pub(super) async fn leave(self, requests: Duration) {
        self.stop.cancel();
        // Nobody listens when the others look again who runs what: a process that took its place answers them.
        tokio::time::timeout(LEAVE_MAX, self.serving).await.ok();
        self.registry.end_sharing();
        tokio::time::timeout(requests, self.registry.tunnels_ended()).await.ok();
        tokio::time::timeout(LEAVE_MAX, self.keeping).await.ok();
    }
}

/// The folder of the node's certificate.
pub(crate) fn folder(file: &EdgeFile, base: &Path) -> PathBuf {
    let named = file.cluster.as_ref().and_then(|cluster| cluster.folder.as_ref());
    named.map_or_else(|| data_dir(file, base).join(FOLDER_NAME), |folder| base.join(folder))
}

/// The keys of tickets that this node shares with the others, where it has joined with any.
pub(super) fn ticket_keys(file: &EdgeFile, base: &Path) -> Option<PathBuf> {
    file.cluster.as_ref()?;
    Some(folder(file, base).join(TICKETS_FILE)).filter(|path| path.exists())
}

/// Warns of a certificate that ends soon, or that is refused: without it this node can neither push nor be pushed to.
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

/// The machine and the folder, such as `edge-1:/var/lib/devanture/data`.
pub(super) fn home(data_dir: &Path) -> String {
    let machine = rustix::system::uname();
    let folder = std::path::absolute(data_dir).unwrap_or_else(|_error| data_dir.to_owned());
    format!("{}:{}", machine.nodename().to_string_lossy(), folder.display())
}

/// Checks what a node needs of its cluster and has in files.
///
/// # Errors
/// [`StartError::Cluster`].
pub(super) fn check(file: &EdgeFile, base: &Path) -> Result<(), StartError> {
    if file.cluster.is_some() {
        Identity::read(&folder(file, base), &file.node)?;
    }
    Ok(())
}

/// Makes the CA of a new cluster in the folder `out`, and what all its nodes share: the keys of secrets and of tickets,
/// and the local authority. Nodes that join only read the folder.
///
/// # Errors
/// [`StartError::Cluster`], [`StartError::Certificates`].
pub fn cluster_init(out: &Path) -> Result<(), StartError> {
    cluster::init(out)?;
    KeyFile::new(Some(out.join(SECRETS_FILE))).make_if_missing().map_err(|error| shared_keys(out, &error))?;
    tls::make_ticket_keys(&out.join(TICKETS_FILE))?;
    Ok(tls::make_authority(&out.join(AUTHORITY_FOLDER))?)
}

/// Makes the certificate of this node by the CA in the folder `ca`, and gives it what all nodes share: the keys of
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
