//! ACME certificates (RFC 8555): one for each served name not covered by a file, ordered, stored, renewed.
//!
//! `issuing` is the entry point; `schedule` decides on times, without a clock; `renewer` checks served names every
//! second and starts `order`, with the account of `account` and the requests of `client`; `store` stores results;
//! `challenges` presents proofs to the authority. In a cluster, one node does so for all (`duty`): other nodes load
//! stored certificates by `follow`, and present proofs by `lookup`. Handshakes only read [`Acme`]'s atomically swapped
//! tables, and never wait.
//!
//! A certificate stays until a better one is available. Failures of an authority remove nothing.

mod account;
mod challenges;
mod client;
mod duty;
mod failure;
mod follow;
mod held;
mod issuing;
mod lookup;
mod order;
mod renewer;
mod schedule;
mod store;
mod trouble;

#[cfg(test)]
mod tests;

use challenges::Challenges;
pub use issuing::SharedCertificates;
pub use trouble::{CertificateTrouble, OnTrouble};

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use devanture_config::edge_toml::{Acme as Settings, ChallengeKind};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;

use account::Authority;
use devanture_serve::tls::{AUTHORITY_FOLDER, Error, IssuedCertificates, provider};
use held::{HeldByName, IssuedCertificate};
use store::authority_name;
use store::folder::Folder;

/// Folder of accounts and certificates, within the folder of the local authority.
const FOLDER: &str = "acme";

/// Certificates of an authority, and access to the authority.
pub struct Acme {
    held: ArcSwap<HeldByName>,
    challenges: Arc<Challenges>,
    authority: Authority,
    folder: Folder,
    provider: Arc<CryptoProvider>,
    ways: Vec<ChallengeKind>,
}

impl fmt::Debug for Acme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Acme").field("held", &self.held.load().len()).finish_non_exhaustive()
    }
}

impl Acme {
    /// Reads the stored state in `data_dir`, and the files named by the settings, relative to `base`, without
    /// contacting the authority.
    ///
    /// # Errors
    /// All of [`Error`].
    pub fn open(settings: &Settings, base: &Path, data_dir: &Path) -> Result<Arc<Self>, Error> {
        Self::open_in(settings, base, &data_dir.join(AUTHORITY_FOLDER).join(FOLDER)).map(Arc::new)
    }

    fn open_in(settings: &Settings, base: &Path, folder: &Path) -> Result<Self, Error> {
        let provider = provider();
        let folder = Folder::open(folder, &settings.directory, Arc::clone(&provider))?;
        let held = ArcSwap::from_pointee(folder.read_certificates()?);
        // Read here to log errors at the start, rather than at the first order.
        drop(folder.read_account()?);
        let (authority, challenges) = (Authority::read(settings, base)?, Arc::new(Challenges::new()?));
        Ok(Self { held, challenges, authority, folder, provider, ways: settings.challenges.clone() })
    }

    /// Sets the DNS servers for the authority's name, by default the system's. Must be called before any order.
    pub fn set_dns_servers(&self, servers: &[SocketAddr]) {
        self.authority.names.set(servers);
    }

    /// Returns the name of the authority in shared records.
    pub(crate) fn authority_name(&self) -> String {
        authority_name(&self.authority.directory)
    }

    /// Checks the settings and their files without a data folder, and returns all errors.
    #[must_use]
    pub fn check(settings: &Settings, base: &Path) -> Vec<Error> {
        account::check(settings, base)
    }

    /// Returns true if the name has a certificate.
    #[cfg(test)]
    fn holds(&self, name: &str) -> bool {
        self.held.load().contains_key(name)
    }

    /// Returns the presented proofs.
    pub(crate) const fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// Changes the certificates atomically for handshakes.
    fn change(&self, change: impl Fn(&mut HeldByName)) {
        self.held.rcu(|held| {
            let mut held = HashMap::clone(held);
            change(&mut held);
            held
        });
    }

    fn hold(&self, name: &str, certificate: &Arc<IssuedCertificate>) {
        self.change(|held| drop(held.insert(name.into(), Arc::clone(certificate))));
    }
}

#[async_trait]
impl IssuedCertificates for Acme {
    fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.held.load().get(name).map(|held| Arc::clone(&held.key))
    }

    fn ends(&self) -> Vec<(String, i64)> {
        let end = |held: &IssuedCertificate| i64::try_from(held.life.not_after_ms / 1_000).unwrap_or(i64::MAX);
        self.held.load().iter().map(|(name, held)| (name.to_string(), end(held))).collect()
    }

    fn expires_ms(&self, name: &str) -> Option<u64> {
        self.held.load().get(name).map(|held| held.life.not_after_ms)
    }

    async fn http_proof(&self, host: &str, path: &str) -> Option<String> {
        self.challenges.http_answer(host, path).await
    }

    async fn tls_proof(&self, name: &str) -> Option<Arc<ServerConfig>> {
        self.challenges.config_for(name).await
    }
}
