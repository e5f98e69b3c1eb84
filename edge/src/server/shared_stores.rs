//! The stores shared by nodes, as configured in `edge.toml`: access to etcd and a bucket, with credentials.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use devanture_config::api::Secret;
use devanture_config::edge_toml::{BlobStore, CatalogStore, EdgeFile, Etcd, S3};
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};

use super::error::StartError;
use devanture_control::safekeeping;
use devanture_serve::proxy::tls::{certificates, private_key};
use devanture_store::catalog::EtcdSettings;
use devanture_store::s3::{Bucket, BucketSettings, Waits, own_variables};

/// Maximum size of a password file.
const PASSWORD_BYTES_MAX: usize = 4_096;

/// The certificate files for etcd. Changed files apply to new connections.
pub(super) struct EtcdFiles {
    settings: Etcd,
    base: PathBuf,
    /// The hash of the content of all files.
    bytes: Mutex<blake3::Hash>,
    tls: Arc<ArcSwap<ClientConfig>>,
}

impl EtcdFiles {
    fn open(settings: &Etcd, base: &Path) -> Result<Self, StartError> {
        let (tls, bytes) = tls(settings, base)?;
        let tls = Arc::new(ArcSwap::from_pointee(tls));
        Ok(Self { settings: settings.clone(), base: base.to_owned(), bytes: Mutex::new(bytes), tls })
    }

    /// Returns the paths of the files.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let Etcd { ca, identity, .. } = &self.settings;
        let of_identity = identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        ca.iter().chain(of_identity).map(|file| self.base.join(file)).collect()
    }

    /// Reads the files again; the earlier content stays if the files are unusable.
    ///
    /// # Errors
    /// [`StartError::Storage`].
    pub(super) fn read_again(&self) -> Result<(), StartError> {
        let (tls, read) = tls(&self.settings, &self.base)?;
        let mut bytes = self.bytes.lock();
        if *bytes != read {
            *bytes = read;
            self.tls.store(Arc::new(tls));
            tracing::info!("the certificates for etcd were read again");
        }
        Ok(())
    }
}

/// Returns the settings for etcd, and the certificate files that may change; `None` without TLS.
///
/// # Errors
/// [`StartError::Storage`] if a file cannot be read or is invalid.
pub(super) fn etcd(settings: &Etcd, base: &Path, node: &str) -> Result<(EtcdSettings, Option<EtcdFiles>), StartError> {
    let is_secure = settings.endpoints.iter().any(|url| url.starts_with("https://"));
    let files = is_secure.then(|| EtcdFiles::open(settings, base)).transpose()?;
    let credentials = match &settings.user {
        Some((name, file)) => Some((name.clone(), password(&base.join(file))?)),
        None => None,
    };
    let etcd = EtcdSettings {
        endpoints: settings.endpoints.clone(),
        prefix: settings.prefix.clone(),
        tls: files.as_ref().map(|files| Arc::clone(&files.tls)),
        credentials,
        node: node.to_owned(),
    };
    Ok((etcd, files))
}

fn storage(key: &'static str, reason: String) -> StartError {
    StartError::Storage { key, reason }
}

fn unread(key: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StartError {
    let path = path.display().to_string();
    move |source| StartError::StorageFile { key, path, source }
}

fn password(path: &Path) -> Result<Secret, StartError> {
    const KEY: &str = "catalog.password_file";
    let text = std::fs::read_to_string(path).map_err(unread(KEY, path))?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains('\n') || line.len() > PASSWORD_BYTES_MAX {
        return Err(storage(KEY, format!("{} must hold one line, the password", path.display())));
    }
    Ok(Secret::new(line))
}

/// Returns the TLS configuration for etcd, and the hash of the files' content.
fn tls(settings: &Etcd, base: &Path) -> Result<(ClientConfig, blake3::Hash), StartError> {
    const KEY: &str = "catalog";
    let mut hasher = blake3::Hasher::new();
    let mut read = |file: &Path| {
        let path = base.join(file);
        let bytes = std::fs::read(&path).map_err(unread(KEY, &path))?;
        hasher.update(blake3::hash(&bytes).as_bytes());
        Ok::<_, StartError>(bytes)
    };
    let unusable =
        |file: &Path, reason: String| storage(KEY, format!("{} cannot be used: {reason}", base.join(file).display()));
    let mut roots = RootCertStore::empty();
    match &settings.ca {
        Some(file) => {
            let found = certificates(&read(file)?).map_err(|reason| unusable(file, reason))?;
            roots.add_parsable_certificates(found)
        }
        None => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| storage(KEY, error.to_string()))?.with_root_certificates(roots);
    let config = match &settings.identity {
        Some((certificate, key)) => {
            let chain = certificates(&read(certificate)?).map_err(|reason| unusable(certificate, reason))?;
            let private = private_key(&read(key)?).map_err(|reason| unusable(key, reason))?;
            builder.with_client_auth_cert(chain, private).map_err(|error| unusable(key, error.to_string()))?
        }
        None => builder.with_no_client_auth(),
    };
    Ok((config, hasher.finalize()))
}

/// Returns the bucket, with the credentials of the environment or the machine. Sends no request.
///
/// # Errors
/// [`StartError::Storage`] for invalid settings and variables.
pub(crate) fn bucket(settings: &S3, waits: Waits) -> Result<Bucket, StartError> {
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

/// Checks the settings of the shared stores, without a connection.
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

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;

    use super::*;
    use devanture_base::durable;

    #[test]
    fn changed_certificates_for_etcd_are_taken_up_if_they_are_good() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            durable::write_file(&folder.path().join(name), text.as_bytes(), 0o600).unwrap();
        };
        let made = || generate_simple_self_signed(vec!["edge-1".to_owned()]).unwrap();
        let first = made();
        write("ca.pem", &first.cert.pem());
        write("edge.pem", &first.cert.pem());
        write("edge.key", &first.signing_key.serialize_pem());
        let settings = Etcd {
            endpoints: vec!["https://127.0.0.1:1".to_owned()],
            prefix: String::new(),
            ca: Some("ca.pem".into()),
            identity: Some(("edge.pem".into(), "edge.key".into())),
            user: None,
        };
        let (settings, files) = etcd(&settings, folder.path(), "edge-1").unwrap();
        let (tls, files) = (settings.tls.unwrap(), files.unwrap());
        assert_eq!(files.paths().len(), 3);
        let before = tls.load_full();
        files.read_again().unwrap();
        assert!(Arc::ptr_eq(&before, &tls.load_full()), "nothing has changed");
        let second = made();
        write("edge.pem", &second.cert.pem());
        let error = files.read_again().unwrap_err().to_string();
        assert!(error.contains("edge.key cannot be used"), "{error}");
        assert!(Arc::ptr_eq(&before, &tls.load_full()));
        write("edge.key", &second.signing_key.serialize_pem());
        files.read_again().unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.load_full()));
    }
}
