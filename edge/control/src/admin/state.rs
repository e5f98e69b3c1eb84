//! State shared by the operations, and health of the edge.

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

/// Most concurrently forwarded requests, at most half for one app. Each uses its own connection: on a shared
/// connection, an unread body would stall all other requests.
const FORWARDS_MAX: u64 = 64;

/// Most concurrent followers of deploys, at most half for one app.
const FOLLOWERS_MAX: u64 = 256;

/// Health of the edge, and announcement of its end.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
    /// Disk of the data folder; `None` without monitoring.
    disk: Option<Arc<FreeSpace>>,
    /// True if HTTP/3 is configured …
    wants_http3: bool,
    /// … and the ports for visitors, set once HTTP/3 is served.
    http3: OnceLock<VisitorPorts>,
}

impl Health {
    /// Returns the health of an edge with its data on a disk.
    #[must_use]
    pub fn on(disk: Arc<FreeSpace>) -> Self {
        Self { disk: Some(disk), ..Self::default() }
    }

    /// Sets if HTTP/3 is to be served.
    #[must_use]
    pub fn wanting_http3(self, wants_http3: bool) -> Self {
        Self { wants_http3, ..self }
    }

    /// Records the ports of HTTP/3.
    pub fn serves_http3(&self, ports: VisitorPorts) {
        // The first ports stay in force.
        self.http3.set(ports).ok();
    }

    pub(super) fn http3(&self) -> Option<VisitorPorts> {
        self.http3.get().copied()
    }

    /// Returns true if the UDP port of HTTP/3 is unavailable.
    pub(super) fn lacks_http3(&self) -> bool {
        self.wants_http3 && self.http3().is_none()
    }

    /// Sets if new requests should be routed to the edge.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(super) fn is_short_of_disk(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.is_short())
    }

    /// Returns the reason for an unwritable disk.
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
    /// Permits of forwarded requests.
    pub(super) forwards: Arc<Shares>,
    /// Permits of deploy followers.
    pub(super) followers: Arc<Shares>,
    /// Permits of large JSON bodies.
    pub(super) bodies: Arc<BodyPlaces>,
    /// Endless streams per credential.
    pub(super) streams: Arc<EventStreams>,
    /// Catalog refreshes for credentials unknown to the node.
    pub(super) refreshes: SharedRefresh,
}

/// Looks up the certificate presented for a hostname or wildcard.
pub type CertificateOf = Box<dyn Fn(&HostPattern) -> Option<HostnameCertificate> + Send + Sync>;

/// Dependencies of operations on the whole node.
pub struct Node {
    /// Additional metrics sources, read by each scrape.
    pub gauges: Vec<GaugeSource>,
    /// Local disk cache of a bucket; `None` if the disk is the store.
    pub cache: Option<CacheUse>,
    /// Certificates presented to visitors.
    pub certificate_of: CertificateOf,
    /// Data folder.
    pub data_dir: PathBuf,
    /// File of the keys that encrypt secrets.
    pub key_file: Option<PathBuf>,
}

impl Admin {
    /// Assembles the API.
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
