//! Who may call the API: the credentials, with `[[trust]]` and `[oidc]` of `edge.toml`, and the file of the client's secret
//! where it lies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use devanture_config::edge_toml::EdgeFile;
use tokio::runtime::Runtime;

use super::error::StartError;
use super::handler_parts::HandlerParts;
use crate::access::Credentials;
use crate::access::trust::{BadSecretFile, check_secret_file};
use crate::catalog::Catalog;
use crate::publish::Publisher;

const KEY: &str = "oidc.client_secret_file";

/// The credentials of callers of the API, which handlers look visitors up by; their last uses are noted from now on.
pub(super) fn begin(
    control: &Runtime,
    catalog: Arc<dyn Catalog>,
    publisher: &Publisher,
    (file, base, handler): (&EdgeFile, &Path, HandlerParts),
) -> (Arc<Credentials>, HandlerParts) {
    let credentials = Arc::new(Credentials::new(catalog, publisher.ledger().audit().clone(), &file.limits));
    set(&credentials, file, base);
    let kept = Arc::clone(&credentials);
    control.spawn(async move { kept.keep_last_uses().await });
    let handler = handler.with_visitors(&credentials);
    (credentials, handler)
}

/// The file of the client's secret.
pub(super) fn secret_file(file: &EdgeFile, base: &Path) -> Option<PathBuf> {
    file.oidc.as_ref()?.client_secret_file.as_ref().map(|path| base.join(path))
}

/// Has the credentials follow what a file says.
pub(super) fn set(credentials: &Credentials, file: &EdgeFile, base: &Path) {
    let mut oidc = file.oidc.clone();
    if let Some(oidc) = &mut oidc {
        oidc.client_secret_file = secret_file(file, base);
    }
    credentials.set_trusts(&file.trusts, oidc.as_ref());
}

/// Checks that the secret of the client can be used.
///
/// # Errors
/// [`StartError::Storage`] and [`StartError::StorageFile`].
pub(super) fn check(file: &EdgeFile, base: &Path) -> Result<(), StartError> {
    let Some(path) = secret_file(file, base) else { return Ok(()) };
    check_secret_file(&path).map_err(|error| match error {
        BadSecretFile::Unread(source) => StartError::StorageFile { key: KEY, path: path.display().to_string(), source },
        BadSecretFile::Unusable(why) => StartError::Storage { key: KEY, reason: format!("{}: {why}", path.display()) },
    })
}
