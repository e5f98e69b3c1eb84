//! Sockets, TLS and HTTP on them, with every limit of a connection; nothing here knows an app, a path or a file.
//!
//! [`bind_all`] opens one socket per serving thread, [`Certificates`] says who the edge is, and [`serve`] takes
//! connections from one socket on one thread until it drains. A connection goes through `serve` (accepted,
//! counted), `tls` (handshake, rationed by `handshakes`), `connection` (HTTP/1.1 or HTTP/2, by the engine, which
//! `engine` drives, or by hyper, with the clocks of `watch`), and never leaves its thread. What hyper writes for HTTP/2
//! is collected per turn by `coalesce`. Certificates that no file brings are ordered by `acme`; sessions that are
//! resumed have their tickets by `tickets`, and files that change are seen by `file_watch`.

mod acme;
mod answer;
mod authority;
mod certificates;
mod coalesce;
mod connection;
mod engine;
mod file_watch;
mod files;
mod handshakes;
mod interim_stream;
mod limits;
mod preface;
mod request_body;
mod request_validation;
mod response_memory;
mod serve;
mod service;
mod socket;
mod tickets;
mod tls;
mod unsent;
mod watch;
mod write_through;

#[cfg(test)]
mod tests;

pub use certificates::{Certificates, Knows, PatternOf, WATCH_INTERVAL};
pub use limits::ConnectionLimits;
pub use request_body::RequestBody;
pub use response_memory::{ResponseMemory, keep_response_memory};
pub use serve::{Drain, Drained, Peer, Protocol, Settings, serve};
pub use service::{Answers, NoLane, WithLane};
pub use socket::{bind, bind_all};
pub use tls::ServerTls;

use std::path::PathBuf;

/// Errors before any connection; their cause is the operator or the disk, never a visitor.
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
    /// A file of a certificate is there but cannot be used.
    #[error("the certificate {path} cannot be used: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A certificate of the local authority could not be made.
    #[error("a certificate could not be made: {0}")]
    Issue(#[from] rcgen::Error),
    /// A file of a key is there but cannot be used.
    #[error("the key {path} cannot be used: {reason}")]
    Key {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The key is not that of the certificate.
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
    /// A certificate, the local authority or an account could not be kept.
    #[error("what certificates need could not be written: {0}")]
    Store(#[from] crate::blobs::Error),
    /// The file of the keys of tickets is there but cannot be used.
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
