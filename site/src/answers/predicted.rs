//! A predicted request, of an unknown or a known visitor.

use std::borrow::Cow;

use http::{HeaderName, Method};

use super::Asking;
use super::end::Request;
use crate::decide;

/// Longest accepted path; the edge's own limit is unknown here.
pub(super) const PATH_BYTES_MAX: usize = 65_536;

/// Known properties of the sender of a request.
#[derive(Clone, Copy)]
enum VisitorKnowledge<'q> {
    /// Unknown: any visitor.
    Anybody(Asking),
    /// The sender of the given request.
    Known(&'q Request<'q>),
}

/// A predicted request.
pub struct PredictedRequest<'q> {
    method: Method,
    path: &'q str,
    query: Option<&'q str>,
    who: VisitorKnowledge<'q>,
}

impl<'q> PredictedRequest<'q> {
    /// A request of any visitor.
    pub(super) const fn by_anybody(path: &'q str, query: Option<&'q str>, asking: Asking) -> Self {
        Self { method: Method::GET, path, query, who: VisitorKnowledge::Anybody(asking) }
    }

    /// The given request; an invalid method counts as an unknown one.
    #[must_use]
    pub fn known(request: &'q Request<'q>) -> Self {
        let method = Method::from_bytes(request.method.as_bytes()).or_else(|_| Method::from_bytes(b"UNKNOWN"));
        let (path, query) = (request.path, request.query);
        Self { method: method.unwrap_or_default(), path, query, who: VisitorKnowledge::Known(request) }
    }
}

impl<'q> decide::Request<'q> for PredictedRequest<'q> {
    fn method(&self) -> &Method {
        &self.method
    }

    fn path(&self) -> &'q str {
        self.path
    }

    fn query(&self) -> Option<&'q str> {
        self.query
    }

    fn host(&self) -> Option<&str> {
        match self.who {
            VisitorKnowledge::Anybody(_) => None,
            VisitorKnowledge::Known(request) => Some(request.host),
        }
    }

    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        match self.who {
            VisitorKnowledge::Anybody(_) => None,
            VisitorKnowledge::Known(request) => request.field(name.as_str()),
        }
    }

    fn path_bytes_max(&self) -> usize {
        PATH_BYTES_MAX
    }

    fn may_have_shell(&self, path: &str) -> bool {
        match self.who {
            VisitorKnowledge::Anybody(asking) => asking == Asking::Navigation,
            VisitorKnowledge::Known(_) => decide::may_have_shell(self, path),
        }
    }
}
