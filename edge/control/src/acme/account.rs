//! ACME account of the edge: created once, stored, and created again only if unknown to the authority.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use devanture_config::edge_toml::{Acme as Settings, ExternalAccount};
use instant_acme::{Account, AccountCredentials, Error as AcmeError, ExternalAccountKey, NewAccount, Problem};
use rustls::ClientConfig;
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::client::{AuthorityNames, Https};
use super::failure::Failure;
use super::store::{KeptAccount, Store};
use devanture_serve::proxy;
use devanture_serve::tls::Error;

/// Error type of an unknown account (RFC 8555 §6.7).
const NO_SUCH_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Settings of the authority, with the contents of the named files.
#[derive(Clone)]
pub(crate) struct Authority {
    pub(crate) directory: String,
    contact: Vec<String>,
    external: Option<(String, Vec<u8>)>,
    tls: Arc<ClientConfig>,
    pub(crate) names: AuthorityNames,
}

/// Finds or creates the account.
pub(crate) struct Accounts {
    authority: Authority,
    store: Arc<dyn Store>,
    /// Locked while an account is created, so that at most one is created.
    open: Mutex<Option<Account>>,
}

impl Authority {
    /// Reads the settings and the named files.
    pub(crate) fn read(settings: &Settings, base: &Path) -> Result<Self, Error> {
        let external = settings.external_account.as_ref().map(|external| external_key(external, base)).transpose()?;
        Ok(Self {
            directory: settings.directory.clone(),
            contact: settings.contact.clone(),
            external,
            tls: trusted(settings, base)?,
            names: AuthorityNames::default(),
        })
    }

    fn client(&self) -> Box<Https> {
        Box::new(Https::new(Arc::clone(&self.tls), self.names.clone()))
    }
}

impl Accounts {
    /// Uses the account of `store`.
    pub(crate) fn new(authority: Authority, store: Arc<dyn Store>) -> Self {
        Self { authority, store, open: Mutex::default() }
    }

    /// Returns the account. The first call since the start, or since [`Accounts::close`], contacts the authority.
    pub(crate) async fn account(&self) -> Result<Account, Failure> {
        let mut open = self.open.lock().await;
        if let Some(account) = &*open {
            return Ok(account.clone());
        }
        let account = match self.store.account().await? {
            Some(kept) => self.enter(kept).await,
            None => self.make().await,
        };
        let account = account.map_err(Failure::of_authority)?;
        *open = Some(account.clone());
        Ok(account)
    }

    /// Makes the next order read the authority's directory again, and create another account if `error` reports an
    /// unknown account.
    pub(crate) async fn close(&self, error: &AcmeError) {
        // The lock's holder may be contacting the authority for minutes.
        let Ok(mut open) = self.open.try_lock() else { return };
        *open = None;
        if matches!(error, AcmeError::Api(problem) if is_unknown(problem)) {
            warn!(
                directory = self.authority.directory,
                "the authority does not know the account: another one will be made"
            );
            if let Err(error) = self.store.remove_account().await {
                warn!(%error, "the account that the authority does not know could not be removed");
            }
        }
    }

    async fn enter(&self, kept: KeptAccount) -> Result<Account, AcmeError> {
        let credentials: AccountCredentials = serde_json::from_value(kept.credentials.clone())?;
        let account = Account::builder_with_http(self.authority.client()).from_credentials(credentials).await?;
        if kept.contact != self.authority.contact {
            let contact: Vec<&str> = self.authority.contact.iter().map(String::as_str).collect();
            account.update_contacts(&contact).await?;
            self.keep(kept.credentials).await?;
        }
        Ok(account)
    }

    async fn make(&self) -> Result<Account, AcmeError> {
        let contact: Vec<&str> = self.authority.contact.iter().map(String::as_str).collect();
        let wanted = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let external = self.authority.external.as_ref().map(|(id, key)| ExternalAccountKey::new(id.clone(), key));
        let builder = Account::builder_with_http(self.authority.client());
        let (account, credentials) =
            builder.create(&wanted, self.authority.directory.clone(), external.as_ref()).await?;
        self.keep(serde_json::to_value(&credentials)?).await?;
        info!(directory = self.authority.directory, account = account.id(), "an account was made at the authority");
        Ok(account)
    }

    async fn keep(&self, credentials: serde_json::Value) -> Result<(), AcmeError> {
        let kept = KeptAccount { contact: self.authority.contact.clone(), credentials };
        self.store.keep_account(&kept).await.map_err(|error| AcmeError::Other(Box::new(error)))
    }
}

/// Returns true if the authority does not know the account.
pub(crate) fn is_unknown(problem: &Problem) -> bool {
    problem.r#type.as_deref() == Some(NO_SUCH_ACCOUNT)
}

/// Checks the files named by the settings, and returns all errors.
pub(crate) fn check(settings: &Settings, base: &Path) -> Vec<Error> {
    let external = settings.external_account.as_ref().and_then(|external| external_key(external, base).err());
    external.into_iter().chain(trusted(settings, base).err()).collect()
}

/// Trusts the platform's authorities, and the authorities in the named file.
fn trusted(settings: &Settings, base: &Path) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = rustls_native_certs::load_native_certs().certs;
    if let Some(ca) = &settings.ca {
        let path = base.join(ca);
        let bad = |reason: String| Error::Certificate { path: path.clone(), reason };
        let pem = std::fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        roots.extend(proxy::tls::certificates(&pem).map_err(bad)?);
    }
    Ok(proxy::tls::trusting(roots)?)
}

fn external_key(external: &ExternalAccount, base: &Path) -> Result<(String, Vec<u8>), Error> {
    let path = base.join(&external.key_file);
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
    // Authorities display the key with or without padding.
    let key = BASE64_URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
    let key = key.ok().filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| Error::Key { path, reason: "it is not base64url".to_owned() })?;
    Ok((external.key_id.clone(), key))
}
