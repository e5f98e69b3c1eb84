//! Issued certificate: parsed from PEM, and verified before storing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::schedule::Life;
use devanture_serve::tls::Error;
use devanture_serve::tls::files::{Pair, certified};

/// Certificates by name.
pub(crate) type HeldByName = HashMap<Box<str>, Arc<IssuedCertificate>>;

/// Issued certificate.
#[derive(Debug)]
pub(crate) struct IssuedCertificate {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) life: Life,
    /// Position of the certificate's renewal within its time span.
    pub(crate) spread: u32,
}

impl IssuedCertificate {
    /// Parses a key and chain in PEM, and their single name; errors name `path`.
    pub(crate) fn read(path: &Path, pem: &[u8], provider: &CryptoProvider) -> Result<(String, Self), Error> {
        let bad = |reason: &str| Error::Certificate { path: path.to_owned(), reason: reason.to_owned() };
        let pair = Pair { certificate: path.to_owned(), key: path.to_owned() };
        let (key, names) = certified(&pair, pem, pem, provider)?;
        let mut names = names.into_iter();
        let (Some(name), None) = (names.next(), names.next()) else { return Err(bad("it is not of one name")) };
        let leaf = key.cert.first().ok_or_else(|| bad("it is empty"))?;
        let life = life(leaf).ok_or_else(|| bad("its dates cannot be read"))?;
        let [a, b, c, d, ..] = *blake3::hash(leaf).as_bytes();
        Ok((name, Self { key, life, spread: u32::from_be_bytes([a, b, c, d]) }))
    }

    /// Parses a key and chain in PEM, which must be for `name`; errors name `path`.
    pub(crate) fn read_for(name: &str, path: &Path, pem: &str, provider: &CryptoProvider) -> Result<Self, Error> {
        let (found, held) = Self::read(path, pem.as_bytes(), provider)?;
        if found != name {
            return Err(Error::Certificate { path: path.to_owned(), reason: format!("it is for {found}") });
        }
        Ok(held)
    }

    /// Parses an issued certificate for `name`: the chain must verify for a client that trusts one of its issuers, and
    /// an invalid certificate must not replace a valid certificate of validity `replaced`.
    pub(crate) fn issued(
        name: &str,
        pem: &str,
        replaced: Option<Life>,
        now_ms: u64,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let path = Path::new(name);
        let held = Self::read_for(name, path, pem, provider)?;
        let bad = |reason: String| Error::Certificate { path: path.to_owned(), reason };
        verify(name, &held, provider).map_err(|error| bad(error.to_string()))?;
        if replaced.is_some_and(|replaced| replaced.is_valid(now_ms)) && !held.life.is_valid(now_ms) {
            return Err(bad("it is not valid now, unlike the one that it would replace".to_owned()));
        }
        Ok(held)
    }

    pub(crate) fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.key.cert.first()
    }
}

/// Verifies a chain as a client that trusts all of it except the leaf, at the middle of the leaf's validity, since the
/// machine's clock may be wrong.
fn verify(
    name: &str,
    held: &IssuedCertificate,
    provider: &Arc<CryptoProvider>,
) -> Result<(), Box<dyn std::error::Error>> {
    let Some((leaf, others)) = held.key.cert.split_first() else { return Ok(()) };
    if others.is_empty() {
        // The authority's root signs leaves directly: clients with the root can verify the leaf.
        return Ok(());
    }
    let mut trusted = RootCertStore::empty();
    for other in others {
        trusted.add(other.clone())?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(trusted.into(), Arc::clone(provider)).build()?;
    let time = UnixTime::since_unix_epoch(Duration::from_millis(held.life.middle_ms()));
    let name = ServerName::try_from(name)?;
    verifier.verify_server_cert(leaf, others, &name, &[], time)?;
    Ok(())
}

fn life(leaf: &CertificateDer<'_>) -> Option<Life> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let ms = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).ok()?.checked_mul(1_000);
    let validity = parsed.validity();
    Some(Life { not_before_ms: ms(validity.not_before)?, not_after_ms: ms(validity.not_after)? })
}

/// Self-signed key and certificate for the names.
#[cfg(test)]
pub(crate) fn pem_of(names: &[&str]) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    key.serialize_pem() + &certificate.pem()
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_serve::tls::provider;

    #[test]
    fn a_certificate_of_another_name_or_several_is_not_taken() {
        let read = |pem: &str| IssuedCertificate::read_for("a.example", Path::new("a"), pem, &provider());
        for (names, wrong) in
            [(&["b.example"][..], "it is for b.example"), (&["a.example", "b.example"], "not of one name")]
        {
            let error = read(&pem_of(names)).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        let mixed = pem_of(&["a.example"]).split_once("-----BEGIN CERT").unwrap().0.to_owned()
            + "-----BEGIN CERT"
            + pem_of(&["a.example"]).split_once("-----BEGIN CERT").unwrap().1;
        let error = read(&mixed).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    }

    /// Key and chain by a fresh authority, valid between two days of January 2030.
    fn issued(name: &str, days: (u8, u8)) -> (String, rcgen::Issuer<'static, rcgen::KeyPair>) {
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
        let key = rcgen::KeyPair::generate().unwrap();
        let root = authority.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(authority, key);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (leaf.not_before, leaf.not_after) =
            (rcgen::date_time_ymd(2030, 1, days.0), rcgen::date_time_ymd(2030, 1, days.1));
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        (key.serialize_pem() + &leaf.pem() + &root.pem(), issuer)
    }

    /// Milliseconds of a day of January 2030.
    fn day_ms(day: u64) -> u64 {
        1_893_456_000_000 + (day - 1) * 86_400_000
    }

    #[test]
    fn a_chain_that_no_client_could_verify_is_not_taken() {
        const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
        let (good, _) = issued("a.example", (1, 30));
        let check = |pem: &str| {
            IssuedCertificate::issued("a.example", pem, None, day_ms(15), &provider())
                .map(drop)
                .map_err(|e| e.to_string())
        };
        check(&good).unwrap();
        let (without_root, root) = good.rsplit_once(BEGIN).unwrap();
        check(without_root).unwrap();
        let (other, _) = issued("a.example", (1, 30));
        let (_, others_root) = other.rsplit_once(BEGIN).unwrap();
        let error = check(&format!("{without_root}{BEGIN}{others_root}")).unwrap_err();
        assert!(error.contains("UnknownIssuer") || error.contains("BadSignature"), "{error}");
        let error = check(&format!("{good}{BEGIN}\nMAUCAwECAw==\n-----END CERTIFICATE-----\n")).unwrap_err();
        assert!(error.contains("certificate 3 of its chain"), "{error}");
        let error = check(&(good.clone() + &format!("{BEGIN}{root}").repeat(200))).unwrap_err();
        assert!(error.contains("bytes"), "{error}");
    }

    #[test]
    fn a_certificate_that_is_not_valid_now_replaces_none_that_is() {
        let (pem, _) = issued("a.example", (10, 20));
        let life = |first, last| Life { not_before_ms: day_ms(first), not_after_ms: day_ms(last) };
        for (replaced, day, expected) in [
            (None, 1, true),
            (None, 25, true),
            (Some(life(1, 30)), 15, true),
            (Some(life(1, 30)), 25, false),
            (Some(life(1, 30)), 5, false),
            (Some(life(1, 3)), 25, true),
        ] {
            let taken = IssuedCertificate::issued("a.example", &pem, replaced, day_ms(day), &provider()).is_ok();
            assert_eq!(taken, expected, "{replaced:?} on the {day}th");
        }
    }
}
