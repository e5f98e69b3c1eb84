//! Keeps an app's cookies with the app: a backend's `Set-Cookie` reaches no hostname beside its own (law 11).

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};

/// Removes `Domain` from every `Set-Cookie` that would reach a parent of `host`, so that it stays with `host`.
///
/// `host` is in lower case, without a port. A cookie that names `host` itself, and so reaches the names below it alone,
/// is left as it is, and so is one that no browser would take for `host` at all.
pub(super) fn confine(headers: &mut HeaderMap, host: &str) {
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
            confine(&mut headers, "shop.example.app");
            let all: Vec<&[u8]> = headers.get_all(SET_COOKIE).iter().map(HeaderValue::as_bytes).collect();
            assert_eq!(all, [b"first=1", confined.as_bytes()], "{cookie}");
        }
    }
}
