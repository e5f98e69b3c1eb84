//! Errors between nodes.

use std::io;
use std::path::{Path, PathBuf};

use devanture_config::problem::{Code, Problem};

use crate::ledger;
use devanture_base::durable;
use devanture_store::catalog;

/// Error between nodes, or in the local prerequisites of a node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// A file of the cluster's CA or of the node is invalid.
    #[error("{}: {reason}", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Reason.
        reason: String,
    },
    /// A file of the cluster's CA or of the node cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// System error.
        source: io::Error,
    },
    /// The cluster listener cannot be opened.
    #[error("listening for other nodes at {address}: {source}")]
    Listen {
        /// Address.
        address: std::net::SocketAddr,
        /// System error.
        source: io::Error,
    },
    /// The node's name is taken by another node.
    #[error("another node at {advertise} is called {node} and lives; give this one another `node` in edge.toml")]
    NameTaken {
        /// Name.
        node: String,
        /// Address of the other node.
        advertise: std::net::SocketAddr,
    },
    /// A node is unreachable or does not answer.
    #[error("{node} at {advertise}: {reason}")]
    Unreachable {
        /// Node.
        node: String,
        /// Address.
        advertise: std::net::SocketAddr,
        /// Reason.
        reason: String,
    },
    /// A node refused a request.
    #[error("{node}: {}", problem.detail)]
    Refused {
        /// Node.
        node: String,
        /// Reason.
        problem: Box<Problem>,
    },
    /// Nodes join and leave continuously.
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

    /// Converts the error for an API caller.
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
