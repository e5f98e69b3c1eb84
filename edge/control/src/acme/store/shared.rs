//! ACME state of a cluster in its catalog: written only by the ordering node, with keys and credentials encrypted by
//! the shared secret keys.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::sleep;
use tracing::warn;

use super::{KeptAccount, Proof, Store};
use crate::acme::held::IssuedCertificate;
use crate::acme::schedule::Books;
use crate::ledger::{AcmeRecords, Duty, PROOFS};
use crate::settings::{KeyFile, UnsealError};
use devanture_base::clock;
use devanture_serve::tls::Error;
use devanture_store::catalog;
use devanture_store::records::settings::Sealed;

/// Account.
const ACCOUNT: &str = "account";
/// History of orders, except data of single names …
const ORDERS: &str = "orders";
/// … stored in a record per name, so that no record grows with their number.
const ORDERS_OF_NAMES: &str = "orders/";
/// Member with the data of single names in the one-piece form of the history.
const NAMES: &str = "names";
/// Prefix of records with key and chain of a name.
pub(crate) const CERTIFICATES: &str = "certificates/";
/// Pause before another attempt to write, without a reachable etcd or during a pause of changes.
const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// `acme/{authority}/account`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct AccountRecord {
    contact: Vec<String>,
    /// Address and key of the account.
    credentials: Sealed,
}

/// `acme/{authority}/certificates/{name}`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CertificateRecord {
    /// Key and chain in PEM.
    pem: Sealed,
    /// Time of the issue, in milliseconds since 1970 UTC.
    issued_ms: u64,
}

/// Reason for an unusable certificate in the catalog.
pub(crate) enum Unread {
    /// Not decryptable with the node's keys, but possibly with another node's.
    Locked,
    /// Damaged or invalid.
    Bad(Error),
}

/// Records of an authority, with their encryption keys.
#[derive(Clone)]
pub(crate) struct SharedRecords {
    pub(crate) records: AcmeRecords,
    pub(crate) keys: Arc<KeyFile>,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl SharedRecords {
    /// Returns the certificate of `name` in a record's value.
    pub(crate) fn certificate(&self, name: &str, value: &[u8]) -> Result<IssuedCertificate, Unread> {
        let key = format!("{CERTIFICATES}{name}");
        let path = PathBuf::from(self.records.full_key(&key));
        let bad = |reason: String| Unread::Bad(Error::Certificate { path: path.clone(), reason });
        let record: CertificateRecord = serde_json::from_slice(value).map_err(|error| bad(error.to_string()))?;
        let keys = self.keys.read().map_err(|_error| Unread::Locked)?;
        match keys.open(&self.context(&key), &record.pem) {
            Ok(pem) => IssuedCertificate::read_for(name, &path, &pem, &self.provider).map_err(Unread::Bad),
            Err(UnsealError::UnknownKey) => Err(Unread::Locked),
            Err(UnsealError::Damaged) => Err(bad("it was not sealed like this".to_owned())),
        }
    }

    /// Returns the locally known proof for `name`.
    pub(crate) async fn proof(&self, name: &str) -> Result<Option<Proof>, Error> {
        Ok(self.records.get(&format!("{PROOFS}{name}")).await?)
    }

    fn seal(&self, key: &str, text: &str) -> Result<Sealed, Error> {
        let locked = |error: crate::ledger::Error| Error::Secrets(error.to_string());
        self.keys.read_or_make().and_then(|keys| keys.seal(&self.context(key), text)).map_err(locked)
    }

    /// Returns the context of an encrypted value, which is not decryptable in another record.
    fn context(&self, key: &str) -> String {
        format!("devanture-acme/1\n{}", self.records.full_key(key))
    }
}

/// Store of the node with the ordering duty.
pub(crate) struct SharedStore {
    shared: SharedRecords,
    duty: Duty,
    /// History of orders by record, as last written.
    written: Mutex<BTreeMap<String, Value>>,
    /// Names with a presented proof.
    shown: Mutex<HashSet<String>>,
}

impl SharedStore {
    pub(crate) fn new(shared: SharedRecords, duty: Duty) -> Self {
        Self { shared, duty, written: Mutex::default(), shown: Mutex::default() }
    }

    async fn write<T: Serialize>(&self, key: String, value: Option<T>) -> Result<(), Error> {
        Ok(self.shared.records.write(&self.duty, &[(key, value)]).await?)
    }

    /// Reads the history from its records.
    async fn read_books(&self) -> Result<Books, Error> {
        let mut books: serde_json::Map<String, Value> = self.shared.records.get(ORDERS).await?.unwrap_or_default();
        let mut written: BTreeMap<String, Value> = BTreeMap::new();
        let mut names = serde_json::Map::new();
        if !books.is_empty() {
            written.insert(ORDERS.to_owned(), Value::Object(books.clone()));
        }
        for (name, record) in self.shared.records.list(ORDERS_OF_NAMES).await? {
            match serde_json::from_slice::<Value>(&record.value) {
                Ok(note) => {
                    written.insert(format!("{ORDERS_OF_NAMES}{name}"), note.clone());
                    names.insert(name, note);
                }
                Err(error) => warn!(name, %error, "what is known of earlier orders of a name cannot be read"),
            }
        }
        *self.written.lock() = written;
        let is_new = books.is_empty() && names.is_empty();
        books.insert(NAMES.to_owned(), Value::Object(names));
        if is_new {
            return Ok(Books::default());
        }
        let unread = |error: serde_json::Error| Error::Acme { path: self.path(ORDERS), reason: error.to_string() };
        serde_json::from_value(Value::Object(books)).map_err(unread)
    }

    fn path(&self, key: &str) -> PathBuf {
        Path::new(&self.shared.records.full_key(key)).to_owned()
    }
}

fn is_paused(error: &Error) -> bool {
    matches!(error, Error::Catalog(catalog::Error::Paused))
}

/// Splits the history into its records.
fn parts(books: &Books) -> Result<BTreeMap<String, Value>, serde_json::Error> {
    let mut whole = serde_json::to_value(books)?;
    let names = whole.as_object_mut().and_then(|whole| whole.remove(NAMES));
    let mut parts = BTreeMap::from([(ORDERS.to_owned(), whole)]);
    if let Some(Value::Object(names)) = names {
        parts.extend(names.into_iter().map(|(name, note)| (format!("{ORDERS_OF_NAMES}{name}"), note)));
    }
    Ok(parts)
}

#[async_trait]
impl Store for SharedStore {
    async fn account(&self) -> Result<Option<KeptAccount>, Error> {
        let Some(record) = self.shared.records.get::<AccountRecord>(ACCOUNT).await? else { return Ok(None) };
        let bad = |reason: String| Error::Acme { path: self.path(ACCOUNT), reason };
        let keys = self.shared.keys.read().map_err(|error| Error::Secrets(error.to_string()))?;
        match keys.open(&self.shared.context(ACCOUNT), &record.credentials) {
            Ok(text) => {
                let credentials = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
                Ok(Some(KeptAccount { contact: record.contact, credentials }))
            }
            Err(UnsealError::UnknownKey) => {
                warn!("the key of the account at the authority is not at hand: another account will be made");
                Ok(None)
            }
            Err(UnsealError::Damaged) => Err(bad("it was not sealed like this".to_owned())),
        }
    }

    async fn keep_account(&self, account: &KeptAccount) -> Result<(), Error> {
        let credentials = self.shared.seal(ACCOUNT, &account.credentials.to_string())?;
        let record = AccountRecord { contact: account.contact.clone(), credentials };
        // The authority has already created the account.
        loop {
            match self.write(ACCOUNT.to_owned(), Some(&record)).await {
                Err(error) if is_paused(&error) => sleep(WRITE_PAUSE).await,
                written => return written,
            }
        }
    }

    async fn remove_account(&self) -> Result<(), Error> {
        self.write::<AccountRecord>(ACCOUNT.to_owned(), None).await
    }

    async fn books(&self) -> Books {
        self.read_books().await.unwrap_or_else(|error| {
            warn!(%error, "what is known of earlier orders cannot be read");
            Books::default()
        })
    }

    async fn keep_books(&self, books: &Books) -> Result<(), Error> {
        let unwritten = |error: serde_json::Error| Error::Acme { path: self.path(ORDERS), reason: error.to_string() };
        let parts = parts(books).map_err(unwritten)?;
        let changes: Vec<(String, Option<Value>)> = {
            let written = self.written.lock();
            let gone = written.keys().filter(|key| !parts.contains_key(*key)).map(|key| (key.clone(), None));
            let changed = parts.iter().filter(|(key, part)| written.get(*key) != Some(part));
            changed.map(|(key, part)| (key.clone(), Some(part.clone()))).chain(gone).collect()
        };
        self.shared.records.write(&self.duty, &changes).await?;
        *self.written.lock() = parts;
        Ok(())
    }

    /// Retries until dropped: an issued certificate must not be lost to a brief outage of etcd or a pause of changes.
    async fn keep_certificate(&self, name: &str, pem: &str) -> Result<(), Error> {
        let key = format!("{CERTIFICATES}{name}");
        let record = CertificateRecord { pem: self.shared.seal(&key, pem)?, issued_ms: clock::now_ms() };
        loop {
            match self.write(key.clone(), Some(&record)).await {
                Err(Error::Catalog(
                    catalog::Error::Unavailable { .. } | catalog::Error::Undecided { .. } | catalog::Error::Paused,
                )) => sleep(WRITE_PAUSE).await,
                written => return written,
            }
        }
    }

    async fn remove_certificate(&self, name: &str) -> Result<(), Error> {
        self.write::<CertificateRecord>(format!("{CERTIFICATES}{name}"), None).await
    }

    async fn show_proof(&self, name: &str, proof: &Proof) -> Result<(), Error> {
        self.shown.lock().insert(name.to_owned());
        let key = format!("{PROOFS}{name}");
        loop {
            match self.shared.records.write_leased(&self.duty, &key, proof).await {
                Err(catalog::Error::Paused) => sleep(WRITE_PAUSE).await,
                written => return Ok(written?),
            }
        }
    }

    async fn hide_proof(&self, name: &str) -> Result<(), Error> {
        let was_shown = self.shown.lock().remove(name);
        if was_shown { self.write::<Proof>(format!("{PROOFS}{name}"), None).await } else { Ok(()) }
    }

    async fn is_paused(&self) -> bool {
        // If unreadable, the next write reports the error.
        self.shared.records.are_changes_paused().await.unwrap_or_default()
    }

    async fn lost(&self) {
        self.duty.lost().await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use devanture_store::records::golden;

    #[test]
    fn what_is_kept_of_an_authority_is_stored_as_it_was() {
        let sealed = |text: &str| Sealed::new("0123456789abcdef".to_owned(), text.as_bytes());
        let contact = vec!["mailto:ada@example.org".to_owned()];
        golden::check("acme/{authority}/account", &AccountRecord { contact, credentials: sealed("credentials") });
        let certificate = CertificateRecord { pem: sealed("pem"), issued_ms: 1 };
        golden::check("acme/{authority}/certificates/{name}", &certificate);
        let (token, key_authorization) = ("abc".to_owned(), "abc.def".to_owned());
        golden::check("acme/{authority}/proofs/{name}", &Proof::Http { token, key_authorization });
        let orders = json!({
            "authority": { "failures": 1, "since_ms": 2, "wait_ms": 3 }, "begun": [[4, "shop"], [5, null]],
        });
        let name = json!({ "failures": 1, "since_ms": 2, "wait_ms": 3, "way": 1, "early": 2 });
        let mut whole = orders.clone();
        whole[NAMES] = json!({ "shop.example": name });
        let parts = parts(&serde_json::from_value(whole).unwrap()).unwrap();
        let name_key = format!("{ORDERS_OF_NAMES}shop.example");
        assert_eq!(parts, [(ORDERS.to_owned(), orders), (name_key.clone(), name)].into());
        golden::check("acme/{authority}/orders", &parts[ORDERS]);
        golden::check("acme/{authority}/orders/{name}", &parts[&name_key]);
    }
}
