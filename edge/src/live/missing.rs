//! Whether a version has nothing at an address, as far as its files and rules say.

use std::borrow::Cow;

use devanture_config::api::LogLine;
use devanture_site::decide::{End, Request, Untraced, decide};
use http::{HeaderName, Method, StatusCode};

use super::{Current, LiveSite};

/// A request of which the access log kept a line: its fields are not known.
struct Logged<'l> {
    method: Method,
    path: &'l str,
    query: Option<&'l str>,
    host: &'l str,
}

impl<'l> Request<'l> for Logged<'l> {
    fn method(&self) -> &Method {
        &self.method
    }

    fn path(&self) -> &'l str {
        self.path
    }

    fn query(&self) -> Option<&'l str> {
        self.query
    }

    fn host(&self) -> Option<&str> {
        Some(self.host)
    }

    fn field(&self, _name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn path_bytes_max(&self) -> usize {
        self.path.len()
    }
}

/// Whether `current` would answer the request of a line with 404. What a backend would say is not known, and no reason
/// to think so.
pub(crate) fn has_nothing_at(current: &Current, line: &LogLine) -> bool {
    let (path, query) = match line.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (line.target.as_str(), None),
    };
    let Ok(method) = line.method.parse() else { return false };
    let request = Logged { method, path, query, host: &line.host };
    match decide(&LiveSite { current, place: None }, &request, &mut Untraced).end {
        End::Nothing => true,
        End::File { status, .. } => status == StatusCode::NOT_FOUND.as_u16(),
        _ => false,
    }
}
