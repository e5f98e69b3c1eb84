//! Creates the handler of each serving thread from shared parts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use devanture_config::edge_toml::{AddressBlock, EdgeFile, Listen};
use devanture_config::limits::Limits;
use http::HeaderValue;
use http::header::{ALT_SVC, STRICT_TRANSPORT_SECURITY};
use tokio_util::sync::CancellationToken;

use super::sockets::Addresses;
use devanture_base::telemetry::AccessLog;
use devanture_control::access::Credentials;
use devanture_serve::handler::{Handler, RouteTable, Visitors};
use devanture_serve::live::{Domains, Grace, Live, Loader};
use devanture_serve::proxy::{Client, ClientSettings, Registry};
use devanture_serve::tls::Certificates;
use devanture_serve::version::CommonField;

/// `Strict-Transport-Security` unless the owner of a hostname raises the value: a day, for the host without subdomains.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=86400");

/// Seconds for which browsers remember HTTP/3.
const ALT_SVC_S: u32 = 86_400;

/// Returns `Alt-Svc` (RFC 7838) of an edge that listens for HTTP/3 at `http3`. Browsers use HTTP/3 for a day after the
/// header; once HTTP/3 is off, `clear` cancels the earlier header (§3).
pub(super) fn alt_svc(listen: &Listen, http3: Option<SocketAddr>) -> Option<HeaderValue> {
    match http3 {
        Some(address) => {
            let port = listen.http3_port(address.port());
            HeaderValue::try_from(format!("h3=\":{port}\"; ma={ALT_SVC_S}")).ok()
        }
        None if listen.http3 == Some(false) => Some(HeaderValue::from_static("clear")),
        // HTTP/3 is tried again if UDP could not be bound at the start.
        None => None,
    }
}

/// Creates the state of live versions, empty until the first load.
pub(super) fn live_of(file: &EdgeFile) -> Live {
    let domains = Domains::new(file.domain.clone(), file.preview_domain.clone()).with_login(file.names.login.clone());
    let live = Live::new(domains, grace(&file.limits));
    live.set_default_protection(file.previews);
    live
}

fn grace(limits: &Limits) -> Grace {
    Grace { ms: limits.grace_ms_max, versions_max: usize::try_from(limits.grace_versions_max).unwrap_or(usize::MAX) }
}

/// The parts of one serving thread's handler.
#[derive(Clone)]
pub(super) struct HandlerParts {
    live: Live,
    loader: Loader,
    access_log: AccessLog,
    alt_svc: Option<HeaderValue>,
    certificates: Certificates,
    limits: Limits,
    public_port: Option<u16>,
    registry: Registry,
    pub(super) trusted_proxies: Arc<ArcSwap<Vec<AddressBlock>>>,
    stop: CancellationToken,
    visitors: Option<Arc<Visitors>>,
}

impl HandlerParts {
    pub(super) fn of(
        file: &EdgeFile,
        addresses: Addresses,
        (live, loader, registry): (&Live, &Loader, &Registry),
        access_log: &AccessLog,
        certificates: &Certificates,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            live: live.clone(),
            loader: loader.clone(),
            access_log: access_log.clone(),
            alt_svc: alt_svc(&file.listen, addresses.http3),
            certificates: certificates.clone(),
            limits: file.limits.clone(),
            public_port: file.listen.public_port,
            registry: registry.clone(),
            trusted_proxies: Arc::new(ArcSwap::from_pointee(file.listen.trusted_proxies.clone())),
            stop: stop.clone(),
            visitors: None,
        }
    }

    /// Adds the lookup of visitors of protected environments.
    pub(super) fn with_visitors(self, credentials: &Arc<Credentials>) -> Self {
        let (accounts, login_ms_max) = (Arc::<Credentials>::clone(credentials), self.limits.visitor_login_ms_max);
        Self { visitors: Some(Arc::new(Visitors { accounts, login_ms_max })), ..self }
    }

    /// Creates the handler; the connections to backends belong to the calling thread.
    pub(super) fn handler(self) -> Handler {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let settings = ClientSettings {
            body_bytes_max: self.limits.proxy_body_bytes_max,
            idle_per_member_max: size(self.limits.upstream_idle_max),
            connection_age_max: Duration::from_millis(self.limits.upstream_connection_age_ms_max),
            stop: self.stop,
        };
        Handler {
            live: self.live,
            loader: self.loader,
            backends: Client::new(settings),
            ways: RouteTable::new(self.registry),
            access_log: self.access_log,
            // One value per thread, so that no thread contends for another thread's reference count.
            alt_svc: self.alt_svc.map(|value| CommonField::new(ALT_SVC, value).into()).unwrap_or_default(),
            hsts: CommonField::new(STRICT_TRANSPORT_SECURITY, HSTS),
            trusted: Arc::new(move |host| self.certificates.are_trusted_for(host)),
            target_bytes_max: target_bytes_max(size(self.limits.path_bytes_max)),
            trusted_proxies: self.trusted_proxies,
            public_port: self.public_port,
            visitors: self.visitors,
        }
    }
}

/// Returns the longest target: any path of a bundle's file, with each byte percent-encoded; RFC 9110 §4.1 requires at
/// least 8,000.
const fn target_bytes_max(path_bytes_max: usize) -> usize {
    let encoded = path_bytes_max.saturating_mul(3);
    if encoded > 8_000 { encoded } else { 8_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_learn_of_http3_where_it_is_served_and_forget_it_where_it_is_off() {
        let bound = Some(SocketAddr::from(([0, 0, 0, 0], 8443)));
        for (keys, bound, expected) in [
            ("", bound, Some("h3=\":8443\"; ma=86400")),
            ("http3 = true\npublic_port = 443", bound, Some("h3=\":443\"; ma=86400")),
            ("public_port = 443\nhttp3_public_port = 444", bound, Some("h3=\":444\"; ma=86400")),
            ("", None, None),
            ("http3 = false", None, Some("clear")),
        ] {
            let text = format!(
                "data_dir = \"data\"\ndomain = \"localhost\"\npreview_domain = \"localhost\"\n[listen]\n\
                 https = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n{keys}\n[tls]\nmode = \"self-signed\"\n"
            );
            let file = EdgeFile::parse("edge.toml", &text).unwrap();
            let found = alt_svc(&file.listen, bound);
            assert_eq!(found.as_ref().map(|value| value.to_str().unwrap()), expected, "{keys}");
        }
    }
}
