//! Confines to an app the fields that browsers remember, set by a backend or by a rule of the site (law 11).
//!
//! Browsers apply some response fields beyond the host: to a parent domain shared by apps, or to subdomains. A field
//! that reaches beyond the host is removed wherever other apps may have names.

use http::header::{ALT_SVC, SET_COOKIE, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::live::Neighbours;

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
/// RFC 2965. Obsolete in browsers, but with a `Domain` of its own.
const SET_COOKIE_2: HeaderName = HeaderName::from_static("set-cookie2");
/// Fields that can apply to all subdomains of a host and that no app needs: reports of failures (Network Error Logging
/// §4, Reporting API v0 §3.1), and key pins (RFC 7469 §2.1.3).
const OF_SUBDOMAINS: [HeaderName; 4] = [
    HeaderName::from_static("nel"),
    HeaderName::from_static("public-key-pins"),
    HeaderName::from_static("public-key-pins-report-only"),
    HeaderName::from_static("report-to"),
];

/// Confines a response of `host` to the host; `host` is in lower case, without a port.
pub(super) fn confine(headers: &mut HeaderMap, host: &str, neighbours: Neighbours) {
    headers.remove(SET_COOKIE_2);
    // Only the edge advertises endpoints: browsers would follow the field elsewhere, such as to an internal port of the
    // edge, and prefer that endpoint for the lifetime of the field.
    headers.remove(ALT_SVC);
    cookies(headers, host, neighbours);
    if neighbours == Neighbours::None {
        return;
    }
    clearing(headers);
    if neighbours == Neighbours::Below {
        for name in &OF_SUBDOMAINS {
            headers.remove(name);
        }
        hsts_of_host(headers);
    }
}

/// Removes a rule's `Strict-Transport-Security` if the field would bind a hostname given by the edge or a certificate
/// that is not publicly trusted: a browser that remembers the field could not come back to the host.
pub(super) fn hsts(headers: &mut HeaderMap, binds_host: bool) {
    if !binds_host {
        headers.remove(STRICT_TRANSPORT_SECURITY);
    }
}

/// Removes `Domain` from every cookie that could be sent to a hostname other than `host` and its subdomains, if the
/// subdomains belong to the app alone; without the attribute, the cookie stays with `host` (RFC 6265 §5.3, step 6).
fn cookies(headers: &mut HeaderMap, host: &str, neighbours: Neighbours) {
    let is_confined = |cookie: &HeaderValue| is_confined(cookie.as_bytes(), host, neighbours);
    if headers.get_all(SET_COOKIE).iter().all(is_confined) {
        return;
    }
    let cookies: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    for cookie in cookies {
        let confined = match is_confined(&cookie) {
            true => Some(cookie),
            false => HeaderValue::from_bytes(&without_domain(cookie.as_bytes())).ok(),
        };
        // A cookie that cannot be written without its `Domain` is dropped.
        headers.extend(confined.map(|cookie| (SET_COOKIE, cookie)));
    }
}

/// Removes `Clear-Site-Data` if the field would clear cookies below a domain shared by apps, including those of
/// neighbours (Clear Site Data §3.1).
fn clearing(headers: &mut HeaderMap) {
    let clears = |value: &HeaderValue| {
        let value = value.as_bytes().to_ascii_lowercase();
        value.contains(&b'*') || value.windows(7).any(|word| word == b"cookies")
    };
    if headers.get_all(CLEAR_SITE_DATA).iter().any(clears) {
        headers.remove(CLEAR_SITE_DATA);
    }
}

/// Restricts `Strict-Transport-Security` to the host: `includeSubDomains`, and `preload`, which presupposes the former,
/// would bind the apps below the host (RFC 6797 §6.1.2).
fn hsts_of_host(headers: &mut HeaderMap) {
    let Some(value) = headers.get(STRICT_TRANSPORT_SECURITY) else { return };
    let parts = value.as_bytes().split(|&byte| byte == b';');
    let kept: Vec<&[u8]> =
        parts.filter(|part| !is_named(part, b"includesubdomains") && !is_named(part, b"preload")).collect();
    match HeaderValue::from_bytes(&kept.join(&b';')) {
        Ok(value) => drop(headers.insert(STRICT_TRANSPORT_SECURITY, value)),
        Err(_) => drop(headers.remove(STRICT_TRANSPORT_SECURITY)),
    }
}

/// Returns true if a `Set-Cookie` reaches only `host` and its own subdomains.
///
/// Browsers map the value of `Domain` to ASCII before the comparison: full-width letters, ideographic full stops, soft
/// hyphens and percent-encoded bytes turn into names of other apps (UTS #46). So the value must equal the name of
/// `host` in ASCII, after the one leading dot that RFC 6265 §5.2.3 ignores.
fn is_confined(cookie: &[u8], host: &str, neighbours: Neighbours) -> bool {
    attributes(cookie).filter_map(domain).all(|domain| {
        let domain = domain.strip_prefix(b".").unwrap_or(domain);
        neighbours != Neighbours::Below && domain.eq_ignore_ascii_case(host.as_bytes())
    })
}

/// The attributes of a cookie after name and value. Quotes have no meaning to browsers here.
fn attributes(cookie: &[u8]) -> impl Iterator<Item = &[u8]> {
    cookie.split(|&byte| byte == b';').skip(1)
}

/// The value of a `Domain` attribute.
fn domain(part: &[u8]) -> Option<&[u8]> {
    if !is_named(part, b"domain") {
        return None;
    }
    let equals = part.iter().position(|&byte| byte == b'=')?;
    part.get(equals + 1..).map(<[u8]>::trim_ascii)
}

/// Returns true if the attribute's name is `name`, in lower case. Only letters are compared: bytes that a client may
/// trim or ignore in a name never make another name.
fn is_named(part: &[u8], name: &[u8]) -> bool {
    let letters = part.iter().take_while(|&&byte| byte != b'=').filter(|byte| byte.is_ascii_alphabetic());
    letters.map(u8::to_ascii_lowercase).eq(name.iter().copied())
}

fn without_domain(cookie: &[u8]) -> Vec<u8> {
    let parts = cookie.split(|&byte| byte == b';').enumerate();
    let kept: Vec<&[u8]> =
        parts.filter(|(place, part)| *place == 0 || !is_named(part, b"domain")).map(|(_, part)| part).collect();
    kept.join(&b';')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "shop.example.app";

    /// The confined value of a field of a response of `host`.
    fn left(name: HeaderName, value: &[u8], host: &str, neighbours: Neighbours) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        headers.append(name.clone(), HeaderValue::from_bytes(value).unwrap());
        confine(&mut headers, host, neighbours);
        headers.get(name).map(|value| value.as_bytes().to_vec())
    }

    #[test]
    fn law_11_no_app_clears_the_cookies_of_its_neighbours() {
        use Neighbours as N;
        for (value, neighbours, stays) in [
            ("\"cache\"", N::Beside, true),
            ("\"cache\", \"cookies\"", N::Beside, false),
            ("\"cache\",\"Cookies\"", N::Beside, false),
            ("\"*\"", N::Beside, false),
            ("\"*\"", N::Below, false),
            ("\"cookies\"", N::None, true),
        ] {
            let left = left(CLEAR_SITE_DATA, value.as_bytes(), HOST, neighbours);
            assert_eq!(left.is_some(), stays, "{value} {neighbours:?}");
        }
    }

    #[test]
    fn law_11_a_cookie_stays_with_the_app_that_set_it() {
        for (cookie, confined) in [
            ("a=1; Domain=example.app; Path=/", "a=1; Path=/"),
            ("a=1; domain=.Example.App", "a=1"),
            ("a=1; Secure; DOMAIN = app ; HttpOnly", "a=1; Secure; HttpOnly"),
            ("a=1; Domain=shop.example.app", "a=1; Domain=shop.example.app"),
            ("a=1; Domain=.Shop.Example.App", "a=1; Domain=.Shop.Example.App"),
            ("a=1; Domain=..shop.example.app", "a=1"),
            ("a=1; Domain=shop.example.app.", "a=1"),
            ("a=1; Domain=\"shop.example.app\"", "a=1"),
            ("a=1; Domain=other.example.app", "a=1"),
            ("a=1; Domain=ple.app", "a=1"),
            ("a=1; Domain=", "a=1"),
            ("a=1; Domain", "a=1; Domain"),
            ("domain=example.app; Path=/", "domain=example.app; Path=/"),
            ("; Domain=example.app", ""),
            ("a=1; Domain=shop.example.app; Domain=example.app", "a=1"),
            ("a=1; Domain=example.app; Domain=shop.example.app", "a=1"),
            ("a=\"1; Domain=example.app\"", "a=\"1"),
            ("a=1, b=2; Domain=example.app", "a=1, b=2"),
            ("a=1; Path=/, b=2; Domain=example.app", "a=1; Path=/, b=2"),
            ("a=1; \u{a0}Domain\u{a0}=example.app", "a=1"),
            ("a=1; \"Domain\"=example.app", "a=1"),
            ("a=\u{e9}; Domain=example.app; Path=/", "a=\u{e9}; Path=/"),
            // Values that browsers map to `example.app`, or to the host itself.
            ("a=1; Domain=\u{ff45}xample.app", "a=1"),
            ("a=1; Domain=example\u{3002}app", "a=1"),
            ("a=1; Domain=example\u{ff0e}app", "a=1"),
            ("a=1; Domain=example\u{ff61}app", "a=1"),
            ("a=1; Domain=exa\u{ad}mple.app", "a=1"),
            ("a=1; Domain=exa\u{200b}mple.app", "a=1"),
            ("a=1; Domain=ex%61mple.app", "a=1"),
            ("a=1; Domain=\u{24d4}xample.app", "a=1"),
            ("a=1; Domain=shop\u{3002}example.app", "a=1"),
            ("a=1; Domain=\u{3002}shop.example.app", "a=1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(SET_COOKIE, HeaderValue::from_static("first=1"));
            headers.append(SET_COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).unwrap());
            headers.append(SET_COOKIE_2, HeaderValue::from_static("a=1; Domain=example.app"));
            confine(&mut headers, HOST, Neighbours::Beside);
            let all: Vec<&[u8]> = headers.get_all(SET_COOKIE).iter().map(HeaderValue::as_bytes).collect();
            assert_eq!(all, [b"first=1", confined.as_bytes()], "{cookie}");
            assert!(!headers.contains_key(SET_COOKIE_2));
        }
        // Invalid UTF-8.
        let cookie = left(SET_COOKIE, b"a=1; Domain=exa\xadmple.app", HOST, Neighbours::Beside);
        assert_eq!(cookie.as_deref(), Some(b"a=1".as_slice()));
    }

    #[test]
    fn law_11_nothing_of_a_parent_of_hostnames_holds_for_the_apps_below_it() {
        for (name, value, alone, below) in [
            (SET_COOKIE, "a=1; Domain=example.app; Secure", true, Some("a=1; Secure")),
            (STRICT_TRANSPORT_SECURITY, "max-age=1; includeSubDomains; preload", true, Some("max-age=1")),
            (STRICT_TRANSPORT_SECURITY, "includesubdomains;max-age=1", true, Some("max-age=1")),
            (STRICT_TRANSPORT_SECURITY, "max-age=1", true, Some("max-age=1")),
            (HeaderName::from_static("nel"), "{\"include_subdomains\":true}", true, None),
            (HeaderName::from_static("report-to"), "{\"include_subdomains\":true}", true, None),
            (HeaderName::from_static("public-key-pins"), "max-age=1; includeSubDomains", true, None),
        ] {
            let left = |neighbours| left(name.clone(), value.as_bytes(), "example.app", neighbours);
            assert_eq!(left(Neighbours::None).is_some_and(|left| left == value.as_bytes()), alone, "{name}: {value}");
            assert_eq!(left(Neighbours::Below).as_deref(), below.map(str::as_bytes), "{name}: {value}");
        }
    }
}
