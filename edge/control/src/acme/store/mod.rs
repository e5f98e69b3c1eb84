//! Stores of ACME results: [`folder`] for a standalone edge, [`shared`] for the nodes of a cluster.

#[cfg(test)]
mod conformance;
pub(super) mod folder;
pub(super) mod shared;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::held::IssuedCertificate;
use super::schedule::Books;
use devanture_serve::tls::Error;

/// Stored account at the authority.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptAccount {
    /// Contacts last sent to the authority.
    pub(crate) contact: Vec<String>,
    /// Address and key of the account, in the library's format.
    pub(crate) credentials: serde_json::Value,
}

/// Proof of control over a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Proof {
    /// `http-01`.
    Http {
        /// Requested token.
        token: String,
        /// Expected answer.
        key_authorization: String,
    },
    /// `tls-alpn-01`.
    TlsAlpn {
        /// Digest of the key authorization.
        digest: Vec<u8>,
    },
}

/// Store of an authority's account, certificates, and history of orders.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Returns the account, if any.
    async fn account(&self) -> Result<Option<KeptAccount>, Error>;

    /// Replaces the account.
    async fn keep_account(&self, account: &KeptAccount) -> Result<(), Error>;

    /// Deletes the account.
    async fn remove_account(&self) -> Result<(), Error>;

    /// Returns the history of orders; empty if absent or unreadable, at the cost of some early attempts.
    async fn books(&self) -> Books;

    /// Replaces the history of orders.
    async fn keep_books(&self, books: &Books) -> Result<(), Error>;

    /// Replaces the key and chain for `name`, as verified PEM.
    async fn keep_certificate(&self, name: &str, pem: &str) -> Result<(), Error>;

    /// Returns a certificate stored for `name` by another process of the node, unless known by other means.
    async fn kept(&self, _name: &str) -> Option<IssuedCertificate> {
        None
    }

    /// Deletes the certificate of `name`.
    async fn remove_certificate(&self, name: &str) -> Result<(), Error>;

    /// Makes every other node present the proof for `name`.
    async fn show_proof(&self, _name: &str, _proof: &Proof) -> Result<(), Error> {
        Ok(())
    }

    /// Ends the presentation.
    async fn hide_proof(&self, _name: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Returns true while all changes are paused.
    async fn is_paused(&self) -> bool {
        false
    }

    /// Waits until another node may write; forever on a standalone edge.
    async fn lost(&self) {
        std::future::pending::<()>().await;
    }
}

/// Returns the folder or record name of a directory: its host for readability, and part of the hash of its URL.
pub(crate) fn authority_name(directory: &str) -> String {
    let rest = directory.strip_prefix("https://").unwrap_or(directory);
    let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).take(64).collect();
    let hash = blake3::hash(directory.as_bytes()).to_hex();
    let short: String = hash.chars().take(8).collect();
    format!("{}-{short}", host.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_names_what_is_kept_of_it() {
        let name = authority_name("https://acme.example.org:14000/dir");
        assert!(name.starts_with("acme.example.org-") && name.len() == 25, "{name}");
        assert!(!authority_name("https://../x").starts_with('.'));
    }
}
