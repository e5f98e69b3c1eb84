//! The addresses of the edge's stores: closed to every route, because etcd and the bucket trust the machine.
//!
//! The names are resolved periodically, as the stores' clients do: a new address becomes known a moment later.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use devanture_config::edge_toml::{BlobStore, CatalogStore, Storage};
use http::Uri;
use tokio::net::lookup_host;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use devanture_serve::proxy::address::{InternalAddresses, StoreAddress};

/// Interval of lookups.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// Longest wait of a start for the first lookup: without the lookup, the edge has no store either.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(2);
/// Time limit of one lookup.
const NAME_TIME_MAX: Duration = Duration::from_secs(5);

/// An endpoint of a store.
#[derive(Debug, PartialEq, Eq)]
struct StoreEndpoint {
    host: String,
    port: u16,
    /// True for a name, which has to be resolved.
    is_name: bool,
    /// True if the endpoint may be a shared service of the open internet.
    may_be_public: bool,
    /// The address, or the addresses of the last successful lookup.
    found: Vec<SocketAddr>,
}

impl StoreEndpoint {
    /// Parses a URL; `None` without a host.
    fn of(url: &str, is_bucket: bool) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let port = uri.port_u16().unwrap_or_else(|| if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let host = uri.host()?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        let address = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        let found: Vec<SocketAddr> = address.into_iter().collect();
        let is_name = found.is_empty();
        Some(Self { host, port, is_name, may_be_public: is_bucket && is_name, found })
    }

    async fn look(&mut self) {
        if !self.is_name {
            return;
        }
        // If DNS fails, the last addresses stay.
        if let Ok(Ok(found)) = timeout(NAME_TIME_MAX, lookup_host((self.host.as_str(), self.port))).await {
            self.found = found.collect();
        }
    }
}

/// Returns the endpoints in `edge.toml`.
fn endpoints(storage: &Storage) -> Vec<StoreEndpoint> {
    let of_catalog = match &storage.catalog {
        CatalogStore::Embedded => &[][..],
        CatalogStore::Etcd(etcd) => &etcd.endpoints,
    };
    let of_blobs = match &storage.blobs {
        BlobStore::Folder => None,
        BlobStore::S3(bucket) => bucket.endpoint.as_deref(),
    };
    let of_catalog = of_catalog.iter().filter_map(|url| StoreEndpoint::of(url, false));
    of_catalog.chain(of_blobs.and_then(|url| StoreEndpoint::of(url, true))).collect()
}

/// Keeps the addresses of the stores up to date from now on.
pub(super) fn follow(storage: &Storage, control: &Runtime) -> InternalAddresses {
    let (internal, mut endpoints) = (InternalAddresses::default(), endpoints(storage));
    take_over(&endpoints, &internal);
    if endpoints.iter().all(|endpoint| !endpoint.is_name) {
        return internal;
    }
    // Before any request is served.
    control.block_on(async { timeout(FIRST_LOOK_MAX, look(&mut endpoints, &internal)).await.ok() });
    let followed = internal.clone();
    control.spawn(async move {
        loop {
            look(&mut endpoints, &followed).await;
            sleep(LOOK_INTERVAL).await;
        }
    });
    internal
}

async fn look(endpoints: &mut [StoreEndpoint], internal: &InternalAddresses) {
    for endpoint in endpoints.iter_mut() {
        endpoint.look().await;
    }
    take_over(endpoints, internal);
}

fn take_over(endpoints: &[StoreEndpoint], internal: &InternalAddresses) {
    let of = |endpoint: &StoreEndpoint| {
        let may_be_public = endpoint.may_be_public;
        let addresses = endpoint.found.iter().map(|address| StoreAddress { address: *address, may_be_public });
        addresses.collect::<Vec<_>>()
    };
    internal.set_stores(&endpoints.iter().flat_map(of).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (url, is_bucket, expected) in [
            ("https://10.0.0.11:2379", false, Some(("10.0.0.11", 2_379, false))),
            ("http://[fd12::1]:2379", false, Some(("fd12::1", 2_379, false))),
            ("http://minio", true, Some(("minio", 80, true))),
            ("https://s3.example.org/path", true, Some(("s3.example.org", 443, true))),
            ("https://192.0.2.7", true, Some(("192.0.2.7", 443, false))),
            ("https://", true, None),
        ] {
            let found = StoreEndpoint::of(url, is_bucket);
            let found = found.as_ref().map(|one| (one.host.as_str(), one.port, one.may_be_public));
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn an_address_needs_no_dns_and_a_name_has_none_before_the_first_look() {
        let found = |url: &str| StoreEndpoint::of(url, false).unwrap().found;
        for address in ["127.0.0.1:2379", "[fd12::1]:2379"] {
            assert_eq!(found(&format!("http://{address}")), [address.parse::<SocketAddr>().unwrap()]);
        }
        assert!(found("http://etcd:2379").is_empty());
    }
}
