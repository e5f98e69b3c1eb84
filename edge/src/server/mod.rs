//! Composes the edge from stores, sockets and threads, and shuts the edge down without losing a request.
//!
//! Every serving thread has its own runtime and its own listening sockets; connections never move. The admin listener,
//! and with the admin listener all publishing, runs on a separate thread, and the followers of the catalog run on a
//! small runtime beside the admin thread, so that no push occupies a serving thread.

mod access_log;
mod background;
mod certificates;
pub(crate) mod cluster;
mod console;
mod copying;
pub(crate) mod data_rights;
pub(crate) mod data_socket;
pub(crate) mod descriptors;
mod drain;
mod ending;
mod error;
pub(crate) mod firewall;
mod handler_parts;
mod health_socket;
mod http3;
mod identities;
pub(crate) mod kernel;
pub(crate) mod local;
mod local_tier;
mod memory;
mod most_requested;
mod node;
mod own_socket;
mod reload;
mod renewal;
mod runner;
mod safekeeping;
pub(crate) mod shared_stores;
mod smoke;
mod sockets;
mod sole_work;
mod store_endpoints;
mod stores;
mod takeover;
mod threads;
mod trial;
mod trial_listeners;
mod upkeep;
mod upstreams;
mod write_pause;

pub use cluster::{cluster_init, cluster_join};
pub use console::{install_console, remove_console, show_console};
pub use copying::{CopyObserver, CopyOptions, CopyProgress, copy, resume};
pub use drain::DrainHaste;
pub use error::StartError;
pub use firewall::ports;
pub use local::{Local, LocalError, SOCKET_NAME, check_stored, create_token, health};
pub use reload::is_applied_at_reload;
pub use safekeeping::{Safekeeping, restore, verify_backup};
pub use sockets::Addresses;
pub(crate) use stores::is_in_use;
pub use stores::{CATALOG_NAME, adopt, data_dir};
pub use trial::{Trial, try_upgrade};

use std::path::Path;
use std::sync::Arc;

use devanture_config::edge_toml::{CatalogStore, EdgeFile, Tls};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use background::BuildInputs;
use cluster::{Cluster, Joined};
use descriptors::Descriptors;
use devanture_base::telemetry::{AccessLog, Exposition};
use devanture_control::access::Credentials;
use devanture_control::admin::{Admin, Health, Node};
use devanture_control::environments::{self, Environments};
use devanture_control::ledger::{Ledger, show_tasks};
use devanture_control::publish::{Parts, Publisher};
use devanture_control::runner::Runner;
use devanture_control::settings::{KeyFile, SettingsOf};
use devanture_control::switch::Smoke;
use devanture_serve::listen::{self, ConnectionLimits, Drain};
use devanture_serve::live::{Follower, Live};
use devanture_serve::proxy::Registry;
use devanture_serve::proxy::address::Policy;
use devanture_serve::tls::Certificates;
use devanture_store::blobs::FreeSpace;
use drain::{DrainControl, DrainTimes};
use handler_parts::{HandlerParts, live_of};
use own_socket::OwnSocket;
use reload::Reloadable;
use renewal::Renewal;
use sockets::{SharedCopies, Sockets};
use sole_work::SoleWork;
use stores::{StorePlan, Stores, cores};
use takeover::{Arrival, Handover, HandoverParts, PredecessorHandle};
use threads::{Serving, Threads, control_runtime};
use upkeep::{load_live, start_upkeep};

/// A running edge. Dropping the server without [`Server::drain`] cuts all open connections.
pub struct Server {
    access_log: AccessLog,
    addresses: Addresses,
    /// `None` without a cluster.
    cluster: Option<Joined>,
    prober: Arc<smoke::Prober>,
    certificates: Certificates,
    renewal: Renewal,
    credentials: Arc<Credentials>,
    drain: DrainControl,
    handover: Handover,
    health: Arc<Health>,
    /// Task that loads live versions.
    loading: JoinHandle<()>,
    publisher: Arc<Publisher>,
    requests: most_requested::Record,
    socket: Arc<OwnSocket>,
    stop: CancellationToken,
    threads: Threads,
    reloadable: Reloadable,
    runner: Option<Runner>,
    upstream_keeper: upstreams::Keeper,
    control: Runtime,
}

/// Checks `file` as far as possible without a start: certificates are readable and match their keys, and the data
/// folder has not lost its catalog. Returns all errors.
#[must_use]
pub fn check(file: &EdgeFile, base: &Path) -> Vec<StartError> {
    let found = certificates::check(&file.tls, base);
    let tickets = file.ticket_keys.as_ref().and_then(|keys| Certificates::check_ticket_keys(&base.join(keys)).err());
    // A folder that only the edge's own user may read is no mistake.
    let folder = stores::check_folder(&data_dir(file, base)).err();
    let lost = match &file.storage.catalog {
        CatalogStore::Embedded => stores::check_not_lost(&data_dir(file, base)).err(),
        CatalogStore::Etcd(_) => None,
    };
    let shared = shared_stores::check(file, base);
    let lost = lost.filter(|error| matches!(error, StartError::CatalogMissing { .. }));
    let unread = stores::check_readable(&data_dir(file, base)).err();
    found
        .into_iter()
        .chain(tickets)
        .map(StartError::from)
        .chain(access_log::check(file, base).err())
        .chain(folder)
        .chain(lost)
        .chain(unread)
        .chain(runner::check(file, base).err())
        .chain(shared)
        .chain(cluster::check(file, base).err())
        .chain(console::check(file, base).err())
        .chain(identities::check(file, base).err())
        .collect()
}

/// Returns the certificate of the local authority in PEM; `None` if `tls` names only files.
///
/// # Errors
/// [`StartError::Certificates`] if the certificate cannot be read, as before the first start.
pub fn authority(file: &EdgeFile, base: &Path) -> Result<Option<String>, StartError> {
    match file.tls {
        Tls::Files(_) => Ok(None),
        Tls::Acme { .. } | Tls::SelfSigned => Ok(Some(Certificates::authority(&data_dir(file, base))?)),
    }
}

/// Restricts the local authority of an edge that signs its own certificates to the edge's domains and the machine; an
/// authority with a wider scope is replaced.
///
/// # Errors
/// [`StartError::Certificates`] if the authority cannot be read or written.
pub fn confine_authority(file: &EdgeFile, base: &Path) -> Result<(), StartError> {
    match file.tls {
        Tls::Acme { .. } | Tls::Files(_) => Ok(()),
        Tls::SelfSigned => {
            Ok(Certificates::confine_authority(&data_dir(file, base), &[&file.domain, &file.preview_domain])?)
        }
    }
}

/// Lists faults that do not prevent a start: a sentence for each certificate that clients refuse, and for a receive
/// buffer that is too small.
#[must_use]
pub fn warnings(file: &EdgeFile, base: &Path) -> Vec<String> {
    Certificates::outdated(&file.tls, base).into_iter().chain(firewall::receive_buffer_warning(file)).collect()
}

impl Server {
    /// Starts an edge. The edge serves when the function returns; requests for a version that still loads wait for the
    /// load.
    ///
    /// # Errors
    /// Everything that prevents serving; no socket listens after an error.
    pub fn start(file: &EdgeFile, base: &Path) -> Result<Self, StartError> {
        // First of all: without the check, a node that has not joined would create an authority of its own.
        let descriptors = check_joined(file, base).map(|()| Descriptors::take())?;
        let data_dir = data_dir(file, base);
        let bounds = descriptors.bounds(&data_dir, &file.limits);
        let (plan, live) = (StorePlan::of(file, base, &bounds), live_of(file));
        let (metrics, control) = (Exposition::install(), control_runtime()?);
        let (sole, mut arrival) = (SoleWork::on(&control), Arrival::begin(&plan, &control)?);
        let (certificates, acme) = certificates::open(file, base, &data_dir, &live)?;
        let mut stores = arrival.stores(&plan, &control)?;
        let cluster = Cluster::open((file, base), &control, &stores.catalog)?;
        let renewal = Renewal::start(&control, cluster.as_ref(), &mut stores);
        let (remade, access_log) = (devanture_control::encode::remade_channel(), access_log::open(file, base)?);
        let BuildInputs { loader, dictionaries, reported_misses: misses } = BuildInputs::of(file, &stores, &control);
        let follower = control.block_on(Follower::begin(live.clone(), loader.clone(), remade.subscribe()))?;
        // Nothing listens before the live versions are known; connections then wait for the load of their version.
        let sockets = Sockets::bind(file, arrival.inherited())?;
        let (copies, addresses) = (sockets.copies()?, sockets.addresses);
        let port = file.listen.public_port.unwrap_or_else(|| addresses.https.port());
        live.domains().set_port(port);
        let requests = most_requested::Record::new(&data_dir, &loader);
        let loading = load_live(&control, (&loader, &live), requests.read(), (&mut arrival, file))?;
        control.spawn(follower.run());
        let shared = (&stores.catalog, cluster.as_ref());
        let (keeping, troubles) = certificates::keep((file, base), &control, (&certificates, acme, &live), shared)?;
        start_upkeep((file, &stores, &live), (&control, &sole), &bounds.free_space, (&metrics, &loader, &requests));
        let node = node::start((file, base), &data_dir, &sole, &stores, (&certificates, &cluster));
        let background = background::start(file, &control, (&stores, &live, &loader), remade, &dictionaries, misses);
        let upstreams = upstreams::policy((file, base, addresses), cluster.as_ref(), &control, &data_dir);
        let (registry, upstream_keeper) = upstreams::start((file, descriptors), &upstreams, &control, &live, &stores)?;
        let (socket, stop) = (OwnSocket::at(data_dir.join(SOCKET_NAME)), CancellationToken::new());
        let handler = HandlerParts::of(file, addresses, (&live, &loader, &registry), &access_log, &certificates, &stop);
        let prober = Arc::new(smoke::Prober::start(handler.clone())?);
        let (keys, settings_of) = settings_of(&node, &stores, &live);
        let running = runner::start((file, base), &control, &mut arrival, &stores, &live, &registry, &settings_of)?;
        let (runner, ledger) = (running.as_ref().map(|(runner, _)| runner.clone()), ledger(file, &stores, live));
        let parts = environments_parts(file, &stores, (upstreams.clone(), registry), keys, running, cluster.as_ref());
        let environments = Arc::new(Environments::new(Arc::clone(&ledger), parts));
        let publisher = Arc::new(Publisher::new(Parts {
            blobs: stores.blobs,
            ledger,
            environments,
            loader,
            upstreams,
            background,
            dictionaries,
            data_dir: data_dir.clone(),
            compress_threads: cores(),
            retention: file.retention.clone(),
            smoke: Arc::clone(&prober) as Arc<dyn Smoke>,
            access_log: access_log.clone(),
            watch: file.watch,
            node: file.node.clone(),
            nodes: cluster.as_ref().map(Cluster::nodes),
            cache: node.cache.clone(),
        }));
        begin_publishing((&control, &sole), &publisher, troubles)?;
        let (health, drain) = (health_on(file, addresses, bounds.free_space), DrainControl::of(file, &sole));
        let (credentials, handler) = identities::begin(&sole, stores.catalog, &publisher, (file, base, handler));
        let admin = Admin::new(Arc::clone(&publisher), Arc::clone(&credentials), metrics, Arc::clone(&health), node);

        let serving = serving((file, base, descriptors), &control, handler, &certificates, &drain, port, &publisher);
        let reloadable = Reloadable::of(&serving, base);
        // Joined before the first push: other nodes consult this node before garbage collection.
        let cluster = cluster.map(|cluster| cluster.join(&control, &publisher, &credentials, &admin)).transpose()?;
        let mut threads = Threads::start(sockets, serving, admin, local::bind(&socket))?;
        health.set_ready(true);
        publisher.uploads().go_on_counting(arrival.counted_pushes()?);
        let before = arrival.serve(&control, &publisher.ledger().catalog, runner.as_ref(), &access_log)?;
        begin_serving((file, base), &data_dir, (&control, &sole), &publisher, keeping);
        serve_http3_later(&control, (file, addresses), &mut threads, (&health, &copies), drain.subscribe());
        let handed = (Arc::clone(&publisher), Arc::clone(&credentials), copies, runner.clone());
        let handover = Handover::listen(&control, &data_dir, handover_parts(file, handed, before, drain.haste()));
        Ok(Self {
            access_log,
            addresses,
            cluster,
            prober,
            certificates,
            renewal,
            credentials,
            drain,
            handover,
            health,
            loading,
            publisher,
            requests,
            runner,
            socket,
            stop,
            threads,
            reloadable,
            upstream_keeper,
            control,
        })
    }

    /// Returns the listening addresses.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Applies the keys of `file` that [`is_applied_at_reload`] names, and reads certificates and ticket keys again,
    /// also the certificates for other nodes and for etcd. Invalid files leave the earlier ones in use. Returns all
    /// errors.
    #[must_use]
    pub fn reload(&self, file: &EdgeFile) -> Vec<StartError> {
        self.drain.set_times(DrainTimes::of(file));
        self.publisher.set_watch(file.watch);
        self.publisher.retention().set_policy(file.retention.clone());
        self.publisher.set_limits(&file.limits);
        identities::set(&self.credentials, file, self.reloadable.base());
        if let Some(background) = self.publisher.set_compress(&file.compress) {
            let ledger = self.publisher.ledger();
            self.control.spawn(background::enqueue_live(background, Arc::clone(&ledger.catalog), ledger.live.clone()));
        }
        self.reloadable.set(file);
        self.certificates.set_profile(file.tls_profile);
        let of_visitors = self.certificates.reload().err().map(StartError::from);
        let of_people = identities::check(file, self.reloadable.base()).err();
        of_visitors.into_iter().chain(self.renewal.reload()).chain(of_people).collect()
    }

    /// Reopens the file of the access log, for example after a rotation.
    pub fn reopen_access_log(&self) {
        self.access_log.reopen();
    }

    /// Waits until a successor serves in place of the edge, which then has to drain.
    pub async fn replaced(&self) {
        self.handover.served().await;
    }

    /// Returns true once a successor serves in place of the edge.
    #[must_use]
    pub fn has_successor(&self) -> bool {
        self.handover.has_successor()
    }
}

/// Returns the health state of an edge that listens on `addresses`.
fn health_on(file: &EdgeFile, addresses: Addresses, free_space: Arc<FreeSpace>) -> Arc<Health> {
    let health = Health::on(free_space).wanting_http3(file.listen.tries_http3());
    if let Some(http3) = addresses.http3 {
        health.serves_http3(http3::visitor_ports(&file.listen, addresses.https, http3));
    }
    Arc::new(health)
}

/// Starts HTTP/3 once the port is free, if the port was taken at the start.
fn serve_http3_later(
    control: &Runtime,
    (file, addresses): (&EdgeFile, Addresses),
    threads: &mut Threads,
    (health, copies): (&Arc<Health>, &SharedCopies),
    drain: Drain,
) {
    let (health, copies) = (Arc::clone(health), Arc::clone(copies));
    let later = http3::LaterBinding { threads: threads.take_without_http3(), health, copies };
    later.begin(control, &file.listen, addresses, drain);
}

/// Returns the encryption keys of secrets, and the settings that the keys decrypt.
fn settings_of(node: &Node, stores: &Stores, live: &Live) -> (Arc<KeyFile>, Arc<SettingsOf>) {
    let keys = Arc::new(KeyFile::new(node.key_file.clone()));
    live.set_opener(keys.opener());
    let settings_of = Arc::new(SettingsOf::new(Arc::clone(&stores.catalog), Arc::clone(&keys)));
    (keys, settings_of)
}

/// Collects the input of serving threads.
fn serving(
    (file, base, descriptors): (&EdgeFile, &Path, Descriptors),
    control: &Runtime,
    handler: HandlerParts,
    certificates: &Certificates,
    drain: &DrainControl,
    https_port: u16,
    publisher: &Arc<Publisher>,
) -> Serving {
    let (of_visitors, of_admin) = descriptors.share(&file.limits);
    let limits = ConnectionLimits::new(&of_visitors).exempting(&file.listen.trusted_proxies);
    control.spawn(listen::keep_response_memory(Arc::clone(limits.response_memory())));
    Serving {
        handler,
        visitors: certificates.server_config(),
        admin_tls: certificates.admin_server_config(),
        admin_limits: ConnectionLimits::new(&of_admin)
            .exempting(&file.listen.trusted_proxies)
            .sharing_memory_with(&limits)
            .leaving_bodies(),
        limits,
        drain: drain.subscribe(),
        https_port,
        node: cluster::home(&data_dir(file, base)).into(),
        certificates: certificates.clone(),
        publisher: Arc::clone(publisher),
        archives_max: file.limits.pushes_max,
    }
}

/// Creates the ledger, which knows the name of its node in a cluster.
fn ledger(file: &EdgeFile, stores: &Stores, live: Live) -> Arc<Ledger> {
    let node = file.cluster.as_ref().map(|_cluster| file.node.clone());
    Arc::new(Ledger::on_node(Arc::clone(&stores.catalog), live, &file.limits, node))
}

/// Checks before any change: the secret of the client at a provider, and the membership of the node.
fn check_joined(file: &EdgeFile, base: &Path) -> Result<(), StartError> {
    identities::check(file, base)?;
    cluster::check(file, base)
}

fn handover_parts(
    file: &EdgeFile,
    (publisher, credentials, sockets, runner): (Arc<Publisher>, Arc<Credentials>, SharedCopies, Option<Runner>),
    before: PredecessorHandle,
    haste: DrainHaste,
) -> HandoverParts {
    let DrainTimes { deploys: settle_time_max, runs: run_time_max, .. } = DrainTimes::of(file);
    let of_nodes = file.cluster.as_ref().map(|cluster| cluster.listen);
    HandoverParts { publisher, credentials, sockets, of_nodes, settle_time_max, run_time_max, runner, before, haste }
}

fn environments_parts(
    file: &EdgeFile,
    stores: &Stores,
    (upstreams, registry): (Policy, Registry),
    keys: Arc<KeyFile>,
    runner: Option<(Runner, Arc<SettingsOf>)>,
    cluster: Option<&Cluster>,
) -> environments::Parts {
    environments::Parts {
        blobs: Arc::clone(&stores.blobs),
        names: file.names.clone(),
        dns_servers: file.dns_servers.iter().map(|server| server.0).collect(),
        upstreams,
        registry,
        keys,
        node: file.node.clone(),
        nodes: cluster.map(Cluster::nodes),
        runner,
    }
}

/// Starts the background work that begins once the edge serves.
fn begin_serving(
    (file, base): (&EdgeFile, &Path),
    data_dir: &Path,
    (control, sole): (&Runtime, &SoleWork),
    publisher: &Arc<Publisher>,
    keeping: certificates::Keeping,
) {
    sole.spawn(keeping);
    console::start((file, base), data_dir, control, publisher);
}

/// Starts the background work of publishing, from the start of the edge on.
fn begin_publishing(
    (control, sole): (&Runtime, &SoleWork),
    publisher: &Arc<Publisher>,
    troubles: certificates::Troubles,
) -> Result<(), StartError> {
    // Before any expiry: the expiry clock continues from the times that earlier processes recorded.
    control.block_on(show_tasks(&*publisher.ledger().catalog));
    sole.spawn(write_pause::follow(Arc::clone(publisher)));
    control.block_on(publisher.ledger().continue_clock())?;
    control.block_on(publisher.environments().settings.check_secrets())?;
    sole.spawn(devanture_control::aliases::keep_sweeping_aliases(Arc::downgrade(&publisher.environments().aliases)));
    sole.spawn(Arc::clone(&publisher.environments().settings).keep_checking_secrets());
    sole.spawn(Arc::clone(&publisher.environments().instances).keep_warning_of_idle_backends());
    control.spawn(Arc::clone(&publisher.environments().schedules).keep_running_schedules());
    control.spawn(Arc::clone(publisher.switcher()).keep_canaries());
    control.spawn(Arc::clone(publisher.webhooks()).keep_sending());
    control.spawn(Arc::clone(publisher.webhooks()).keep_looking_for_kept_reach());
    control.spawn(troubles.announce(Arc::clone(publisher)));
    sole.spawn(Arc::clone(publisher.retention()).keep_collecting());
    control.spawn(Arc::clone(publisher.uploads()).keep_writing_sent());
    if publisher.is_in_cluster() {
        control.spawn(Arc::clone(publisher).keep_forgetting());
    }
    Ok(())
}
