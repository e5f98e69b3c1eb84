//! Keeps an app's cookies with the app: a backend's `Set-Cookie` reaches no hostname beside its own (law 11).

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};

/// Removes `Domain` from every `Set-Cookie` that would reach a parent of `host`, so that it stays with `host`.
///
/// `host` is in lower case, without a port. A cookie that names `host` itself, and so reaches the names below it alone,
/// is left as it is, and so is one that no browser would take for `host` at all.
pub(super) fn confine(headers: &mut HeaderMap, host: &str) {
    let reaches = |value: &HeaderValue| value.to_str().is_ok_and(|cookie| reaches_a_parent(cookie, host));
    if !headers.get_all(SET_COOKIE).iter().any(reaches) {
        return;
    }
    let cookies: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    for cookie in cookies {
        let confined = match cookie.to_str() {
            Ok(text) if reaches_a_parent(text, host) => HeaderValue::from_str(&without_domain(text)).unwrap_or(cookie),
            _ => cookie,
        };
        headers.append(SET_COOKIE, confined);
    }
}

/// The value of a `Domain` attribute (RFC 6265 §5.2.3): without its leading dot, in lower case.
fn domain(attribute: &str) -> Option<String> {
    let (name, value) = attribute.split_once('=')?;
    let value = value.trim();
    name.trim()
        .eq_ignore_ascii_case("domain")
        .then(|| value.strip_prefix('.').unwrap_or(value).trim_end_matches('.').to_ascii_lowercase())
}

fn reaches_a_parent(cookie: &str, host: &str) -> bool {
    // Browsers take the last of several; any of them is reason enough.
    cookie.split(';').skip(1).filter_map(domain).any(|domain| {
        let below = host.strip_suffix(domain.as_str());
        !domain.is_empty() && below.is_some_and(|below| below.ends_with('.'))
    })
}

fn without_domain(cookie: &str) -> String {
    let kept = cookie.split(';').enumerate().filter(|(place, part)| *place == 0 || domain(part).is_none());
    kept.map(|(_, part)| part).collect::<Vec<_>>().join(";")
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
        ] {
            let mut headers = HeaderMap::new();
            headers.append(SET_COOKIE, HeaderValue::from_static("first=1"));
            headers.append(SET_COOKIE, HeaderValue::from_str(cookie).unwrap());
            confine(&mut headers, "shop.example.app");
            let all: Vec<&str> = headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(all, ["first=1", confined], "{cookie}");
        }
    }
}
