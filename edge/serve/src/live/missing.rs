//! Detects addresses without content in a version, by its files and rules.

use devanture_config::api::LogLine;
use devanture_site::answers::{PredictedRequest, Request};
use devanture_site::decide::{End, Untraced, decide};
use http::StatusCode;

use super::{Current, LiveSite};

/// Returns true if `current` would answer a log line's request with 404, without the fields, which the line lacks. The
/// response of a backend is unknown and does not count as a 404.
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
