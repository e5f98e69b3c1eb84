//! Errors between a request and a backend's answer, and whose fault they are.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use super::address::Refusal;
use super::http1::Fault;

/// Why a backend's answer did not come, or broke off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backend's: it closed the connection before or within its answer, or what it sent is no HTTP answer. 502.
    #[error("the backend's answer is unusable: {0}")]
    BadAnswer(BadAnswer),
    /// The client's: the request cannot be forwarded as it is, or its body is malformed. 400.
    #[error("the request cannot be forwarded: {0}")]
    BadRequest(&'static str),
    /// The client's: it went away, or broke off its body. 400, in case it still reads; 499 in logs.
    #[error("the client went away")]
    Cancelled,
    /// The backend's or the network's: its name does not resolve, or no connection can be made. 502.
    #[error("the backend cannot be reached: {0}")]
    Connect(#[source] io::Error),
    /// The route's author's: the upstream points where it may not. 502.
    #[error("{0}")]
    Forbidden(#[source] Refusal),
    /// The route's author's: the request comes back to an edge again and again. 508.
    #[error("the request runs in a circle: it has passed {0} edges")]
    Loop(usize),
    /// The client's: a method, or a way to transfer a body, that is not forwarded. 501.
    #[error("{0}")]
    NotImplemented(&'static str),
    /// The client's: its body is longer than `proxy_body_bytes_max`. 413.
    #[error("the request's body is longer than {bytes_max} bytes")]
    RequestTooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// The backend's, except for [`Phase::RequestBody`], which is the client's. 504, or 408 for the client's.
    #[error("{0}")]
    Timeout(Phase),
    /// The backend's: its certificate is not trusted, or no TLS connection comes about. 502.
    #[error("no TLS connection to the backend: {0}")]
    Tls(#[source] io::Error),
    /// The network's: a name of the upstream's has no address. 502.
    #[error("the backend cannot be reached: {0}")]
    NoAddress(String),
    /// The upstream's: it has no backend, or none that is well. 503.
    #[error("no backend is free: {0}")]
    NoMember(&'static str),
    /// The edge's: a limit is reached, of requests to this upstream or of the system. 503.
    #[error("no backend is free: {0}")]
    Unavailable(&'static str),
}

/// Why a request was not answered.
pub(crate) struct Unsent {
    pub(crate) error: Error,
    /// Whether the backend did nothing for it, so that another one may get it.
    pub(crate) is_unsent: bool,
}

/// During what a time limit ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The backend rested too long within its answer's body.
    Body,
    /// No connection came about.
    Connect,
    /// The answer did not begin.
    Head,
    /// The client rested too long within its request's body.
    RequestBody,
    /// The exchange took too long in all.
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

/// An error of an answer.
#[derive(Debug)]
pub enum BadAnswer {
    /// Errors of the HTTP/2 connection.
    Http(hyper::Error),
    /// The same of HTTP/1.1.
    Http1(Fault),
    /// It holds something that cannot be passed on.
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
    /// Whether the other side closed the connection before an answer came, rather than answered badly.
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

/// The system's numbers for "too many open files", of the process and of the machine.
const OPEN_FILES: [i32; 2] = [24, 23];

impl Error {
    /// The word for it in logs, metrics and problems.
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

    /// Whether it is the backend, or the way to it, that failed.
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

    /// A connection that could not be made, unless it is this machine that has run out of something.
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
