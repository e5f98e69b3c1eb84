//! Fields by which a browser identifies a request: session cookie, host, origin.
//!
//! A request with the cookie must come from a page of the same origin. `Sec-Fetch-Site` (Fetch Metadata) proves the
//! origin, since no page can set the field: a foreign site, or an app on a different hostname or port, cannot make a
//! browser send an accepted request.

use devanture_config::api::SESSION_COOKIE;
use devanture_config::problem::{Code, Problem};
use http::header::{COOKIE, HOST};
use http::uri::Authority;
use http::{HeaderMap, Method, Uri};

use crate::ledger::Error;

/// Host of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestHost {
    /// Hostname, in lower case, without the final dot.
    pub(super) name: String,
    /// Port, if the request names a port.
    pub(super) port: Option<u16>,
}

impl RequestHost {
    /// Reads the host; `None` without exactly one.
    pub(super) fn of(headers: &HeaderMap, uri: &Uri) -> Option<Self> {
        let field = only(headers, HOST.as_str()).and_then(|field| field.parse::<Authority>().ok());
        // HTTP/2 carries the host in the URI.
        let authority = uri.authority().cloned().or(field)?;
        let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
        Some(Self { name, port: authority.port_u16() })
    }
}

/// Returns the value of a field with a single occurrence.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}

/// Returns the value of the session cookie; `None` unless exactly one cookie has its name.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    // Split by bytes: foreign cookies in the same field may contain any byte.
    let pairs = headers.get_all(COOKIE).iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    let value_of = |pair| <[u8]>::trim_ascii(pair).strip_prefix(SESSION_COOKIE.as_bytes())?.strip_prefix(b"=");
    let mut values = pairs.filter_map(value_of);
    let value = values.next().filter(|_| values.next().is_none())?;
    std::str::from_utf8(value).ok()
}

/// Checks `Sec-Fetch-Site`: same origin, or a user who opens the address.
///
/// # Errors
/// `cross_site`.
pub(super) fn check_site(method: &Method, headers: &HeaderMap) -> Result<(), Error> {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    match only(headers, "sec-fetch-site") {
        Some("same-origin") => Ok(()),
        Some("none") if is_read && only(headers, "sec-fetch-mode") == Some("navigate") => Ok(()),
        _ => Err(Problem::new(Code::CrossSite, "The request does not come from a page of this edge.")
            .hint("a session is for browsers, which say `Sec-Fetch-Site: same-origin`; programs send a token")
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn one_cookie_of_the_name_counts_and_of_two_none() {
        let one = |value: &str| cookie(&headers(&[("cookie", value)])).map(str::to_owned);
        assert_eq!(one("a=b; __Host-Http-devanture-session=x; c=d").as_deref(), Some("x"));
        assert_eq!(one("__Host-Http-devanture-session=dvs_1_2").as_deref(), Some("dvs_1_2"));
        // A foreign cookie that is not ASCII.
        let beside = http::HeaderValue::from_bytes(b"x=\xe9\xff; __Host-Http-devanture-session=y").unwrap();
        assert_eq!(cookie(&HeaderMap::from_iter([(COOKIE, beside)])), Some("y"));
        let others =
            ["", "a=b", "__host-http-devanture-session=x", "x__Host-Http-devanture-session=x", "devanture-session=x"];
        for other in others {
            assert_eq!(one(other), None, "{other}");
        }
        assert_eq!(one("__Host-Http-devanture-session=x; __Host-Http-devanture-session=y"), None);
        let twice = [("cookie", "__Host-Http-devanture-session=x"), ("cookie", "__Host-Http-devanture-session=x")];
        assert_eq!(cookie(&headers(&twice)), None);
    }

    #[test]
    fn a_request_comes_from_this_origin_or_is_an_address_that_its_user_opens() {
        let check = |method: Method, fields: &[(&'static str, &str)]| check_site(&method, &headers(fields)).is_ok();
        let (site, mode) = ("sec-fetch-site", "sec-fetch-mode");
        assert!(check(Method::POST, &[(site, "same-origin")]));
        assert!(check(Method::GET, &[(site, "none"), (mode, "navigate")]));
        assert!(check(Method::HEAD, &[(site, "none"), (mode, "navigate")]));
        assert!(!check(Method::GET, &[(site, "none")]));
        assert!(!check(Method::GET, &[(site, "none"), (mode, "cors")]));
        assert!(!check(Method::POST, &[(site, "none"), (mode, "navigate")]));
        assert!(!check(Method::GET, &[(site, "same-origin"), (site, "same-origin")]));
        for other in ["same-site", "cross-site", "", "Same-Origin", "same-origin, same-origin"] {
            assert!(!check(Method::GET, &[(site, other), (mode, "navigate")]), "{other}");
            assert!(!check(Method::POST, &[(site, other)]), "{other}");
        }
        assert!(!check(Method::GET, &[]));
    }

    #[test]
    fn a_host_has_neither_case_nor_a_last_dot() {
        for (field, uri, expected) in [
            ("Edge.Example:8444", "/", Some(("edge.example", Some(8_444)))),
            ("a.example", "https://b.example:1/", Some(("b.example", Some(1)))),
            ("edge.example.", "/", Some(("edge.example", None))),
            ("[::1]:8444", "/", Some(("[::1]", Some(8_444)))),
            ("a b", "/", None),
        ] {
            let found = RequestHost::of(&headers(&[("host", field)]), &uri.parse().unwrap());
            let expected = expected.map(|(name, port): (&str, _)| RequestHost { name: name.to_owned(), port });
            assert_eq!(found, expected, "{field}");
        }
        assert_eq!(RequestHost::of(&headers(&[("host", "a"), ("host", "a")]), &"/".parse().unwrap()), None);
    }
}
