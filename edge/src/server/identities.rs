//! Callers of the API: the credentials, with `[[trust]]` and `[oidc]` of `edge.toml`, and the file of the client
//! secret.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devanture_config::edge_toml::EdgeFile;

use super::error::StartError;
use super::handler_parts::HandlerParts;
use super::sole_work::SoleWork;
use devanture_control::access::Credentials;
use devanture_control::access::trust::{BadSecretFile, check_secret_file};
use devanture_control::publish::Publisher;
use devanture_serve::proxy::tls;
use devanture_store::catalog::Catalog;

const KEY: &str = "oidc.client_secret_file";

/// Creates the credentials of API callers, also used by handlers to look up visitors; records their last uses from now
/// on.
pub(super) fn begin(
    sole: &SoleWork,
    catalog: Arc<dyn Catalog>,
    publisher: &Publisher,
    (file, base, handler): (&EdgeFile, &Path, HandlerParts),
) -> (Arc<Credentials>, HandlerParts) {
    let dns_servers: Vec<SocketAddr> = file.dns_servers.iter().map(|server| server.0).collect();
    let credentials = Credentials::new(catalog, publisher.ledger().audit().clone(), &file.limits);
    let credentials = Arc::new(credentials.with_dns_servers(&dns_servers));
    set(&credentials, file, base);
    let kept = Arc::clone(&credentials);
    sole.spawn(async move { kept.keep_last_uses().await });
    let handler = handler.with_visitors(&credentials);
    (credentials, handler)
}

/// Returns the file of the client secret.
pub(super) fn secret_file(file: &EdgeFile, base: &Path) -> Option<PathBuf> {
    file.oidc.as_ref()?.client_secret_file.as_ref().map(|path| base.join(path))
}

/// Applies the settings of a file to the credentials.
pub(super) fn set(credentials: &Credentials, file: &EdgeFile, base: &Path) {
    let (mut trusts, mut oidc) = (file.trusts.clone(), file.oidc.clone());
    if let Some(oidc) = &mut oidc {
        oidc.client_secret_file = secret_file(file, base);
    }
    for ca in trusts.iter_mut().map(|trust| &mut trust.ca).chain(oidc.as_mut().map(|oidc| &mut oidc.ca)) {
        *ca = ca.as_ref().map(|path| base.join(path));
    }
    credentials.set_trusts(&trusts, oidc.as_ref());
}

/// Checks that the client secret and the authorities of issuers can be used.
///
/// # Errors
/// [`StartError::Storage`] and [`StartError::StorageFile`].
pub(super) fn check(file: &EdgeFile, base: &Path) -> Result<(), StartError> {
    let of_trusts = file.trusts.iter().filter_map(|trust| Some(("trust.ca", trust.ca.as_ref()?)));
    let of_oidc = file.oidc.iter().filter_map(|oidc| Some(("oidc.ca", oidc.ca.as_ref()?)));
    for (key, path) in of_trusts.chain(of_oidc) {
        let path = base.join(path);
        let shown = path.display().to_string();
        let pem = std::fs::read(&path);
        let pem = pem.map_err(|source| StartError::StorageFile { key, path: shown.clone(), source })?;
        let bad = |why: String| StartError::Storage { key, reason: format!("{shown}: {why}") };
        tls::certificates(&pem).map_err(bad)?;
    }
    let Some(path) = secret_file(file, base) else { return Ok(()) };
    check_secret_file(&path).map_err(|error| match error {
        BadSecretFile::Unread(source) => StartError::StorageFile { key: KEY, path: path.display().to_string(), source },
        BadSecretFile::Unusable(why) => StartError::Storage { key: KEY, reason: format!("{}: {why}", path.display()) },
    })
}
