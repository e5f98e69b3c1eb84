//! ACME state in the data folder: per directory of an authority a folder, with the account, the books, and
//! one file for each name that holds its key and its chain, so that the two can never be of different orders.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::{Deserialize, Serialize};
use tracing::warn;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::schedule::{Books, Life};
use crate::blobs::durable;
use crate::tls::Error;
use crate::tls::files::{Pair, certified};

const ACCOUNT_FILE: &str = "account.json";
const BOOKS_FILE: &str = "orders.json";
/// The folder of the certificates, in that of the directory.
const CERTIFICATES: &str = "certificates";
const ENDING: &str = ".pem";
/// Everything here is a key, or about the account: nobody but the edge reads it.
const MODE: u32 = 0o600;
/// The longest name that is the name of its file too: with what a temporary file adds, it must fit 255 bytes.
const NAME_BYTES_MAX: usize = 200;

/// A certificate that an authority issued.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) life: Life,
    /// Where in a span of time this certificate's turn is.
    pub(crate) spread: u32,
}

impl Held {
    /// Reads a chain and its key, which must be good for `name`, or for the one name that the certificate has.
    fn read(path: &Path, pem: &[u8], provider: &CryptoProvider) -> Result<(String, Self), Error> {
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

    pub(crate) fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.key.cert.first()
    }
}

/// Verifies a chain as a client would that trusts all of it but the leaf, at the middle of the leaf's validity: this
/// machine's clock may be wrong.
fn verify(name: &str, held: &Held, provider: &Arc<CryptoProvider>) -> Result<(), Box<dyn std::error::Error>> {
    let Some((leaf, others)) = held.key.cert.split_first() else { return Ok(()) };
    if others.is_empty() {
        // An authority whose root signs leaves: a client that has the root can verify it.
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

/// The account at the authority, as it is kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptAccount {
    /// What was last sent to the authority.
    pub(crate) contact: Vec<String>,
    /// The account's address and key, in the form of the library.
    pub(crate) credentials: serde_json::Value,
}

/// The folder of one directory.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    provider: Arc<CryptoProvider>,
}

/// The certificates that are held, by their names.
pub(crate) type HeldByName = HashMap<Box<str>, Arc<Held>>;

impl Store {
    /// Opens the folder of `directory` below `folder`, and reads the certificates in it. One that cannot be read is
    /// reported and left alone: another one will be ordered.
    pub(crate) fn open(
        folder: &Path,
        directory: &str,
        provider: Arc<CryptoProvider>,
    ) -> Result<(Self, HeldByName), Error> {
        let store = Self { folder: folder.join(folder_name(directory)), provider };
        let certificates = store.folder.join(CERTIFICATES);
        durable::make_folder(&certificates)?;
        durable::remove_abandoned(&certificates, |name| name.starts_with('.') && name.ends_with(".tmp"))?;
        let unreadable = |source| Error::Read { path: certificates.clone(), source };
        let mut held = HeldByName::new();
        for entry in std::fs::read_dir(&certificates).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if !path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING)) {
                continue;
            }
            match store.read_certificate(&path) {
                Ok((name, certificate)) if path == store.path_of(&name) => {
                    held.insert(name.into(), Arc::new(certificate));
                }
                Ok((name, _)) => warn!(path = %path.display(), name, "a certificate lies under another name's"),
                Err(error) => warn!(%error, "a certificate that was kept cannot be used"),
            }
        }
        Ok((store, held))
    }

    fn read_certificate(&self, path: &Path) -> Result<(String, Held), Error> {
        let pem = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Held::read(path, &pem, &self.provider)
    }

    /// Checks a chain that an authority issued for `name`: it must verify for a client that trusts one of its issuers,
    /// and must not replace a valid certificate, of validity `replaced`, by an invalid one.
    pub(crate) fn check_issued(&self, name: &str, pem: &str, replaced: Option<Life>, now_ms: u64) -> Result<(), Error> {
        let path = self.path_of(name);
        let held = self.read_for(name, pem)?;
        let verified = verify(name, &held, &self.provider);
        verified.map_err(|error| Error::Certificate { path: path.clone(), reason: error.to_string() })?;
        if replaced.is_some_and(|replaced| replaced.is_valid(now_ms)) && !held.life.is_valid(now_ms) {
            let reason = "it is not valid now, unlike the one that it would replace".to_owned();
            return Err(Error::Certificate { path, reason });
        }
        Ok(())
    }

    /// Checks a key and a chain, as PEM, and keeps them for `name`, in place of those before.
    pub(crate) fn keep_certificate(&self, name: &str, pem: &str) -> Result<Held, Error> {
        let held = self.read_for(name, pem)?;
        durable::write_file(&self.path_of(name), pem.as_bytes(), MODE)?;
        Ok(held)
    }

    /// Reads a key and a chain, as PEM, which must be for `name`.
    fn read_for(&self, name: &str, pem: &str) -> Result<Held, Error> {
        let path = self.path_of(name);
        let (found, held) = Held::read(&path, pem.as_bytes(), &self.provider)?;
        if found != name {
            return Err(Error::Certificate { path, reason: format!("it is for {found}") });
        }
        Ok(held)
    }

    /// Removes what is kept for `name`.
    pub(crate) fn remove_certificate(&self, name: &str) -> Result<(), Error> {
        durable::remove_file(&self.path_of(name))?;
        Ok(())
    }

    /// The account, if there is one.
    pub(crate) fn account(&self) -> Result<Option<KeptAccount>, Error> {
        let path = self.folder.join(ACCOUNT_FILE);
        let Some(text) = read(&path)? else { return Ok(None) };
        let account = serde_json::from_str(&text);
        account.map(Some).map_err(|error| Error::Acme { path, reason: error.to_string() })
    }

    pub(crate) fn keep_account(&self, account: &KeptAccount) -> Result<(), Error> {
        let path = self.folder.join(ACCOUNT_FILE);
        let text = serde_json::to_vec(account)
            .map_err(|error| Error::Acme { path: path.clone(), reason: error.to_string() })?;
        Ok(durable::write_file(&path, &text, MODE)?)
    }

    pub(crate) fn remove_account(&self) -> Result<(), Error> {
        durable::remove_file(&self.folder.join(ACCOUNT_FILE))?;
        Ok(durable::sync_folder(&self.folder)?)
    }

    /// The books; empty ones where there are none, or none that can be read: then a name is tried a little too early.
    pub(crate) fn books(&self) -> Books {
        let path = self.folder.join(BOOKS_FILE);
        let books = match read(&path) {
            Ok(None) => return Books::default(),
            Ok(Some(text)) => serde_json::from_str(&text).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        books.unwrap_or_else(|error| {
            warn!(path = %path.display(), error, "what is known of earlier orders cannot be read");
            Books::default()
        })
    }

    pub(crate) fn keep_books(&self, books: &Books) -> Result<(), Error> {
        let path = self.folder.join(BOOKS_FILE);
        let text =
            serde_json::to_vec(books).map_err(|error| Error::Acme { path: path.clone(), reason: error.to_string() })?;
        Ok(durable::write_file(&path, &text, MODE)?)
    }

    /// A name is that of its file, as far as it fits.
    fn path_of(&self, name: &str) -> PathBuf {
        let file = match name.len() <= NAME_BYTES_MAX {
            true => format!("{name}{ENDING}"),
            false => format!("{}{ENDING}", blake3::hash(name.as_bytes()).to_hex()),
        };
        self.folder.join(CERTIFICATES).join(file)
    }
}

/// A directory's folder: its host, so that a person finds it, and a part of the hash of all of it.
fn folder_name(directory: &str) -> String {
    let rest = directory.strip_prefix("https://").unwrap_or(directory);
    let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).take(64).collect();
    let hash = blake3::hash(directory.as_bytes()).to_hex();
    let short: String = hash.chars().take(8).collect();
    format!("{}-{short}", host.trim_start_matches('.'))
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::tls::provider;

    const DIRECTORY: &str = "https://acme.example.org:14000/dir";

    #[expect(clippy::disallowed_methods, reason = "what somebody else put there")]
    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
    }

    fn pem(names: &[&str]) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        key.serialize_pem() + &certificate.pem()
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart_and_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let (store, held) = Store::open(folder.path(), DIRECTORY, provider()).unwrap();
        assert!(held.is_empty());
        let long = format!("{}.{}.{}.{}.example", "a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60));
        for name in ["a.example", long.as_str()] {
            store.keep_certificate(name, &pem(&[name])).unwrap();
            let mode = std::fs::metadata(store.path_of(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let contact = vec!["mailto:a@example.org".to_owned()];
        store.keep_account(&KeptAccount { contact: contact.clone(), credentials: serde_json::json!({}) }).unwrap();
        store.keep_books(&Books::default()).unwrap();
        write(&store.folder.join(CERTIFICATES).join("broken.pem"), "nothing");
        write(&store.folder.join(CERTIFICATES).join("b.example.pem"), &pem(&["c.example"]));

        let (store, held) = Store::open(folder.path(), DIRECTORY, provider()).unwrap();
        let mut names: Vec<&str> = held.keys().map(AsRef::as_ref).collect();
        names.sort_unstable();
        assert_eq!(names, ["a.example", &long]);
        assert_eq!(store.account().unwrap().unwrap().contact, contact);
        store.remove_certificate("a.example").unwrap();
        store.remove_account().unwrap();
        assert!(store.account().unwrap().is_none());
        let (_, held) = Store::open(folder.path(), DIRECTORY, provider()).unwrap();
        assert_eq!(held.len(), 1);
        let (_, held) = Store::open(folder.path(), "https://acme.example.org/other", provider()).unwrap();
        assert!(held.is_empty(), "one authority's certificates are not another's");
    }

    #[test]
    fn a_certificate_of_another_name_or_several_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(folder.path(), DIRECTORY, provider()).unwrap();
        for (names, wrong) in
            [(&["b.example"][..], "it is for b.example"), (&["a.example", "b.example"], "not of one name")]
        {
            let error = store.keep_certificate("a.example", &pem(names)).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        let mixed = pem(&["a.example"]).split_once("-----BEGIN CERT").unwrap().0.to_owned()
            + "-----BEGIN CERT"
            + pem(&["a.example"]).split_once("-----BEGIN CERT").unwrap().1;
        let error = store.keep_certificate("a.example", &mixed).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
        assert!(!store.path_of("a.example").exists());
    }

    /// A key and its chain by an authority of its own, valid between the two days of 2030.
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
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(folder.path(), DIRECTORY, provider()).unwrap();
        let (good, _) = issued("a.example", (1, 30));
        let check = |pem: &str| store.check_issued("a.example", pem, None, day_ms(15)).map_err(|e| e.to_string());
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
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(folder.path(), DIRECTORY, provider()).unwrap();
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
            let taken = store.check_issued("a.example", &pem, replaced, day_ms(day)).is_ok();
            assert_eq!(taken, expected, "{replaced:?} on the {day}th");
        }
    }

    #[test]
    fn books_that_cannot_be_read_are_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(folder.path(), DIRECTORY, provider()).unwrap();
        write(&store.folder.join(BOOKS_FILE), "{");
        assert_eq!(store.books().failures("a"), 0);
        write(&store.folder.join(ACCOUNT_FILE), "{");
        assert!(store.account().is_err(), "an account is not given up so easily");
    }

    #[test]
    fn a_directory_names_its_folder() {
        let name = folder_name(DIRECTORY);
        assert!(name.starts_with("acme.example.org-") && name.len() == 25, "{name}");
        assert!(!folder_name("https://../x").starts_with('.'));
    }
}
