//! A request, and its end.

use std::borrow::Cow;

use crate::decide::{OwnPath, Refused, Stage};
use crate::fields;

/// A request, as an input of the decision.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// The method.
    pub method: &'r str,
    /// The path as sent.
    pub path: &'r str,
    /// The query as sent.
    pub query: Option<&'r str>,
    /// The host, in lower case, without a port.
    pub host: &'r str,
    /// The fields, with names in lower case.
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
    /// A request to a backend.
    Backend {
        /// The backend.
        to: BackendTo,
        /// The target, as forwarded.
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
    /// A response of the edge itself.
    Own(OwnPath),
    /// A preflight of an origin in `cors`: 204, in place of a backend.
    Preflight,
    /// A redirect.
    Redirect {
        /// The status.
        status: u16,
        /// The target.
        location: String,
    },
    /// An error.
    Refused(Refused),
}

/// The backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendTo {
    /// The backend of a route, by the route's number in the order of matching.
    Route(usize),
    /// A member of `[upstreams]`, by its origin.
    Origin(String),
}

/// The decision, and the rule that led there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The outcome.
    pub end: End,
    /// The deciding stage.
    pub stage: Stage,
    /// The number of the deciding rule.
    pub rule: Option<usize>,
}
