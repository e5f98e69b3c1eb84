//! Where a route goes: its target and its times, made once from the route and shared by all threads.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::site_toml::{ROUTE_TIMEOUT_MS, Route, UpstreamUrl};
use rustls_pki_types::ServerName;

/// A backend as one route sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub(crate) target: Arc<Target>,
    pub(crate) timeout: Duration,
}

impl Upstream {
    /// Makes a route ready.
    #[must_use]
    pub fn new(route: &Route) -> Self {
        Self::at(&route.to, route.timeout_ms)
    }

    /// Makes a backend ready that may take `timeout_ms` milliseconds, or [`ROUTE_TIMEOUT_MS`].
    #[must_use]
    pub fn at(to: &UpstreamUrl, timeout_ms: Option<u64>) -> Self {
        let timeout = Duration::from_millis(timeout_ms.unwrap_or(ROUTE_TIMEOUT_MS));
        Self { target: Arc::new(Target::new(to)), timeout }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}

/// Scheme, host and port: what a kept-alive connection is kept under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

/// A host, which is an address or a name to resolve.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Address(IpAddr),
    Name(String),
}

impl Target {
    pub(crate) fn new(url: &UpstreamUrl) -> Self {
        let url = url.url();
        let tls = url.scheme() == "https";
        let host = url.host_str().unwrap_or_default();
        let address = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(six) => six.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => host.parse().ok(),
        };
        let host = address.map_or_else(|| Host::Name(host.to_owned()), Host::Address);
        Self { host, port: url.port().unwrap_or(if tls { 443 } else { 80 }), tls }
    }

    /// The addresses that the target has now.
    ///
    /// # Errors
    /// That its name does not resolve.
    pub(crate) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.host {
            Host::Address(address) => Ok(vec![SocketAddr::new(*address, self.port)]),
            Host::Name(name) => Ok(tokio::net::lookup_host((name.as_str(), self.port)).await?.collect()),
        }
    }

    /// The name that the backend's certificate must have.
    pub(crate) fn server_name(&self) -> Option<ServerName<'static>> {
        match &self.host {
            Host::Address(address) => Some(ServerName::from(*address)),
            Host::Name(name) => ServerName::try_from(name.clone()).ok(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        match &self.host {
            Host::Address(IpAddr::V6(six)) => write!(f, "{scheme}://[{six}]:{}", self.port),
            Host::Address(IpAddr::V4(four)) => write!(f, "{scheme}://{four}:{}", self.port),
            Host::Name(name) => write!(f, "{scheme}://{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_its_port_and_its_kind_of_host() {
        let target = |url: &str| Target::new(&url.parse().unwrap());
        assert_eq!(target("http://127.0.0.1:3000").to_string(), "http://127.0.0.1:3000");
        assert_eq!(target("https://api.example.org").to_string(), "https://api.example.org:443");
        assert_eq!(target("http://[::1]").host, Host::Address("::1".parse().unwrap()));
        assert_eq!(target("http://[::1]").to_string(), "http://[::1]:80");
        assert_eq!(target("http://LOCALHOST:8").host, Host::Name("localhost".to_owned()));
    }

    #[test]
    fn a_route_without_a_timeout_waits_a_minute() {
        let route = |text: &str| Upstream::new(&serde_json::from_str(text).unwrap()).timeout;
        assert_eq!(route(r#"{"path":"/a","to":"http://h"}"#), Duration::from_secs(60));
        assert_eq!(route(r#"{"path":"/a","to":"http://h","timeout_ms":5}"#), Duration::from_millis(5));
    }
}
