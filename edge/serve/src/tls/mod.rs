//! TLS: certificates, their keys, session tickets, and the handshake of one connection.
//!
//! [`Certificates`] holds the edge's certificates, from files (`files`), from an authority ([`IssuedCertificates`],
//! implemented by `acme` in the control plane) or from the local authority (`authority`), and builds a [`ServerTls`]
//! for each listener (`server_tls`), whose sessions resume by the tickets of `tickets`. `file_watch` detects changed
//! files.

mod authority;
mod certificates;
mod file_watch;
pub mod files;
mod secret;
mod server_tls;
mod shared;
mod source;
mod tickets;

pub use authority::AUTHORITY_DAYS_MIN;
pub use certificates::{AUTHORITY_FOLDER, Certificates, Knows, PatternOf, WATCH_INTERVAL, add_end};
pub use file_watch::Changes;
pub use files::{FileCertificate, certificates_in};
pub(crate) use server_tls::{Failed, H2, WRITE_BYTES};
pub use server_tls::{ServerTls, provider};
pub use shared::{make_authority, make_ticket_keys, share_authority, share_ticket_keys};
pub use source::{ACME_TLS, IssuedCertificates};

use std::path::PathBuf;

/// Errors before any connection, caused by the operator or the disk, never by a visitor.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ACME state cannot be used.
    #[error("{path} cannot be used: {reason}; put it back as it was, or remove it to have another account made")]
    Acme {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The local authority of an earlier start cannot be used.
    #[error(
        "the local authority {path} cannot be used: {reason}; put the file back, or remove it and its neighbour to have a \
         new authority made, which everybody must then trust again"
    )]
    Authority {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The catalog shared by the nodes cannot be read or written.
    #[error("the certificates that nodes share: {0}")]
    Catalog(#[from] devanture_store::catalog::Error),
    /// The file of a certificate exists but cannot be used.
    #[error("the certificate {path} cannot be used: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The local authority could not issue a certificate.
    #[error("a certificate could not be made: {0}")]
    Issue(#[from] rcgen::Error),
    /// The file of a key exists but cannot be used.
    #[error("the key {path} cannot be used: {reason}")]
    Key {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// No edge has ever started with the data folder.
    #[error("{path} is missing: the edge makes its local authority at its first start")]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// The key does not belong to the certificate.
    #[error("the key {key} does not belong to the certificate {certificate}")]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The encryption keys for data shared between nodes cannot be used.
    #[error("what nodes share of certificates cannot be sealed or opened: {0}")]
    Secrets(String),
    /// A certificate, the local authority or an account could not be stored.
    #[error("what certificates need could not be written: {0}")]
    Store(#[from] devanture_base::durable::Error),
    /// The file of the ticket keys exists but cannot be used.
    #[error("the keys of tickets in {path} cannot be used: {reason}")]
    TicketKeys {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The TLS library refused the settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}
