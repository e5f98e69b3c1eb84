//! Start errors, as sentences for the operator, with exit codes.

use std::io::ErrorKind;
use std::net::SocketAddr;

use devanture_config::parsing::Mistakes;

use devanture_base::durable;
use devanture_control::{cluster, runner};
use devanture_serve::live::Lacking;
use devanture_serve::tls;
use devanture_store::{blobs, catalog};

/// Maximum number of environments named in an error about versions that a new edge would lack.
const LACKING_NAMED_MAX: usize = 10;

/// Reason why an edge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket cannot be opened.
    #[error("{address} cannot be listened on: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The UDP socket of HTTP/3 cannot be opened.
    #[error("{address} cannot be listened on with UDP, as `http3 = true` below [listen] in edge.toml wants: {source}")]
    BindUdp {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The blob store cannot be opened.
    #[error("the data folder cannot be used: {0}")]
    Blobs(#[from] blobs::Error),
    /// A file of the data folder cannot be read or written.
    #[error("the data folder cannot be used: {0}")]
    Disk(#[from] durable::Error),
    /// The catalog cannot be opened.
    #[error(transparent)]
    Catalog(catalog::Error),
    /// The node cannot join its cluster.
    #[error("this node cannot be one of its cluster: {0}")]
    Cluster(#[from] cluster::Error),
    /// The file of the access log cannot be opened.
    #[error("the access log {path} cannot be opened: {reason}. `to` below [access_log] in edge.toml names it")]
    AccessLog {
        /// The file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// The catalog's file cannot be read.
    #[error(
        "{path} cannot be opened: {reason}. If it was cut short or overwritten, put the catalog back from a backup. If \
         there is none, move the file away, and `devanture-edge adopt` begins an empty one over the stored files"
    )]
    CatalogUnreadable {
        /// The file.
        path: String,
        /// The store's error.
        reason: String,
    },
    /// The system denies the process access to the catalog's file.
    #[error("{path} may not be opened: {source}. {}; what is stored there is as it was", after_refusal(.source))]
    CatalogRefused {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The data folder holds blobs or manifests, but no catalog.
    #[error(
        "{data_dir} holds stored files, but its catalog ({}) is missing: put the catalog back from a backup, or mount \
         the right folder. If the catalog is lost for good, `devanture-edge adopt` begins an empty one over these files",
        super::stores::CATALOG_NAME
    )]
    CatalogMissing {
        /// The data folder.
        data_dir: String,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Certificates(#[from] tls::Error),
    /// `edge.toml` has errors.
    #[error("{0}")]
    Config(#[from] Mistakes),
    /// `edge.toml` cannot be read.
    #[error("{path} cannot be read: {source}{}", first_steps(.source))]
    ConfigFile {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The package of the console cannot be used.
    #[error("`console` in edge.toml: {reason}")]
    Console {
        /// The reason.
        reason: String,
    },
    /// The stores are an unfinished or outdated copy, with which no edge may start.
    #[error("{data_dir}: {reason}")]
    Copy {
        /// The data folder.
        data_dir: String,
        /// The reason.
        reason: String,
    },
    /// The path of the data folder is not a folder.
    #[error("{data_dir} is a file, and `data_dir` in edge.toml must name a folder")]
    DataDirIsFile {
        /// The path.
        data_dir: String,
    },
    /// The new edge cannot serve all versions of the running edge.
    #[error(
        "this edge does not take over, as it cannot serve what the running one, process {pid}, has in memory: {lost}. \
         What is damaged comes back with a push of the same files, or with `devanture-edge repair --from` a backup; \
         `take_over_damaged = true` in edge.toml has this edge take over without"
    )]
    Lacking {
        /// The process of the running edge.
        pid: u32,
        /// The versions that the new edge would lack.
        lost: String,
    },
    /// Backends cannot be run.
    #[error("backends cannot be run: {0}")]
    Runner(runner::Error),
    /// The data folder has no name, so that the folder of backends would be outside.
    #[error("where backends lie is not said: write folder = \"…\" below [runner] in edge.toml")]
    RunnerFolder,
    /// A thread or its runtime cannot be started.
    #[error("a thread cannot be started: {0}")]
    Runtime(std::io::Error),
    /// A store shared with other nodes, or the secret of a client, cannot be used.
    #[error("`{key}` in edge.toml: {reason}")]
    Storage {
        /// The key or table.
        key: &'static str,
        /// The reason.
        reason: String,
    },
    /// A file for a shared store or for the client of a provider cannot be read.
    #[error("`{key}` in edge.toml: {path} cannot be read: {source}")]
    StorageFile {
        /// The key or table.
        key: &'static str,
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The running edge of the data folder does not hand over.
    #[error("another edge runs over this data folder and does not hand over to this one: {reason}")]
    TakeOver {
        /// The reason.
        reason: String,
    },
    /// The program cannot use the state stored by another program.
    #[error("{reason}")]
    Upgrade {
        /// The state, and the reason.
        reason: String,
    },
    /// TLS to backends cannot be set up.
    #[error("TLS to backends cannot be set up: {0}")]
    UpstreamTls(rustls::Error),
}

/// Returns advice about a catalog that the system denies to the process: no advice may lose stored data.
fn after_refusal(source: &std::io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::PermissionDenied => {
            "Call this as the user that the data folder belongs to, and see that its disk can be written to"
        }
        _ => "See how its disk is mounted, and what the kernel's log says about it: docs/runbooks/disk-unwritable.md",
    }
}

/// Returns advice before the first start, without an `edge.toml`.
fn first_steps(source: &std::io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::NotFound => ". `devanture-edge init` writes one, and --config names another",
        _ => "",
    }
}

impl From<catalog::Error> for StartError {
    fn from(error: catalog::Error) -> Self {
        match error {
            // Found when the first records are read.
            catalog::Error::Damaged { path } => {
                Self::CatalogUnreadable { path, reason: "a page of it is damaged".to_owned() }
            }
            other => Self::Catalog(other),
        }
    }
}

impl StartError {
    /// Returns [`StartError::Lacking`], if the running edge serves versions that the new edge lacks.
    pub(super) fn lacking(pid: u32, served: &[Lacking]) -> Option<Self> {
        let mut lost: Vec<String> = served.iter().take(LACKING_NAMED_MAX).map(ToString::to_string).collect();
        if let Some(more) = served.len().checked_sub(LACKING_NAMED_MAX).filter(|more| *more > 0) {
            lost.push(format!("and {more} more"));
        }
        (!lost.is_empty()).then(|| Self::Lacking { pid, lost: lost.join("; ") })
    }

    /// Returns true if the error may not occur for another user: an unreadable file, or a missing right to run
    /// backends.
    #[must_use]
    pub fn depends_on_user(&self) -> bool {
        match self {
            Self::Certificates(tls::Error::Read { source, .. })
            | Self::Cluster(cluster::Error::Read { source, .. })
            | Self::StorageFile { source, .. } => source.kind() == ErrorKind::PermissionDenied,
            Self::Runner(_) => true,
            _ => false,
        }
    }

    /// Returns 2 for errors that the operator can fix in the configuration or by ending another edge, and 1 otherwise.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::AccessLog { .. }
            | Self::Bind { .. }
            | Self::BindUdp { .. }
            | Self::Catalog(
                catalog::Error::Denied { .. } | catalog::Error::Locked { .. } | catalog::Error::OtherOrigin { .. },
            )
            | Self::CatalogMissing { .. }
            | Self::CatalogRefused { .. }
            | Self::CatalogUnreadable { .. }
            | Self::Certificates(_)
            | Self::Cluster(_)
            | Self::Config(_)
            | Self::ConfigFile { .. }
            | Self::Console { .. }
            | Self::Copy { .. }
            | Self::DataDirIsFile { .. }
            | Self::Lacking { .. }
            | Self::Runner(_)
            | Self::RunnerFolder
            | Self::Storage { .. }
            | Self::StorageFile { .. }
            | Self::TakeOver { .. }
            | Self::Upgrade { .. } => 2,
            Self::Blobs(_) | Self::Catalog(_) | Self::Disk(_) | Self::Runtime(_) | Self::UpstreamTls(_) => 1,
        }
    }
}
