//! Keeps with an app what it tells browsers to keep, whether a backend or a rule of the site says it (law 11).

use http::header::{SET_COOKIE, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::site::fields;

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// Removes `Domain` from every `Set-Cookie` that would reach a parent of `host`, so that it stays with `host`.
///
/// `host` is in lower case, without a port. A cookie that names `host` itself, and so reaches the names below it alone,
/// is left as it is, and so is one that no browser would take for `host` at all.
pub(super) fn cookies(headers: &mut HeaderMap, host: &str) {
    if !headers.get_all(SET_COOKIE).iter().any(|value| reaches_a_parent(value.as_bytes(), host)) {
        return;
    }
    let cookies: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    for cookie in cookies {
        let confined = match reaches_a_parent(cookie.as_bytes(), host) {
            true => HeaderValue::from_bytes(&without_domain(cookie.as_bytes())).unwrap_or(cookie),
            false => cookie,
        };
        headers.append(SET_COOKIE, confined);
    }
}

/// Removes `Strict-Transport-Security` where it would hold for a hostname that the app has from the edge, or whose
/// certificate nobody else trusts: a browser that keeps it could not come back to such a one.
pub(super) fn hsts(headers: &mut HeaderMap, binds_host: bool) {
    if !binds_host {
        headers.remove(STRICT_TRANSPORT_SECURITY);
    }
}

/// Removes `Clear-Site-Data` where it would clear cookies below a domain that apps share: those of the neighbours would
/// go too (Clear Site Data §3.1).
pub(super) fn clearing(headers: &mut HeaderMap, custom_host: bool) {
    let clears = |value: &HeaderValue| {
        fields::members(value.as_bytes()).any(|member| matches!(member, b"\"cookies\"" | b"\"*\""))
    };
    if !custom_host && headers.get_all(CLEAR_SITE_DATA).iter().any(clears) {
        headers.remove(CLEAR_SITE_DATA);
    }
}

/// The value of a `Domain` attribute (RFC 6265 §5.2.3): without its leading dot, in lower case.
fn domain(attribute: &[u8]) -> Option<String> {
    let attribute = String::from_utf8_lossy(attribute);
    let (name, value) = attribute.split_once('=')?;
    let value = value.trim();
    name.trim()
        .eq_ignore_ascii_case("domain")
        .then(|| value.strip_prefix('.').unwrap_or(value).trim_end_matches('.').to_ascii_lowercase())
}

/// A field may hold bytes that are not ASCII (RFC 9110 §5.5), and browsers read a cookie with such ones all the same.
fn reaches_a_parent(cookie: &[u8], host: &str) -> bool {
    // Browsers take the last of several; any of them is reason enough.
    cookie.split(|&byte| byte == b';').skip(1).filter_map(domain).any(|domain| {
        let below = host.strip_suffix(domain.as_str());
        !domain.is_empty() && below.is_some_and(|below| below.ends_with('.'))
    })
}

fn without_domain(cookie: &[u8]) -> Vec<u8> {
    let parts = cookie.split(|&byte| byte == b';').enumerate();
    let kept: Vec<&[u8]> =
        parts.filter(|(place, part)| *place == 0 || domain(part).is_none()).map(|(_, p)| p).collect();
    kept.join(&b';')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_11_no_app_clears_the_cookies_of_its_neighbours() {
        for (value, custom_host, stays) in [
            ("\"cache\"", false, true),
            ("\"cache\", \"cookies\"", false, false),
            ("\"*\"", false, false),
            ("\"cookies\"", true, true),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(CLEAR_SITE_DATA, HeaderValue::from_static(value));
            clearing(&mut headers, custom_host);
            assert_eq!(headers.contains_key(CLEAR_SITE_DATA), stays, "{value} {custom_host}");
        }
    }

    #[test]
    fn law_11_a_cookie_stays_with_the_app_that_set_it() {
        for (cookie, confined) in [
            ("a=1; Domain=example.app; Path=/", "a=1; Path=/"),
            ("a=1; domain=.Example.App", "a=1"),
            ("a=1; Secure; DOMAIN = app ; HttpOnly", "a=1; Secure; HttpOnly"),
            ("a=1; Domain=shop.example.app", "a=1; Domain=shop.example.app"),
            ("a=1; Domain=.shop.example.app", "a=1; Domain=.shop.example.app"),
            ("a=1; Domain=other.example.app", "a=1; Domain=other.example.app"),
            ("a=1; Domain=ple.app", "a=1; Domain=ple.app"),
            ("a=1; Domain=", "a=1; Domain="),
            ("domain=example.app; Path=/", "domain=example.app; Path=/"),
            ("a=1; Domain=shop.example.app; Domain=example.app", "a=1"),
            ("a=\u{e9}; Domain=example.app; Path=/", "a=\u{e9}; Path=/"),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(SET_COOKIE, HeaderValue::from_static("first=1"));
            headers.append(SET_COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).unwrap());
            cookies(&mut headers, "shop.example.app");
            let all: Vec<&[u8]> = headers.get_all(SET_COOKIE).iter().map(HeaderValue::as_bytes).collect();
            assert_eq!(all, [b"first=1", confined.as_bytes()], "{cookie}");
        }
    }
}
