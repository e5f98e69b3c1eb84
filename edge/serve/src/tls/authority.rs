//! The local authority of `self-signed` mode: created once in the data folder, and used to issue a certificate for each
//! requested host that the edge serves.

use std::collections::HashMap;
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};
use tracing::{info, warn};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Error, PatternOf};
use devanture_base::durable;

/// The name of the authority in a browser's list.
const AUTHORITY_NAME: &str = "Devanture local authority";
/// Validity of the authority.
const AUTHORITY_VALID: Duration = Duration::days(3_650);
/// Minimum of days left; an authority with fewer days is replaced at a start.
pub const AUTHORITY_DAYS_MIN: i64 = LEAF_DAYS;
const LEAF_DAYS: i64 = 90;
/// Validity of a certificate, from its backdated start: Mozilla's modern profile requires at most 90 days.
const LEAF_VALID: Duration = Duration::days(LEAF_DAYS);
/// Minimum of remaining validity; a certificate with less is issued again.
const LEAF_LEFT_MIN: Duration = Duration::days(30);
/// Backdating of certificates, for clients whose clock is behind.
const BACKDATED: Duration = Duration::days(1);
/// Maximum number of cached certificates; the oldest is evicted.
const LEAVES_MAX: usize = 1_024;
/// The longest name that fits the subject of a certificate (RFC 5280, `ub-common-name`).
const COMMON_NAME_MAX: usize = 64;
/// The names of the edge for clients without SNI, and on the admin listener.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub(super) const CERTIFICATE_FILE: &str = "ca.pem";
pub(super) const KEY_FILE: &str = "ca.key";
/// Mode of the certificate, readable by every user.
pub(super) const CERTIFICATE_MODE: u32 = 0o644;
/// Mode of the key, readable only by the edge.
pub(super) const KEY_MODE: u32 = 0o600;

/// Earliest plausible time, in seconds since 1970 (2025-01-01 UTC): every release is newer, so an earlier clock was
/// never set.
const CLOCK_MIN_S: i64 = 1_735_689_600;

/// The authority, with the issued certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Permitted domains including subdomains, besides the machine's addresses; empty for every name.
    domains: Vec<String>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    provider: Arc<CryptoProvider>,
    /// Held for a lookup or an insertion only, never while a certificate is issued.
    leaves: Mutex<HashMap<String, Leaf>>,
}

#[derive(Clone)]
struct Leaf {
    key: Arc<CertifiedKey>,
    made: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens or creates the authority in `folder`.
    pub(crate) fn open(folder: &Path, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let certificate = read(&folder.join(CERTIFICATE_FILE))?;
        let key = read(&folder.join(KEY_FILE))?;
        let (pem, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            // The key is written first: without the certificate, no client has trusted the key yet.
            (None, _) => make(folder, &[], OffsetDateTime::now_utc())?,
            (Some(_), None) => {
                return Err(Error::Authority {
                    path: folder.join(KEY_FILE),
                    reason: "it is missing, while its certificate is there".to_owned(),
                });
            }
        };
        let authority = Self::parse(folder, &pem, &key, Arc::clone(&provider))?;
        authority.renewed(folder, OffsetDateTime::now_utc())
    }

    /// Returns the authority, or a new authority if the existing one expires or is not valid yet at `now`.
    fn renewed(self, folder: &Path, now: OffsetDateTime) -> Result<Self, Error> {
        let is_valid = self.not_before <= now;
        if is_valid && self.not_after - now > Duration::days(AUTHORITY_DAYS_MIN) {
            return Ok(self);
        }
        // A machine without a clock battery starts in 1970: a replacement of the trusted authority would be wrong a
        // minute later.
        if !is_valid && now.unix_timestamp() < CLOCK_MIN_S {
            let reason = format!("it is valid from {} on, and the clock says {now}: set the clock", self.not_before);
            return Err(Error::Authority { path: folder.join(CERTIFICATE_FILE), reason });
        }
        let why = if is_valid { "expires" } else { "is not valid yet, as if the clock had gone back" };
        warn!("the local authority {why}, and is made again: trust the new {CERTIFICATE_FILE}");
        let (pem, key) = match make(folder, &self.domains, now) {
            Err(error) if is_valid && now < self.not_after => {
                warn!(%error, "the new authority cannot be kept: the one that expires is used on");
                return Ok(self);
            }
            made => made?,
        };
        Self::parse(folder, &pem, &key, self.provider)
    }

    fn parse(folder: &Path, pem: &str, key: &str, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let bad = |file: &str, reason: String| Error::Authority { path: folder.join(file), reason };
        let key = KeyPair::from_pem(key).map_err(|error| bad(KEY_FILE, error.to_string()))?;
        let der = der_of(folder, pem)?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| bad(CERTIFICATE_FILE, error.to_string()))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(bad(KEY_FILE, "it does not belong to the certificate".to_owned()));
        }
        let not_before = parsed.validity().not_before.to_datetime();
        let not_after = parsed.validity().not_after.to_datetime();
        let domains = domains_of(&parsed);
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self { issuer, domains, not_before, not_after, provider, leaves: Mutex::default() })
    }

    /// Returns a cached or new certificate for `name`.
    pub(crate) fn leaf(&self, name: &str) -> Result<Arc<CertifiedKey>, Error> {
        self.named(name, || vec![name.to_owned()])
    }

    /// Returns the certificate of the edge itself.
    pub(crate) fn own_leaf(&self) -> Result<Arc<CertifiedKey>, Error> {
        // No host has an empty name, so that no visitor can request the entry.
        self.named("", || OWN_NAMES.map(str::to_owned).to_vec())
    }

    fn named(&self, entry: &str, names: impl FnOnce() -> Vec<String>) -> Result<Arc<CertifiedKey>, Error> {
        let now = OffsetDateTime::now_utc();
        {
            let leaves = self.leaves.lock();
            if let Some(leaf) = leaves.get(entry)
                && leaf.not_after - now > LEAF_LEFT_MIN
                // The clock may have gone forward and back since.
                && leaf.made - now < BACKDATED
            {
                return Ok(Arc::clone(&leaf.key));
            }
        }
        // Two threads may issue a certificate for the same name at once: the work is small and either certificate is
        // good.
        let leaf = self.make(names(), now)?;
        let key = Arc::clone(&leaf.key);
        let mut leaves = self.leaves.lock();
        if leaves.len() >= LEAVES_MAX && !leaves.contains_key(entry) {
            let oldest = leaves.iter().min_by_key(|(_, leaf)| leaf.made).map(|(name, _)| name.clone());
            oldest.and_then(|name| leaves.remove(&name));
        }
        leaves.insert(entry.to_owned(), leaf);
        Ok(key)
    }

    fn make(&self, names: Vec<String>, now: OffsetDateTime) -> Result<Leaf, Error> {
        let subject = names.first().filter(|name| name.len() <= COMMON_NAME_MAX).cloned();
        let not_after = (now - BACKDATED + LEAF_VALID).min(self.not_after);
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(subject) = subject {
            params.distinguished_name.push(DnType::CommonName, subject);
        }
        params.not_before = now - BACKDATED;
        params.not_after = not_after;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // A client that trusts the authority has its certificate: only the leaf is sent.
        let certified = CertifiedKey::from_der(vec![certificate.into()], key, &self.provider)?;
        Ok(Leaf { key: Arc::new(certified), made: now, not_after })
    }
}

/// Restricts the authority in `folder`, created if missing, to `domains`, their subdomains and the machine's addresses.
/// An authority with another scope is replaced: a person who trusts the old certificate would otherwise trust every
/// name.
pub(super) fn confine(folder: &Path, domains: &[String]) -> Result<(), Error> {
    let path = folder.join(CERTIFICATE_FILE);
    if let Some(pem) = read(&path)? {
        let der = der_of(folder, &pem)?;
        let parsed = X509Certificate::from_der(&der);
        let (_, parsed) = parsed.map_err(|error| Error::Authority { path, reason: error.to_string() })?;
        if domains_of(&parsed) == domains {
            return Ok(());
        }
        warn!("the local authority is for other names, and is made again: trust the new {CERTIFICATE_FILE}");
    }
    make(folder, domains, OffsetDateTime::now_utc()).map(drop)
}

/// Decodes the certificate in `pem`, read from `folder`.
fn der_of(folder: &Path, pem: &str) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| Error::Authority {
        path: folder.join(CERTIFICATE_FILE),
        reason: format!("it is not PEM ({error})"),
    })
}

/// Returns the permitted domains of an authority's certificate.
fn domains_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let constraints = certificate.name_constraints().ok().flatten();
    let permitted = constraints.and_then(|constraints| constraints.value.permitted_subtrees.as_ref());
    let domain = |base: &GeneralName<'_>| match base {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    permitted.into_iter().flatten().filter_map(|subtree| domain(&subtree.base)).collect()
}

/// Returns the name constraints of an authority's certificate (RFC 5280 §4.2.1.10).
fn constraints(domains: &[String]) -> NameConstraints {
    let own = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    let own = own.map(|address| CidrSubnet::from_addr_prefix(address, if address.is_ipv4() { 32 } else { 128 }));
    let domains = domains.iter().cloned().map(GeneralSubtree::DnsName);
    let permitted_subtrees = domains.chain(own.map(GeneralSubtree::IpAddress)).collect();
    NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() }
}

/// Creates an authority at `now`, restricted to `domains` unless empty, and stores the authority in `folder`; returns
/// the certificate and the key in PEM.
fn make(folder: &Path, domains: &[String], now: OffsetDateTime) -> Result<(String, String), Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Devanture");
    params.distinguished_name.push(DnType::CommonName, AUTHORITY_NAME);
    params.not_before = now - BACKDATED;
    params.not_after = now - BACKDATED + AUTHORITY_VALID;
    // The authority signs server certificates, and no further authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = (!domains.is_empty()).then(|| constraints(domains));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let (pem, key) = (certificate.pem(), key.serialize_pem());
    durable::make_folder(folder)?;
    durable::write_file(&folder.join(KEY_FILE), key.as_bytes(), KEY_MODE)?;
    durable::write_file(&folder.join(CERTIFICATE_FILE), pem.as_bytes(), CERTIFICATE_MODE)?;
    info!(certificate = %folder.join(CERTIFICATE_FILE).display(), "a local authority was made");
    Ok((pem, key))
}

/// Returns the certificate of the authority in `folder`, in PEM.
pub(super) fn certificate(folder: &Path) -> Result<String, Error> {
    let path = folder.join(CERTIFICATE_FILE);
    read(&path)?.ok_or(Error::NoAuthority { path })
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_path_buf(), source }),
    }
}

/// Resolver of certificates for visitors: a leaf for a name that the edge serves.
pub(crate) struct ForVisitors {
    pub(crate) authority: Arc<Authority>,
    pub(crate) serves: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Getter of the wildcard that stands for a name.
    pub(crate) pattern_of: PatternOf,
}

impl fmt::Debug for ForVisitors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ForVisitors").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for ForVisitors {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let made = match hello.server_name() {
            None => self.authority.own_leaf(),
            Some(name) if (self.serves)(name) => {
                // Visitors may invent names below a wildcard: all such names share one leaf, and evict no other leaf.
                // Clients reject a wildcard below a single label.
                let pattern = (self.pattern_of)(name).filter(|pattern| pattern.split('.').count() > 2);
                self.authority.leaf(pattern.as_deref().unwrap_or(name))
            }
            Some(_) => return None,
        };
        made.inspect_err(|error| warn!(%error, "no certificate for a visitor")).ok()
    }
}

/// Resolver of certificates on the admin listener: one leaf for every name.
#[derive(Debug)]
pub(crate) struct ForAdmin(pub(crate) Arc<Authority>);

impl ResolvesServerCert for ForAdmin {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.own_leaf().inspect_err(|error| warn!(%error, "no certificate for the admin listener")).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls_pki_types::{ServerName, UnixTime};

    use super::*;
    use crate::tls::provider;

    fn names(leaf: &CertifiedKey) -> Vec<String> {
        let (_, parsed) = X509Certificate::from_der(&leaf.cert[0]).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        let text = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress(bytes) => format!("{bytes:?}"),
            other => panic!("{other:?}"),
        };
        names.value.general_names.iter().map(text).collect()
    }

    #[test]
    fn the_authority_is_made_once_and_its_key_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("data/tls");
        let first = Authority::open(&folder, provider()).unwrap();
        let made = std::fs::read(folder.join(CERTIFICATE_FILE)).unwrap();
        let mode = |file: &str| std::fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(KEY_FILE), mode(CERTIFICATE_FILE)), (0o600, 0o644));
        let again = Authority::open(&folder, provider()).unwrap();
        assert_eq!(std::fs::read(folder.join(CERTIFICATE_FILE)).unwrap(), made);
        assert_eq!(first.not_after, again.not_after);

        let (_, pem) = x509_parser::pem::parse_x509_pem(&made).unwrap();
        let parsed = pem.parse_x509().unwrap();
        let constraints = parsed.basic_constraints().unwrap().unwrap().value;
        assert_eq!((constraints.ca, constraints.path_len_constraint), (true, Some(0)));
        assert!(parsed.key_usage().unwrap().unwrap().value.key_cert_sign());
        assert!(parsed.subject().to_string().contains(AUTHORITY_NAME));
        for leaf in [first.leaf("a.localhost").unwrap(), again.own_leaf().unwrap()] {
            let (_, leaf) = X509Certificate::from_der(&leaf.cert[0]).unwrap();
            leaf.verify_signature(Some(parsed.public_key())).unwrap();
            assert!(leaf.validity().is_valid());
            let days = (leaf.validity().not_after - leaf.validity().not_before).unwrap().whole_days();
            assert!((89..=90).contains(&days), "{days}");
        }
    }

    #[test]
    fn an_authority_that_is_half_gone_says_so_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        drop(Authority::open(folder.path(), provider()).unwrap());
        let (certificate, key) = (folder.path().join(CERTIFICATE_FILE), folder.path().join(KEY_FILE));
        let other = tempfile::tempdir().unwrap();
        drop(Authority::open(other.path(), provider()).unwrap());
        std::fs::copy(other.path().join(KEY_FILE), &key).unwrap();
        let error = Authority::open(folder.path(), provider()).unwrap_err().to_string();
        assert!(error.contains("does not belong to the certificate"), "{error}");
        std::fs::remove_file(&key).unwrap();
        let error = Authority::open(folder.path(), provider()).unwrap_err().to_string();
        assert!(error.contains("it is missing"), "{error}");
        // A missing certificate cannot have been trusted: for example, after a crash between the two files.
        std::fs::copy(other.path().join(KEY_FILE), &key).unwrap();
        std::fs::remove_file(&certificate).unwrap();
        drop(Authority::open(folder.path(), provider()).unwrap());
    }

    #[test]
    fn an_authority_of_the_future_is_made_again_and_an_unset_clock_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::now_utc();
        make(folder.path(), &[], now + Duration::days(400)).unwrap();
        let made = std::fs::read(folder.path().join(CERTIFICATE_FILE)).unwrap();
        let parsed = || {
            let (pem, key) = (read(&folder.path().join(CERTIFICATE_FILE)), read(&folder.path().join(KEY_FILE)));
            Authority::parse(folder.path(), &pem.unwrap().unwrap(), &key.unwrap().unwrap(), provider()).unwrap()
        };
        let error = parsed().renewed(folder.path(), OffsetDateTime::UNIX_EPOCH).unwrap_err().to_string();
        assert!(error.contains("set the clock"), "{error}");
        assert_eq!(std::fs::read(folder.path().join(CERTIFICATE_FILE)).unwrap(), made);

        let authority = Authority::open(folder.path(), provider()).unwrap();
        assert!(authority.not_before <= now && parsed().not_before <= now);
        let kept = std::fs::read(folder.path().join(CERTIFICATE_FILE)).unwrap();
        assert_ne!(kept, made);
        drop(Authority::open(folder.path(), provider()).unwrap());
        assert_eq!(std::fs::read(folder.path().join(CERTIFICATE_FILE)).unwrap(), kept);
    }

    #[test]
    fn a_confined_authority_is_believed_for_its_own_names_alone() {
        let folder = tempfile::tempdir().unwrap();
        let domains = ["localhost".to_owned()];
        // An unrestricted authority that a person trusts already is replaced.
        make(folder.path(), &[], OffsetDateTime::now_utc()).unwrap();
        let certificate = || std::fs::read(folder.path().join(CERTIFICATE_FILE)).unwrap();
        let before = certificate();
        confine(folder.path(), &domains).unwrap();
        let confined = certificate();
        assert_ne!(confined, before);
        confine(folder.path(), &domains).unwrap();
        let authority = Authority::open(folder.path(), provider()).unwrap();
        assert_eq!((certificate(), authority.domains.as_slice()), (confined.clone(), domains.as_slice()));

        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&confined).unwrap()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
        let is_believed = |leaf: &CertifiedKey, name: &str| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(&leaf.cert[0], &[], &name, &[], UnixTime::now()).is_ok()
        };
        for name in OWN_NAMES {
            assert!(is_believed(&authority.own_leaf().unwrap(), name), "{name}");
        }
        for (name, expected) in [
            ("shop.localhost", true),
            ("feature--shop.localhost", true),
            ("example.org", false),
            ("localhost.example.org", false),
            ("notlocalhost", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(is_believed(&authority.leaf(name).unwrap(), name), expected, "{name}");
        }
    }

    #[test]
    fn an_authority_that_is_made_again_stays_confined() {
        let folder = tempfile::tempdir().unwrap();
        let domains = ["localhost".to_owned()];
        make(folder.path(), &domains, OffsetDateTime::now_utc() + Duration::days(400)).unwrap();
        assert_eq!(Authority::open(folder.path(), provider()).unwrap().domains, domains);
    }

    #[test]
    fn a_leaf_names_its_host_and_is_kept_while_it_is_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), provider()).unwrap();
        let leaf = authority.leaf("shop.localhost").unwrap();
        assert_eq!(names(&leaf), ["shop.localhost"]);
        assert!(Arc::ptr_eq(&leaf, &authority.leaf("shop.localhost").unwrap()));
        let own = names(&authority.own_leaf().unwrap());
        assert_eq!(own, ["localhost", "[127, 0, 0, 1]", "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]"]);
        let long = format!("{}.{}.localhost", "a".repeat(60), "b".repeat(60));
        assert_eq!(names(&authority.leaf(&long).unwrap()), [long]);

        let soon = OffsetDateTime::now_utc() + LEAF_LEFT_MIN - Duration::SECOND;
        authority.leaves.lock().get_mut("shop.localhost").unwrap().not_after = soon;
        let renewed = authority.leaf("shop.localhost").unwrap();
        assert!(!Arc::ptr_eq(&leaf, &renewed));
        assert!(Arc::ptr_eq(&renewed, &authority.leaf("shop.localhost").unwrap()));

        // The authority of a clock that was ahead is not valid yet.
        let ahead = OffsetDateTime::now_utc() + BACKDATED + Duration::HOUR;
        authority.leaves.lock().get_mut("shop.localhost").unwrap().made = ahead;
        assert!(!Arc::ptr_eq(&renewed, &authority.leaf("shop.localhost").unwrap()));
    }

    #[test]
    fn the_oldest_leaf_goes_when_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), provider()).unwrap();
        for index in 0..=LEAVES_MAX {
            authority.leaf(&format!("app-{index}.localhost")).unwrap();
        }
        let leaves = authority.leaves.lock();
        assert_eq!(leaves.len(), LEAVES_MAX);
        assert!(!leaves.contains_key("app-0.localhost") && leaves.contains_key("app-1.localhost"));
    }
}
