//! A look at what an issuer publishes, for `devanture-edge doctor`: as it is fetched when an identity token comes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use devanture_config::edge_toml::Issuer;
use devanture_config::limits::Limits;

use super::fetch::{Authorities, Fetcher};

/// What an issuer publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// Keys that identity tokens are checked by.
    pub keys: usize,
    /// Whether a command line can log in there (RFC 8628).
    pub has_device_grant: bool,
    /// Whether a browser can.
    pub has_authorization: bool,
}

/// Fetches what an issuer publishes, within `identity_fetch_ms_max`; it is trusted by the authorities of `files` beside
/// the platform's, and found by the DNS servers of the system where no others are given.
///
/// # Errors
/// Why it cannot be used.
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
