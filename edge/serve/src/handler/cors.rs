//! Access of pages of another origin, such as a frontend on a development server, to an environment's backends: the
//! protocol of the Fetch Standard (section 3.2), only for the origins that `cors` names.

use std::sync::Arc;

use devanture_site::cache;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, HeaderName, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::decision::{Decision, Head, SmallAnswer};
use super::header_rules::HeaderRules;
use crate::live::Current;
use crate::version::Version;
use devanture_http::Fields;

/// Lifetime of a preflight's result in a browser, in seconds: short enough to wait for after a change of the list.
const MAX_AGE_S: u64 = 600;
/// Fields that the response to a preflight depends on.
const PREFLIGHT_VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
/// Response fields that every page may read without permission (section 2.2.2 of the standard).
const SAFELISTED: [&str; 7] =
    ["cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma"];

/// The origin of a request, if allowed by the version.
pub(super) fn origin(fields: Fields<'_>, version: &Version) -> Option<HeaderValue> {
    if version.cors.is_empty() {
        return None;
    }
    let name = ORIGIN;
    let mut lines = fields.get_all(&name);
    let (Some(origin), None) = (lines.next(), lines.next()) else { return None };
    version.cors.iter().find(|named| named.as_bytes() == origin).cloned()
}

/// Answers a preflight in place of the backend.
pub(super) fn preflight(head: &Head<'_>, current: &Arc<Current>, custom_host: bool) -> Option<Decision> {
    let method = HeaderValue::from_bytes(head.fields.get(&ACCESS_CONTROL_REQUEST_METHOD)?).ok()?;
    let origin = origin(head.fields, &current.version)?;
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    // `*` is no wildcard with credentials, so the requested names are repeated.
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method);
    for names in head.fields.get_all(&ACCESS_CONTROL_REQUEST_HEADERS) {
        if let Ok(names) = HeaderValue::from_bytes(names) {
            headers.append(ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(MAX_AGE_S));
    headers.insert(VARY, HeaderValue::from_static(PREFLIGHT_VARY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache::NEVER));
    let (status, ruled, body) = (StatusCode::NO_CONTENT, HeaderRules::default(), bytes::Bytes::new());
    let current = Some(Arc::clone(current));
    Some(SmallAnswer { status, headers, body, current, ruled, custom_host, status_page: None }.into())
}

/// Lets a page of `origin` read a whole response, in place of the backend's fields; also for errors of the edge.
pub(super) fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    let of_backend = |name: &&HeaderName| name.as_str().starts_with("access-control-");
    let doomed: Vec<HeaderName> = headers.keys().filter(of_backend).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
    let mut exposed = String::new();
    for name in headers.keys().map(HeaderName::as_str) {
        // No page may ever read cookies.
        if SAFELISTED.contains(&name) || matches!(name, "set-cookie" | "set-cookie2") {
            continue;
        }
        if !exposed.is_empty() {
            exposed.push_str(", ");
        }
        exposed.push_str(name);
    }
    if let Ok(exposed) = HeaderValue::try_from(exposed) {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    let says_so = |line: &HeaderValue| {
        let mut words = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        words.any(|word| word == b"*" || word.eq_ignore_ascii_case(b"origin"))
    };
    if !headers.get_all(VARY).iter().any(says_so) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backend_says_is_replaced_and_everything_can_be_read_but_cookies() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("access-control-allow-origin", "*"),
            ("access-control-expose-headers", "x-other"),
            ("access-control-max-age", "1"),
            ("set-cookie", "a=1"),
            ("vary", "accept, ORIGIN"),
            ("x-total", "7"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        allow(&mut headers, HeaderValue::from_static("http://localhost:5173"));
        let values = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(values("access-control-allow-origin"), ["http://localhost:5173"]);
        assert_eq!(values("access-control-allow-credentials"), ["true"]);
        assert_eq!(values("access-control-max-age"), Vec::<&str>::new());
        let mut exposed: Vec<&str> = values("access-control-expose-headers")[0].split(", ").collect();
        exposed.sort_unstable();
        assert_eq!(exposed, ["vary", "x-total"]);
        assert_eq!(values("vary"), ["accept, ORIGIN"]);
    }
}
