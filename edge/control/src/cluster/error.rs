//! Why something between nodes failed.

use std::io;
use std::path::{Path, PathBuf};

use devanture_config::problem::{Code, Problem};

use crate::ledger;
use devanture_base::durable;
use devanture_store::catalog;

/// An error between nodes, or of what a node needs to be one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// A file of the cluster's CA or of this node cannot be read, or is not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A file of the cluster's CA or of this node is there, and cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The cluster's listener cannot be opened.
    #[error("listening for other nodes at {address}: {source}")]
    Listen {
        /// Its address.
        address: std::net::SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// Another node has this one's name.
    #[error("another node at {advertise} is called {node} and lives; give this one another `node` in edge.toml")]
    NameTaken {
        /// The name.
        node: String,
        /// Where the other one is.
        advertise: std::net::SocketAddr,
    },
    /// A node cannot be reached, or does not answer.
    #[error("{node} at {advertise}: {reason}")]
    Unreachable {
        /// The node.
        node: String,
        /// Its address.
        advertise: std::net::SocketAddr,
        /// The reason.
        reason: String,
    },
    /// A node says no.
    #[error("{node}: {}", problem.detail)]
    Refused {
        /// The node.
        node: String,
        /// Its reason.
        problem: Box<Problem>,
    },
    /// Nodes come and go all the time.
    #[error("nodes come and go all the time")]
    Unsettled,
    /// Files cannot be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
}

impl Error {
    pub(super) fn file(path: &Path, reason: impl ToString) -> Self {
        Self::File { path: path.to_owned(), reason: reason.to_string() }
    }

    /// What a caller reads of it.
    pub(crate) fn into_problem(self) -> ledger::Error {
        match self {
            Self::Catalog(error) => error.into(),
            Self::Refused { node, mut problem } => {
                problem.detail = format!("{node}: {}", problem.detail);
                ledger::Error(problem)
            }
            Self::Unreachable { .. } | Self::Unsettled => {
                let hint = "look at `devanture nodes`; a node that was stopped in order, or is silent for longer than \
                            its lease, is not waited for";
                Problem::new(Code::NodeUnreachable, format!("A node does not answer: {self}.")).hint(hint).into()
            }
            other => {
                tracing::error!(error = %other, "a node could not be spoken to");
                Problem::new(Code::Internal, "The edge failed; its log says more.").into()
            }
        }
    }
}
