//! Where what came of orders is kept: [`folder`] of an edge that is alone, [`shared`] by the nodes of a cluster.

#[cfg(test)]
mod conformance;
pub(super) mod folder;
pub(super) mod shared;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::held::Held;
use super::schedule::Books;
use devanture_serve::tls::Error;

/// The account at the authority, as it is kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptAccount {
    /// What was last sent to the authority.
    pub(crate) contact: Vec<String>,
    /// The account's address and key, in the form of the library.
    pub(crate) credentials: serde_json::Value,
}

/// What an authority finds that looks whether a name is the edge's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Proof {
    /// By `http-01`.
    Http {
        /// What the authority requests.
        token: String,
        /// What it is to find there.
        key_authorization: String,
    },
    /// By `tls-alpn-01`.
    TlsAlpn {
        /// The digest of the key authorization.
        digest: Vec<u8>,
    },
}

/// The account at one authority, its certificates, and the history of orders.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// The account, if there is one.
    async fn account(&self) -> Result<Option<KeptAccount>, Error>;

    /// Keeps the account in place of the one before.
    async fn keep_account(&self, account: &KeptAccount) -> Result<(), Error>;

    /// Forgets the account.
    async fn remove_account(&self) -> Result<(), Error>;

    /// The history of orders; an empty one where there is none, or none that can be read: then a name is tried a little
    /// too early.
    async fn books(&self) -> Books;

    /// Keeps the history of orders in place of the one before.
    async fn keep_books(&self, books: &Books) -> Result<(), Error>;

    /// Keeps a key and a chain, as PEM, for `name`, in place of those before. Both were checked.
    async fn keep_certificate(&self, name: &str, pem: &str) -> Result<(), Error>;

    /// What another process of this node has kept for `name`, where that is not known by other means.
    async fn kept(&self, _name: &str) -> Option<Held> {
        None
    }

    /// Removes what is kept for `name`.
    async fn remove_certificate(&self, name: &str) -> Result<(), Error>;

    /// Has every other node show the proof for `name` from now on.
    async fn show_proof(&self, _name: &str, _proof: &Proof) -> Result<(), Error> {
        Ok(())
    }

    /// Ends that.
    async fn hide_proof(&self, _name: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Whether nothing can be written for now, since all changes are paused.
    async fn is_paused(&self) -> bool {
        false
    }

    /// Waits until another node may write; for ever, where there is none.
    async fn lost(&self) {
        std::future::pending::<()>().await;
    }
}

/// The name of what is kept of a directory: its host, so that a person finds it, and a part of the hash of all of it.
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
