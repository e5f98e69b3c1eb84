//! Faults of etcd, as types.

use super::grpc::FrameError;
use crate::catalog::Error;

/// The gRPC codes that matter here.
mod code {
    pub(super) const INVALID_ARGUMENT: u16 = 3;
    pub(super) const NOT_FOUND: u16 = 5;
    pub(super) const PERMISSION_DENIED: u16 = 7;
    pub(super) const RESOURCE_EXHAUSTED: u16 = 8;
    pub(super) const FAILED_PRECONDITION: u16 = 9;
    pub(super) const OUT_OF_RANGE: u16 = 11;
    pub(super) const UNIMPLEMENTED: u16 = 12;
    pub(super) const UNAVAILABLE: u16 = 14;
    pub(super) const UNAUTHENTICATED: u16 = 16;
}

/// A failed call, or a failed connection.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Fault {
    /// etcd has no users, and the settings name one.
    #[error("etcd knows no users: its authentication is not enabled")]
    AuthDisabled,
    /// etcd does not know the user or the password, or no user is configured and etcd requires one.
    #[error("etcd refuses the user name or the password")]
    BadCredentials,
    /// The requested revision is gone: etcd was compacted beyond it.
    #[error("the revision was compacted")]
    Compacted,
    /// The user lacks the right.
    #[error("the user of etcd may not read and write all keys below the prefix")]
    Denied,
    /// The token has expired, or is older than the last change of users.
    #[error("the token is not valid any more")]
    ExpiredToken,
    /// The lease is gone.
    #[error("the lease is gone")]
    LeaseGone,
    /// The answer does not come from etcd.
    #[error("{endpoint} sent what is no answer of etcd: {reason}")]
    Malformed {
        /// The member.
        endpoint: String,
        /// The received text.
        reason: String,
    },
    /// The mirror could not be read or written.
    #[error("the mirror failed: {0}")]
    Mirror(String),
    /// An answer exceeds the maximal length.
    #[error("{endpoint} sent an answer that is too long")]
    LongAnswer {
        /// The member.
        endpoint: String,
    },
    /// The member has no leader: it is cut off, or there is no majority.
    #[error("{endpoint} has no leader")]
    NoLeader {
        /// The member.
        endpoint: String,
    },
    /// The space quota is reached.
    #[error("etcd has reached its space quota")]
    NoSpace,
    /// The member belongs to a cluster other than the mirror's.
    #[error("{endpoint} belongs to another cluster ({found:016x}) than the mirror ({expected:016x})")]
    OtherCluster {
        /// The member.
        endpoint: String,
        /// The mirror's.
        expected: u64,
        /// The member's.
        found: u64,
    },
    /// No answer arrived in time.
    #[error("{endpoint} does not answer")]
    Silent {
        /// The member.
        endpoint: String,
    },
    /// Any other refusal.
    #[error("{endpoint} answered {message} (gRPC {code})")]
    Status {
        /// The member.
        endpoint: String,
        /// gRPC's code.
        code: u16,
        /// etcd's text.
        message: String,
    },
    /// The request exceeds the maximal length.
    #[error("the request is larger than etcd takes")]
    TooLarge,
    /// There is no connection, or the connection broke.
    #[error("{endpoint} cannot be reached: {reason}")]
    Unreachable {
        /// The member.
        endpoint: String,
        /// The reason.
        reason: String,
    },
}

impl Fault {
    /// Converts a status. Only the texts of etcd's errors distinguish them (`rpctypes/error.go`); the texts are part of
    /// etcd's API, and etcd's own clients compare them.
    pub(super) fn of_status(endpoint: &str, code: u16, message: &str) -> Self {
        let endpoint = endpoint.to_owned();
        match (code, message) {
            (code::INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password")
            | (code::INVALID_ARGUMENT, "etcdserver: user name is empty" | "etcdserver: user name not found")
            | (code::FAILED_PRECONDITION, "etcdserver: user name not found") => Self::BadCredentials,
            (code::INVALID_ARGUMENT, "etcdserver: revision of auth store is old") | (code::UNAUTHENTICATED, _) => {
                Self::ExpiredToken
            }
            (
                code::INVALID_ARGUMENT,
                "etcdserver: request is too large" | "etcdserver: too many operations in txn request",
            ) => Self::TooLarge,
            (code::NOT_FOUND, "etcdserver: requested lease not found") => Self::LeaseGone,
            (code::PERMISSION_DENIED, _) => Self::Denied,
            (code::RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded") => Self::NoSpace,
            (code::RESOURCE_EXHAUSTED, text) if text.starts_with("grpc: received message larger") => Self::TooLarge,
            (code::FAILED_PRECONDITION, "etcdserver: authentication is not enabled") => Self::AuthDisabled,
            (code::OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted") => Self::Compacted,
            (code::UNAVAILABLE, "etcdserver: no leader") => Self::NoLeader { endpoint },
            _ => Self::Status { endpoint, code, message: message.to_owned() },
        }
    }

    /// Converts an error in the frames of an answer.
    pub(super) fn of_frame(endpoint: &str, error: FrameError) -> Self {
        match error {
            FrameError::TooLong(_) => Self::LongAnswer { endpoint: endpoint.to_owned() },
            FrameError::Compressed | FrameError::Undecodable => {
                Self::Malformed { endpoint: endpoint.to_owned(), reason: error.to_string() }
            }
        }
    }

    /// Returns true if the request was certainly not carried out, and will not be later.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::AuthDisabled
            | Self::BadCredentials
            | Self::Compacted
            | Self::Denied
            | Self::ExpiredToken
            | Self::LeaseGone
            // Found before a request is proposed.
            | Self::NoLeader { .. }
            | Self::OtherCluster { .. }
            | Self::TooLarge => true,
            Self::Status { code, .. } => matches!(
                *code,
                code::INVALID_ARGUMENT
                    | code::NOT_FOUND
                    | code::FAILED_PRECONDITION
                    | code::OUT_OF_RANGE
                    | code::UNIMPLEMENTED
            ),
            // A transaction with room at its proposal and none at its application is made nevertheless
            // (`quotaApplierV3` of etcd).
            Self::NoSpace
            | Self::LongAnswer { .. }
            | Self::Malformed { .. }
            | Self::Mirror(_)
            | Self::Silent { .. }
            | Self::Unreachable { .. } => false,
        }
    }

    /// Returns true if a different member may answer.
    pub(super) const fn is_of_member(&self) -> bool {
        matches!(self, Self::Malformed { .. } | Self::NoLeader { .. } | Self::Silent { .. } | Self::Unreachable { .. })
    }

    /// Returns true if the same request may succeed a moment later.
    pub(super) const fn is_transient(&self) -> bool {
        self.is_of_member()
            || matches!(
                self,
                Self::ExpiredToken | Self::Status { code: code::UNAVAILABLE | code::RESOURCE_EXHAUSTED, .. }
            )
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let reason = fault.to_string();
        match fault {
            Fault::AuthDisabled | Fault::BadCredentials | Fault::Denied => Self::Denied { reason },
            Fault::LeaseGone => Self::LeaseLost,
            Fault::NoSpace => Self::Quota,
            Fault::TooLarge => Self::TooLarge { reason },
            Fault::Compacted
            | Fault::ExpiredToken
            | Fault::NoLeader { .. }
            | Fault::OtherCluster { .. }
            | Fault::Silent { .. }
            | Fault::Unreachable { .. } => Self::Unavailable { reason },
            Fault::Status { code: code::INVALID_ARGUMENT | code::UNIMPLEMENTED, .. }
            | Fault::LongAnswer { .. }
            | Fault::Malformed { .. }
            | Fault::Mirror(_) => Self::Store(reason),
            Fault::Status { .. } => Self::Unavailable { reason },
        }
    }
}
