//! Whether a version has nothing at an address, as far as its files and rules say.

use devanture_config::api::LogLine;
use devanture_site::answers::{PredictedRequest, Request};
use devanture_site::decide::{End, Untraced, decide};
use http::StatusCode;

use super::{Current, LiveSite};

/// Whether `current` would answer the request of a line with 404, without the fields, which the line does not have.
/// What a backend would say is not known, and no reason to think so.
pub fn has_nothing_at(current: &Current, line: &LogLine) -> bool {
    let (path, query) = match line.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (line.target.as_str(), None),
    };
    let request = Request { method: &line.method, path, query, host: &line.host, headers: &[] };
    match decide(&LiveSite { current, place: None }, &PredictedRequest::known(&request), &mut Untraced).end {
        End::Nothing => true,
        End::File { status, .. } => status == StatusCode::NOT_FOUND.as_u16(),
        _ => false,
    }
}
