//! Certificates from PEM files, selected by the requested name, and read again after a change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use devanture_config::text::date_time;
use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use tracing::{info, warn};
use x509_parser::certificate::Validity;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use super::Error;
use super::file_watch::Changes;
use crate::proxy::tls::{certificates, private_key};

/// Maximum size of a chain. Clients accept messages of at most 64 KiB (rustls, Go) or 100 KB (OpenSSL, browsers), and
/// every full handshake sends the whole chain.
const CHAIN_BYTES_MAX: usize = 60 * 1024;

/// A pair of files, with paths that can be opened.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The file of the chain, in PEM.
    pub certificate: PathBuf,
    /// The file of the key, in PEM.
    pub key: PathBuf,
}

/// The certificates of a list of files.
#[derive(Debug)]
pub(crate) struct Files {
    pairs: Vec<Pair>,
    provider: Arc<CryptoProvider>,
    loaded: ArcSwap<Loaded>,
    changes: Changes,
}

#[derive(Debug)]
struct Loaded {
    /// The hash of the content of all files.
    bytes: blake3::Hash,
    first: Arc<CertifiedKey>,
    /// The certificates of each name, in the order of the files; a wildcard is listed under its parent, in `wildcards`.
    names: HashMap<String, Vec<Arc<CertifiedKey>>>,
    wildcards: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// The expiry of each certificate, in seconds since 1970 UTC, with the first name.
    ends: Vec<(String, i64)>,
    /// Sentences about certificates that clients refuse now.
    outdated: Vec<String>,
}

impl Files {
    pub(crate) fn open(pairs: Vec<Pair>, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let paths = pairs.iter().flat_map(|pair| [pair.certificate.clone(), pair.key.clone()]);
        let changes = Changes::new(paths.collect());
        let loaded = ArcSwap::from_pointee(Loaded::read(&pairs, &provider)?);
        Ok(Self { pairs, provider, loaded, changes })
    }

    /// Returns sentences about certificates that clients refuse now.
    pub(crate) fn outdated(&self) -> Vec<String> {
        self.loaded.load().outdated.clone()
    }

    /// Logs certificates that clients refuse.
    pub(crate) fn report(&self) {
        self.loaded.load().outdated.iter().for_each(|sentence| warn!("{sentence}"));
    }

    /// Returns the expiry of each certificate, in seconds since 1970 UTC, with the first name.
    pub(crate) fn ends(&self) -> Vec<(String, i64)> {
        self.loaded.load().ends.clone()
    }

    /// Reads all files again; the served certificates change only if all files are valid, and then at once.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        self.changes.reload(|| self.read())
    }

    /// Reads the files again if the files may have changed, or the last read failed. To be called periodically.
    pub(crate) fn look(&self) {
        if let Err(error) = self.changes.look(|| self.read()) {
            warn!(%error, "changed certificates cannot be used; the earlier ones stay until they can");
        }
    }

    fn read(&self) -> Result<(), Error> {
        let loaded = Loaded::read(&self.pairs, &self.provider)?;
        if loaded.bytes != self.loaded.load().bytes {
            self.loaded.store(Arc::new(loaded));
            info!("certificates were read again");
            self.report();
        }
        Ok(())
    }

    /// Returns true if the certificates for `sni` are valid for `host` too. All certificates of a name count, so that
    /// the certificate chosen for an old client does not matter.
    pub(crate) fn covers(&self, sni: &str, host: &str) -> bool {
        let loaded = self.loaded.load();
        let exact = loaded.names.get(host).into_iter();
        let parent = host.split_once('.').and_then(|(_, parent)| loaded.wildcards.get(parent));
        let mut good = exact.chain(parent).flatten();
        let first = [Arc::clone(&loaded.first)];
        let shown = loaded.fitting(sni).map_or(first.as_slice(), Vec::as_slice);
        good.any(|good| shown.iter().any(|shown| Arc::ptr_eq(shown, good)))
    }

    /// Returns the earliest expiry, in milliseconds since 1970 UTC, of the certificates for a host, or for a wildcard
    /// such as `*.example.org`.
    pub(crate) fn expires_ms(&self, host: &str) -> Option<u64> {
        let loaded = self.loaded.load();
        let fitting = match host.strip_prefix("*.") {
            Some(parent) => loaded.wildcards.get(parent),
            None => loaded.fitting(host),
        };
        let end_s = |key: &Arc<CertifiedKey>| {
            let (_, leaf) = X509Certificate::from_der(key.cert.first()?).ok()?;
            Some(leaf.validity().not_after.timestamp())
        };
        let first = fitting?.iter().filter_map(end_s).min()?;
        Some(u64::try_from(first).unwrap_or(0).saturating_mul(1_000))
    }

    /// Returns true if one of the certificates has a name or a wildcard for a host.
    pub(crate) fn fits(&self, name: &str) -> bool {
        self.loaded.load().fitting(name).is_some()
    }

    fn choose(&self, name: Option<&str>, hello: &ClientHello<'_>) -> Arc<CertifiedKey> {
        let loaded = self.loaded.load();
        let fitting = name.and_then(|name| loaded.fitting(name));
        // Of an ECDSA and an RSA certificate for one name, an old client may only support the second.
        let understood = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let chosen = fitting.and_then(|keys| keys.iter().find(understood).or_else(|| keys.first()));
        Arc::clone(chosen.unwrap_or(&loaded.first))
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name(), &hello))
    }
}

impl Loaded {
    /// Returns the certificates for a host; certificates of the exact name precede certificates of a wildcard.
    fn fitting(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcards.get(parent));
        self.names.get(name).or_else(parent)
    }

    fn read(pairs: &[Pair], provider: &CryptoProvider) -> Result<Self, Error> {
        let mut hasher = blake3::Hasher::new();
        let (mut names, mut wildcards): (HashMap<_, Vec<_>>, HashMap<_, Vec<_>>) = Default::default();
        let (mut first, mut ends, mut outdated) = (None, Vec::new(), Vec::new());
        for pair in pairs {
            let (certificate, key) = (read(&pair.certificate)?, read(&pair.key)?);
            for bytes in [&certificate, &key] {
                hasher.update(blake3::hash(bytes).as_bytes());
            }
            let (certified, found) = certified(pair, &certificate, &key, provider)?;
            if let Some((_, leaf)) = certified.cert.first().and_then(|leaf| X509Certificate::from_der(leaf).ok()) {
                let name = found.first().cloned().unwrap_or_else(|| pair.certificate.display().to_string());
                ends.push((name, leaf.validity().not_after.timestamp()));
                outdated.extend(outdated_sentence(&pair.certificate, leaf.validity()));
            }
            for name in found {
                match name.strip_prefix("*.") {
                    Some(parent) => wildcards.entry(parent.to_owned()).or_default().push(Arc::clone(&certified)),
                    None => names.entry(name).or_default().push(Arc::clone(&certified)),
                }
            }
            first.get_or_insert(certified);
        }
        let first = first.ok_or_else(|| rustls::Error::General("no certificate is named".to_owned()))?;
        Ok(Self { bytes: hasher.finalize(), first, names, wildcards, ends, outdated })
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })
}

/// A certificate of a file, without the key.
#[derive(Debug)]
pub struct FileCertificate {
    /// The DNS names, in lower case.
    pub names: Vec<String>,
    /// The expiry, in seconds since 1970 UTC.
    pub end_s: i64,
}

/// Reads the certificates in the PEM file `path`, in order.
///
/// # Errors
/// [`Error::Read`] and [`Error::Certificate`].
pub fn certificates_in(path: &Path) -> Result<Vec<FileCertificate>, Error> {
    let bad = |reason: String| Error::Certificate { path: path.to_path_buf(), reason };
    let mut found = Vec::new();
    for certificate in certificates(&read(path)?).map_err(bad)? {
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| bad(error.to_string()))?;
        let end_s = parsed.validity().not_after.timestamp();
        found.push(FileCertificate { names: names(&certificate).map_err(bad)?, end_s });
    }
    Ok(found)
}

/// Reads the certificate and the key of `pair`, checks that both match, and returns the names of the certificate.
///
/// # Errors
/// [`Error::Certificate`], [`Error::Key`] and [`Error::Mismatch`], which name the files of `pair`.
pub fn certified(
    pair: &Pair,
    certificate: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<(Arc<CertifiedKey>, Vec<String>), Error> {
    let bad_certificate = |reason: String| Error::Certificate { path: pair.certificate.clone(), reason };
    let bad_key = |reason: String| Error::Key { path: pair.key.clone(), reason };
    let chain = certificates(certificate).map_err(bad_certificate)?;
    let names = chain.first().map_or_else(|| Ok(Vec::new()), names).map_err(bad_certificate)?;
    let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
    if bytes > CHAIN_BYTES_MAX {
        return Err(bad_certificate(format!(
            "its chain has {bytes} bytes, and clients take no more than {CHAIN_BYTES_MAX}; leave out the root and other certificates that clients have"
        )));
    }
    // Clients refuse a chain with any unparsable certificate, even an unneeded one.
    for (index, certificate) in chain.iter().enumerate().skip(1) {
        if let Err(error) = X509Certificate::from_der(certificate) {
            return Err(bad_certificate(format!("certificate {} of its chain cannot be parsed ({error})", index + 1)));
        }
    }
    let key = private_key(key).map_err(bad_key)?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| bad_key(error.to_string()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok((Arc::new(certified), names)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(Error::Mismatch { certificate: pair.certificate.clone(), key: pair.key.clone() })
        }
        Err(error) => Err(bad_certificate(error.to_string())),
    }
}

/// Returns the reason why clients refuse the certificate in the file `path` now; `None` if valid.
fn outdated_sentence(path: &Path, validity: &Validity) -> Option<String> {
    if validity.is_valid() {
        return None;
    }
    let date = |time: ASN1Time| date_time(u64::try_from(time.timestamp()).unwrap_or_default().saturating_mul(1_000));
    let path = path.display();
    Some(match ASN1Time::now() > validity.not_after {
        true => format!("the certificate in {path} expired on {}, and clients refuse it", date(validity.not_after)),
        false => format!("the certificate in {path} is not valid before {}", date(validity.not_before)),
    })
}

/// Returns the DNS names of a certificate, in lower case.
fn names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, String> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| format!("it cannot be parsed ({error})"))?;
    let names = parsed.subject_alternative_name().map_err(|error| format!("its names cannot be parsed ({error})"))?;
    let names = names.iter().flat_map(|names| names.value.general_names.iter());
    Ok(names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]
mod tests {
    use super::*;
    use crate::tls::provider;

    #[test]
    fn the_first_end_of_the_certificates_for_a_name_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let pair = |name: &str, names: &[&str], year: i32| {
            let key = rcgen::KeyPair::generate().unwrap();
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = rcgen::CertificateParams::new(names).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let (certificate, path) = (folder.path().join(format!("{name}.pem")), folder.path().join(name));
            std::fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
            std::fs::write(&path, key.serialize_pem()).unwrap();
            Pair { certificate, key: path }
        };
        let pairs = vec![
            pair("a", &["www.example.org", "*.example.org"], 2050),
            pair("b", &["www.example.org"], 2040),
            pair("c", &["example.net"], 2045),
        ];
        let files = Files::open(pairs, provider()).unwrap();
        // Years differ by at most one day, and an expiry is at the very beginning of its year.
        let year_of = |ms: u64| 1_970 + (ms + 86_400_000) / 31_556_952_000;
        for (host, expected) in [
            ("www.example.org", Some(2040)),
            ("a.example.org", Some(2050)),
            ("*.example.org", Some(2050)),
            ("example.net", Some(2045)),
            ("*.example.net", None),
            ("example.org", None),
            ("b.a.example.org", None),
        ] {
            assert_eq!(files.expires_ms(host).map(year_of), expected, "{host}");
        }
    }
}
