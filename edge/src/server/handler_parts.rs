//! The handler of each serving thread, from the parts that all of them share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use devanture_config::edge_toml::{AddressBlock, EdgeFile};
use devanture_config::limits::Limits;
use http::HeaderValue;
use http::header::STRICT_TRANSPORT_SECURITY;
use tokio_util::sync::CancellationToken;

use crate::handler::{Handler, RouteTable};
use crate::live::{Live, Loader};
use crate::proxy::{Client, ClientSettings, Registry};
use crate::telemetry::AccessLog;
use crate::tls::Certificates;
use crate::version::CommonField;

/// `Strict-Transport-Security` until the owner of a hostname raises it: a day, for this host alone.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=86400");

/// The parts of one serving thread's handler.
#[derive(Clone)]
pub(super) struct HandlerParts {
    live: Live,
    loader: Loader,
    access_log: AccessLog,
    certificates: Certificates,
    limits: Limits,
    registry: Registry,
    pub(super) trusted_proxies: Arc<ArcSwap<Vec<AddressBlock>>>,
    stop: CancellationToken,
}

impl HandlerParts {
    pub(super) fn of(
        file: &EdgeFile,
        (live, loader, registry): (&Live, &Loader, &Registry),
        access_log: &AccessLog,
        certificates: &Certificates,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            live: live.clone(),
            loader: loader.clone(),
            access_log: access_log.clone(),
            certificates: certificates.clone(),
            limits: file.limits.clone(),
            registry: registry.clone(),
            trusted_proxies: Arc::new(ArcSwap::from_pointee(file.listen.trusted_proxies.clone())),
            stop: stop.clone(),
        }
    }

    /// The connections to backends belong to the thread that calls this.
    pub(super) fn handler(self) -> Handler {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let settings = ClientSettings {
            body_bytes_max: self.limits.proxy_body_bytes_max,
            idle_per_member_max: size(self.limits.upstream_idle_max),
            stop: self.stop,
        };
        Handler {
            live: self.live,
            loader: self.loader,
            backends: Client::new(settings),
            ways: RouteTable::new(self.registry),
            access_log: self.access_log,
            hsts: CommonField::new(STRICT_TRANSPORT_SECURITY, HSTS),
            trusted: Arc::new(move |host| self.certificates.are_trusted_for(host)),
            target_bytes_max: target_bytes_max(size(self.limits.path_bytes_max)),
            trusted_proxies: self.trusted_proxies,
        }
    }
}

/// The path of any file of a bundle can be asked for, each of its bytes encoded; RFC 9110 §4.1 wants 8,000 at least.
const fn target_bytes_max(path_bytes_max: usize) -> usize {
    let encoded = path_bytes_max.saturating_mul(3);
    if encoded > 8_000 { encoded } else { 8_000 }
}
