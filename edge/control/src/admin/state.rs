//! The state that the operations work on, and the health of the edge.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use devanture_config::HostPattern;
use devanture_config::api::HostnameCertificate;

use super::body::BodyPlaces;
use super::event_streams::EventStreams;
use super::freshness::SharedRefresh;
use crate::access::Credentials;
use crate::hostnames::VisitorPorts;
use crate::publish::Publisher;
use devanture_base::fair::Shares;
use devanture_base::telemetry::{Exposition, GaugeSource};
use devanture_store::blobs::{CacheUse, FreeSpace};

/// Most requests that a node passes on at once; one app gets no more than half of them. Each has a connection of its
/// own: on a shared one, a body that nobody reads would hold up all others.
const FORWARDS_MAX: u64 = 64;

/// Most readers of deploys as they go; one app gets no more than half of them.
const FOLLOWERS_MAX: u64 = 256;

/// Whether the edge can serve, and whether it is about to end.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
    /// The disk of the data folder; `None` where nobody looks at it.
    disk: Option<Arc<FreeSpace>>,
    /// Whether HTTP/3 is wanted …
    wants_http3: bool,
    /// … and the ports by which visitors reach it, once it is served.
    http3: OnceLock<VisitorPorts>,
}

impl Health {
    /// The API of an edge with its data on a disk.
    #[must_use]
    pub fn on(disk: Arc<FreeSpace>) -> Self {
        Self { disk: Some(disk), ..Self::default() }
    }

    /// The same, of an edge that is or is not to serve HTTP/3.
    #[must_use]
    pub fn wanting_http3(self, wants_http3: bool) -> Self {
        Self { wants_http3, ..self }
    }

    /// Says that HTTP/3 is served at these ports.
    pub fn serves_http3(&self, ports: VisitorPorts) {
        // They stay what they were at first.
        self.http3.set(ports).ok();
    }

    pub(super) fn http3(&self) -> Option<VisitorPorts> {
        self.http3.get().copied()
    }

    /// Whether the port of HTTP/3 cannot be listened on.
    pub(super) fn lacks_http3(&self) -> bool {
        self.wants_http3 && self.http3().is_none()
    }

    /// Says whether new requests should come here.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(super) fn is_short_of_disk(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.is_short())
    }

    /// Why nothing can be written to the disk.
    pub(super) fn unwritable(&self) -> Option<String> {
        self.disk.as_ref().and_then(|disk| disk.unwritable())
    }
}

/// The API.
pub struct Admin {
    pub(super) publisher: Arc<Publisher>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) metrics: Exposition,
    pub(super) health: Arc<Health>,
    pub(super) node: Node,
    /// One for each request that another node answers.
    pub(super) forwards: Arc<Shares>,
    /// One for each reader of a deploy as it goes.
    pub(super) followers: Arc<Shares>,
    /// One for each large body of JSON that comes in.
    pub(super) bodies: Arc<BodyPlaces>,
    /// Of each credential, streams that go on for as long as their reader wants.
    pub(super) streams: Arc<EventStreams>,
    /// Refreshes of the catalog for credentials that this node does not know.
    pub(super) refreshes: SharedRefresh,
}

/// Finds the certificate that the edge shows for a hostname or a wildcard.
pub type CertificateOf = Box<dyn Fn(&HostPattern) -> Option<HostnameCertificate> + Send + Sync>;

/// What operations on the whole node need.
pub struct Node {
    /// Added to the metrics of each scrape.
    pub gauges: Vec<GaugeSource>,
    /// The local disk in front of a bucket; `None` where the disk is the store.
    pub cache: Option<CacheUse>,
    /// The certificates that visitors are shown.
    pub certificate_of: CertificateOf,
    /// The data folder.
    pub data_dir: PathBuf,
    /// The file of the keys that seal secrets.
    pub key_file: Option<PathBuf>,
}

impl Admin {
    /// Puts the API together.
    #[must_use]
    pub fn new(
        publisher: Arc<Publisher>,
        credentials: Arc<Credentials>,
        metrics: Exposition,
        health: Arc<Health>,
        node: Node,
    ) -> Arc<Self> {
        let (forwards, followers) = (Shares::new(FORWARDS_MAX), Shares::new(FOLLOWERS_MAX));
        let bodies = Shares::new(publisher.limits().admin_bodies_receiving_max);
        let (streams, refreshes) = (Arc::default(), SharedRefresh::default());
        Arc::new(Self {
            publisher,
            credentials,
            metrics,
            health,
            node,
            forwards,
            followers,
            bodies,
            streams,
            refreshes,
        })
    }
}
