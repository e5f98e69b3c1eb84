//! A request, and how it ends.

use std::borrow::Cow;

use super::OwnPath;
use super::notes::Stage;
use crate::fields;
use crate::target::TargetError;

/// A request, as far as its answer depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// The method.
    pub method: &'r str,
    /// The path as it is sent.
    pub path: &'r str,
    /// The query as it is sent.
    pub query: Option<&'r str>,
    /// The host, in lower case, without a port.
    pub host: &'r str,
    /// The fields, their names in lower case.
    pub headers: &'r [(String, String)],
}

impl Request<'_> {
    /// The values of one field, line by line.
    pub(super) fn lines(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        fields::joined(self.lines(name).map(str::as_bytes))
    }
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A backend is asked.
    Backend {
        /// Which.
        to: BackendTo,
        /// For what, as it is sent.
        path_and_query: String,
    },
    /// A file of the bundle, by its number in the order of the manifest.
    File {
        /// The file.
        file: u32,
        /// The status.
        status: u16,
    },
    /// The allowed methods: 204.
    Methods,
    /// 404, without a page of the site.
    Nothing,
    /// The edge itself.
    Own(OwnPath),
    /// A preflight of an origin that `cors` names: 204, in place of a backend.
    Preflight,
    /// The visitor is sent elsewhere.
    Redirect {
        /// The status.
        status: u16,
        /// Where to.
        location: String,
    },
    /// An error.
    Refused(Refused),
}

/// The backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendTo {
    /// The one that a route leads to, by its number in the order in which routes are asked.
    Route(usize),
    /// One of `[upstreams]`, by its origin.
    Origin(String),
}

/// Why a request is answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The path can be none.
    BadTarget(TargetError),
    /// A rule makes no path of it.
    BadRewrite,
    /// Files do not have this method.
    MethodNotAllowed,
    /// Nobody has this method, or none that is sent on.
    MethodUnknown,
    /// The site lets only some see this.
    Unauthorised,
}

impl Refused {
    /// The status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadTarget(TargetError::TooLong) => 414,
            Self::BadTarget(_) | Self::BadRewrite => 400,
            Self::MethodNotAllowed => 405,
            Self::MethodUnknown => 501,
            Self::Unauthorised => 401,
        }
    }
}

/// The decision, and the rule that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The outcome.
    pub end: End,
    /// The stage at which it ends.
    pub stage: Stage,
    /// The rule that led there, by its number.
    pub rule: Option<usize>,
}
