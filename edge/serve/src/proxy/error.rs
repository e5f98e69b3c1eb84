//! Errors between a request and a backend's response, with the party at fault.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use super::address::Refusal;
use super::http1::Fault;

/// Failure of a backend's response, before or within the body.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Backend: the connection was closed before or within the response, or the response is not valid HTTP. 502.
    #[error("the backend's answer is unusable: {0}")]
    BadAnswer(BadAnswer),
    /// Client: the request cannot be forwarded unchanged, or the body is malformed. 400.
    #[error("the request cannot be forwarded: {0}")]
    BadRequest(&'static str),
    /// Client: the client disconnected, or broke off the body. 400, in case the client still reads; 499 in logs.
    #[error("the client went away")]
    Cancelled,
    /// Backend or network: the name does not resolve, or no connection can be made. 502.
    #[error("the backend cannot be reached: {0}")]
    Connect(#[source] io::Error),
    /// Author of the route: the upstream address is refused. 502.
    #[error("{0}")]
    Forbidden(#[source] Refusal),
    /// Author of the route: the request returns to an edge in a loop. 508.
    #[error("the request runs in a circle: it has passed {0} edges")]
    Loop(usize),
    /// Client: a method or a transfer coding that is not forwarded. 501.
    #[error("{0}")]
    NotImplemented(&'static str),
    /// Client: the body is longer than `proxy_body_bytes_max`. 413.
    #[error("the request's body is longer than {bytes_max} bytes")]
    RequestTooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// Backend, with status 504; or the client for [`Phase::RequestBody`], with status 408.
    #[error("{0}")]
    Timeout(Phase),
    /// Backend: the certificate is not trusted, or the TLS handshake fails. 502.
    #[error("no TLS connection to the backend: {0}")]
    Tls(#[source] io::Error),
    /// Network: a name of the upstream has no address. 502.
    #[error("the backend cannot be reached: {0}")]
    NoAddress(String),
    /// Upstream: no backend exists, or no backend is healthy. 503.
    #[error("no backend is free: {0}")]
    NoMember(&'static str),
    /// Edge: a limit is reached, of requests to the upstream or of the system. 503.
    #[error("no backend is free: {0}")]
    Unavailable(&'static str),
}

/// Error of a request without a response.
pub(crate) struct SendError {
    pub(crate) error: Error,
    /// True if the backend did not process the request, so that another backend may get the request.
    pub(crate) is_unsent: bool,
}

/// Phase of a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The backend paused too long within the response body.
    Body,
    /// No connection was made.
    Connect,
    /// The response did not begin.
    Head,
    /// The client paused too long within the request body.
    RequestBody,
    /// The whole exchange took too long.
    Total,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Body => "the backend rested too long within its answer",
            Self::Connect => "the backend did not accept a connection in time",
            Self::Head => "the backend did not begin its answer in time",
            Self::RequestBody => "the client rested too long within its request's body",
            Self::Total => "the exchange took too long in all",
        })
    }
}

/// Invalid response of a backend.
#[derive(Debug)]
pub enum BadAnswer {
    /// Error of the HTTP/2 connection.
    Http(hyper::Error),
    /// Error of the HTTP/1.1 connection.
    Http1(Fault),
    /// The response has a part that cannot be forwarded.
    Unfit(&'static str),
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => match error.source() {
                Some(source) => write!(f, "{error} ({source})"),
                None => error.fmt(f),
            },
            Self::Http1(fault) => fault.fmt(f),
            Self::Unfit(what) => f.write_str(what),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::BadAnswer(BadAnswer::Http1(fault))
    }
}

impl BadAnswer {
    /// Returns true if the peer closed the connection before the response, rather than sent an invalid response.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Http(error) => is_closed(error),
            Self::Http1(fault) => fault.is_closed(),
            Self::Unfit(_) => false,
        }
    }
}

fn is_closed(error: &hyper::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || matches!(io, Some(BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof))
}

/// Numbers of `EMFILE` and `ENFILE`: too many open files, of the process and of the machine.
const OPEN_FILES: [i32; 2] = [24, 23];

impl Error {
    /// Returns the error's word in logs, metrics and problem documents.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadAnswer(answer) if answer.is_closed() => "closed",
            Self::BadAnswer(_) => "bad-answer",
            Self::BadRequest(_) => "bad-request",
            Self::Cancelled => "client-gone",
            Self::Connect(_) | Self::NoAddress(_) => "connect",
            Self::Forbidden(_) => "refused-address",
            Self::Loop(_) => "loop",
            Self::NoMember(_) => "no-member",
            Self::NotImplemented(_) => "not-implemented",
            Self::RequestTooLarge { .. } => "too-large",
            Self::Timeout(Phase::Body) => "timeout-idle",
            Self::Timeout(Phase::Connect) => "timeout-connect",
            Self::Timeout(Phase::Head) => "timeout-first-byte",
            Self::Timeout(Phase::RequestBody) => "client-slow",
            Self::Timeout(Phase::Total) => "timeout-total",
            Self::Tls(_) => "tls",
            Self::Unavailable(_) => "busy",
        }
    }

    /// Returns true if the backend, or the network to the backend, failed.
    pub(crate) const fn is_backends(&self) -> bool {
        match self {
            Self::BadAnswer(_)
            | Self::Connect(_)
            | Self::Forbidden(_)
            | Self::Timeout(Phase::Body | Phase::Connect | Phase::Head)
            | Self::Tls(_) => true,
            Self::BadRequest(_)
            | Self::Cancelled
            | Self::Loop(_)
            | Self::NoAddress(_)
            | Self::NoMember(_)
            | Self::NotImplemented(_)
            | Self::RequestTooLarge { .. }
            | Self::Timeout(Phase::RequestBody | Phase::Total)
            | Self::Unavailable(_) => false,
        }
    }

    pub(crate) fn unfit(what: &'static str) -> Self {
        Self::BadAnswer(BadAnswer::Unfit(what))
    }

    /// Converts the error of a failed connect, with exhausted resources of the machine kept apart.
    pub(crate) fn connect(error: io::Error) -> Self {
        if error.raw_os_error().is_some_and(|number| OPEN_FILES.contains(&number)) {
            return Self::Unavailable("too many files are open");
        }
        match error.kind() {
            io::ErrorKind::AddrNotAvailable => Self::Unavailable("no local port is left"),
            io::ErrorKind::OutOfMemory => Self::Unavailable("the system is out of memory"),
            io::ErrorKind::TimedOut => Self::Timeout(Phase::Connect),
            _ => Self::Connect(error),
        }
    }
}
