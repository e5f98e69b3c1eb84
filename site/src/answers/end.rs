//! A request, and how it ends.

use std::borrow::Cow;

use crate::decide::{OwnPath, Refused, Stage};
use crate::fields;

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
    pub(super) fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        fields::joined(self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_bytes()))
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
