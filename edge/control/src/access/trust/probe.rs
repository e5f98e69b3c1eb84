//! Probe of an issuer for `devanture-edge doctor`, with the same fetches as for an identity token.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use devanture_config::edge_toml::Issuer;
use devanture_config::limits::Limits;

use super::fetch::{Authorities, Fetcher};

/// Published data of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// Number of usable keys.
    pub keys: usize,
    /// True if command lines can log in (RFC 8628).
    pub has_device_grant: bool,
    /// True if browsers can log in.
    pub has_authorization: bool,
}

/// Fetches the published data of an issuer within `identity_fetch_ms_max`, trusting the authorities of `files` in
/// addition to the platform's, by the given DNS servers, or else the system's.
///
/// # Errors
/// The reason why the issuer is unusable.
pub async fn probe(
    issuer: &Issuer,
    files: BTreeSet<PathBuf>,
    limits: &Limits,
    dns_servers: &[SocketAddr],
) -> Result<Probed, String> {
    let own = (!files.is_empty()).then(|| Authorities::new(files));
    let mut fetcher = Fetcher::new(limits);
    fetcher.set_dns_servers(dns_servers);
    let published = fetcher.published(issuer, own.as_ref()).await.map_err(|error| error.to_string())?;
    let has_token = published.endpoints.token.is_some();
    Ok(Probed {
        keys: published.keys.count(),
        has_device_grant: has_token && published.endpoints.device.is_some(),
        has_authorization: has_token && published.endpoints.authorization.is_some(),
    })
}
