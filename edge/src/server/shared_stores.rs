//! The stores that nodes share, as `edge.toml` names them: how etcd and a bucket are reached, and by which credentials.

use std::path::Path;
use std::sync::Arc;

use devanture_config::api::Secret;
use devanture_config::edge_toml::{BlobStore, CatalogStore, EdgeFile, Etcd, S3};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::StartError;
use crate::blobs::s3::{Bucket, BucketSettings, Waits, own_variables};
use crate::catalog::EtcdSettings;
use crate::safekeeping;

/// Most bytes of a file with a password.
const PASSWORD_BYTES_MAX: usize = 4_096;

/// How etcd is reached.
///
/// # Errors
/// [`StartError::Storage`] where a file cannot be read, or is not what it should be.
pub(super) fn etcd(settings: &Etcd, base: &Path, node: &str) -> Result<EtcdSettings, StartError> {
    let is_secure = settings.endpoints.iter().any(|url| url.starts_with("https://"));
    let tls = is_secure.then(|| tls(settings, base)).transpose().map_err(|reason| storage("catalog", reason))?;
    let credentials = match &settings.user {
        Some((name, file)) => {
            let password = password(&base.join(file)).map_err(|reason| storage("catalog.password_file", reason))?;
            Some((name.clone(), password))
        }
        None => None,
    };
    Ok(EtcdSettings {
        endpoints: settings.endpoints.clone(),
        prefix: settings.prefix.clone(),
        tls,
        credentials,
        node: node.to_owned(),
    })
}

fn storage(key: &'static str, reason: String) -> StartError {
    StartError::Storage { key, reason }
}

fn password(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains('\n') || line.len() > PASSWORD_BYTES_MAX {
        return Err(format!("{shown} must hold one line, the password"));
    }
    Ok(Secret::new(line))
}

fn tls(settings: &Etcd, base: &Path) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match &settings.ca {
        Some(file) => roots.add_parsable_certificates(certificates(&base.join(file))?),
        None => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(roots);
    let config = match &settings.identity {
        Some((certificate, key)) => {
            let (chain, key_path) = (certificates(&base.join(certificate))?, base.join(key));
            let key = PrivateKeyDer::from_pem_file(&key_path);
            let key = key.map_err(|error| format!("{}: {error}", key_path.display()))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("{}: {error}", key_path.display()))?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// The certificates of a PEM file; one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| format!("{shown} is not PEM: {error}"))?;
    if found.is_empty() { Err(format!("{shown} has no `BEGIN CERTIFICATE` section")) } else { Ok(found) }
}

/// The bucket, by the credentials of the environment or the machine. Nothing is sent.
///
/// # Errors
/// [`StartError::Storage`] for settings and variables that make no sense.
pub(super) fn bucket(settings: &S3, waits: Waits) -> Result<Bucket, StartError> {
    let variables = own_variables();
    let trust = safekeeping::trust(&variables).map_err(|error| storage("blobs", error.0.detail.clone()))?;
    let settings = BucketSettings {
        bucket: settings.bucket.clone(),
        region: settings.region.clone(),
        endpoint: settings.endpoint.clone(),
        prefix: settings.prefix.clone(),
    };
    settings.open(&variables, trust, waits).map_err(|error| storage("blobs", error.to_string()))
}

/// Finds what keeps the shared stores from being reached, as far as that is known without them.
pub(super) fn check(file: &EdgeFile, base: &Path) -> Vec<StartError> {
    let catalog = match &file.storage.catalog {
        CatalogStore::Etcd(settings) => etcd(settings, base, &file.node).err(),
        CatalogStore::Embedded => None,
    };
    let blobs = match &file.storage.blobs {
        BlobStore::S3(settings) => bucket(settings, Waits::CLUSTER).err(),
        BlobStore::Folder => None,
    };
    catalog.into_iter().chain(blobs).collect()
}
