//! The authority of a request, and its host.

use std::borrow::Cow;

use devanture_config::Hostname;
use http::header::HOST;
use http::{Method, Request, Version};

use super::refused::Refused;
use devanture_http::{Fields, Names, RequestHead};

/// Fields that few requests of HTTP/2 and HTTP/3 have.
const HOSTS: Names = Names::of(&["host"]);

/// The scheme of all served content, as clients write the name.
const HTTPS: &str = "https";

/// The head of a request from hyper's type.
pub(super) fn head_of<B>(request: &Request<B>) -> RequestHead<'_> {
    let uri = request.uri();
    RequestHead {
        version: request.version(),
        method: request.method(),
        scheme: uri.scheme_str(),
        authority: uri.authority().map(http::uri::Authority::as_str),
        path: uri.path(),
        query: uri.query(),
        fields: Fields::Map(request.headers()),
    }
}

/// The authority of a request: the authority of an absolute target, the usual form in HTTP/2 and HTTP/3, before `Host`.
///
/// RFC 9112 §3.2: HTTP/1.1 must have one line `Host` with a valid value, even if the target's own authority counts
/// (§3.2.2). RFC 9113 §8.3.1, RFC 9114 §4.3.1: in HTTP/2 and HTTP/3, `Host` may be absent and must not differ.
pub(super) fn authority<'r>(request: &RequestHead<'r>) -> Result<&'r str, Refused> {
    let name = HOST;
    let mut lines = request.fields.get_all(&name);
    let sound = |host: &'r [u8]| str::from_utf8(host).ok().filter(|host| is_authority(host)).ok_or(Refused::BadHost);
    let host = match (lines.next(), lines.next()) {
        (Some(host), None) => Some(sound(host)?),
        (None, _) if request.version == Version::HTTP_11 => return Err(Refused::BadHost),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(Refused::BadHost),
    };
    let target = request.authority;
    // RFC 9112 §3.2.3: a target that is an authority alone belongs to CONNECT.
    if target.is_some() && request.scheme.is_none() && *request.method != Method::CONNECT {
        return Err(Refused::BadTarget);
    }
    if let (Some(target), Some(host)) = (target, host)
        && request.version >= Version::HTTP_2
        && !without_default_port(target).eq_ignore_ascii_case(without_default_port(host))
    {
        return Err(Refused::BadHost);
    }
    // RFC 9110 §4.2.1: an empty host is invalid; §4.2.4: user information in the authority is an error.
    let authority = target.or(host).filter(|authority| is_authority(authority) && !hostname(authority).is_empty());
    authority.ok_or(Refused::BadHost)
}

/// The authority of a request over TLS, whose target must be `https` if the target has a scheme.
///
/// RFC 9110 §7.4, §15.5.20: `http` with the same host is another origin, like every other scheme, and no connection
/// over TLS is valid for another origin. Serving such a request as `https` would let caches and filters in front of the
/// edge confuse the two origins. A trusted proxy may forward cleartext requests over a connection of its own.
pub(super) fn authority_over_tls<'r>(
    request: &RequestHead<'r>,
    is_trusted: impl FnOnce() -> bool,
) -> Result<&'r str, Refused> {
    let authority = authority(request)?;
    let is = |name: &str| request.scheme.is_none_or(|scheme| scheme.eq_ignore_ascii_case(name));
    match is(HTTPS) || is("http") && is_trusted() {
        true => Ok(authority),
        false => Err(Refused::NotHttps),
    }
}

/// The authority of a valid request, as sent.
pub(super) fn sent_authority<'r>(request: &RequestHead<'r>) -> &'r str {
    let name = HOST;
    let host = || str::from_utf8(request.fields.get(&name)?).ok();
    request.authority.or_else(host).unwrap_or_default()
}

/// Longest authority that is remembered, in bytes: a name of 253 (RFC 1035 §2.3.4), its final dot, and a port.
const REMEMBERED_BYTES_MAX: usize = 260;

/// The host of a connection's last request: the next request mostly names the same host, and needs no parsing.
#[derive(Debug, Default)]
pub(super) struct LastHost {
    /// A valid authority; empty if absent.
    authority: String,
    host: String,
}

/// Comparison of a request's host with the host of the last request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SameHost {
    Yes,
    No,
}

impl LastHost {
    /// Resolves the authority of `request`, as [`authority_over_tls`] does.
    pub(super) fn find(
        &mut self,
        request: &RequestHead<'_>,
        is_trusted: impl FnOnce() -> bool,
    ) -> Result<SameHost, Refused> {
        if self.is_of(request) {
            return Ok(SameHost::Yes);
        }
        self.forget();
        let authority = authority_over_tls(request, is_trusted)?;
        // A longer authority is parsed for each request.
        if authority.len() <= REMEMBERED_BYTES_MAX {
            self.authority.push_str(authority);
        }
        self.host.push_str(&hostname(authority));
        Ok(SameHost::No)
    }

    /// The name in the authority, see [`hostname`]; empty for a refused request.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Returns true if the request repeats the authority, without a second field that would have to agree.
    fn is_of(&self, request: &RequestHead<'_>) -> bool {
        if self.authority.is_empty() {
            return false;
        }
        let name = HOST;
        let lines = || request.fields.get_all(&name);
        match request.authority {
            Some(authority) => {
                authority == self.authority
                    && request.version >= Version::HTTP_2
                    && request.scheme == Some(HTTPS)
                    && (!request.fields.may_have(HOSTS) || lines().next().is_none())
            }
            None => request.scheme.is_none_or(|scheme| scheme == HTTPS) && lines().eq([self.authority.as_bytes()]),
        }
    }

    fn forget(&mut self) {
        for text in [&mut self.authority, &mut self.host] {
            text.clear();
            text.shrink_to(REMEMBERED_BYTES_MAX);
        }
    }
}

fn without_default_port(authority: &str) -> &str {
    authority.strip_suffix(":443").unwrap_or(authority)
}

/// `uri-host [ ":" port ]` of RFC 9110 §7.2.
fn is_authority(text: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, ""),
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.bytes().all(|byte| is_name(byte) || byte == b':'),
        None => host.bytes().all(is_name),
    };
    is_host && is_port(port)
}

/// `*DIGIT` of RFC 3986 §3.2.3. RFC 9110 §4.2.1 and §4.2.2 make the digits a TCP port, which has 16 bits (RFC 9293
/// §3.1): a larger number names no server, and its lower bits name a wrong one.
fn is_port(text: &str) -> bool {
    let digits = text.trim_start_matches('0');
    text.bytes().all(|byte| byte.is_ascii_digit()) && (digits.is_empty() || digits.parse::<u16>().is_ok())
}

/// The name in an authority: lower case, ASCII, without port or final dot. A name in the spelling of browsers is
/// borrowed from the authority and not allocated.
pub(super) fn hostname(authority: &str) -> Cow<'_, str> {
    let host = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    // RFC 3986 §3.2.2: a name may be percent-encoded, as another spelling of the same name.
    if host.contains('%')
        && let Ok(name) = host.parse::<Hostname>()
    {
        return Cow::Owned(name.into());
    }
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_case_port_and_final_dot() {
        for (authority, host) in [
            ("Shop.Localhost:8443", "shop.localhost"),
            ("shop.localhost.", "shop.localhost"),
            ("shop.localhost.:443", "shop.localhost"),
            ("[::1]:8443", "[::1]"),
            ("b%C3%BCcher.Example:8443", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("a%2Fb.example", "a%2fb.example"),
            ("", ""),
        ] {
            assert_eq!(hostname(authority), host, "{authority}");
        }
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for good in ["", "a", "a:", "a:1", "A-b.c_d:80", "[::1]", "[::1]:8", "192.0.2.1", "a.%C3%BC", "a!$&'()*+,;=~"] {
            assert!(is_authority(good), "{good}");
        }
        for good in ["a:0", "a:00443", "a:65535", "a:00000000065535", "[::1]:65535"] {
            assert!(is_authority(good), "{good}");
        }
        for bad in ["a:65536", "a:99999", "a:0065536", "[::1]:65979", "a:18446744073709551616", "a:+1", "a:-1"] {
            assert!(!is_authority(bad), "{bad}");
        }
        for bad in ["u@a", "u:p@a", "a/b", "a b", "a?b", "a#b", "a:1:2", "a:b", "[::1", "::1]", "a\\b", "a\"", "<a>"] {
            assert!(!is_authority(bad), "{bad}");
        }
    }

    #[test]
    fn the_targets_authority_counts_and_host_must_be_sound() {
        use Version as V;
        #[rustfmt::skip]
        let cases: &[(V, &str, &[&str], Option<&str>)] = &[
            // version, target, lines of Host, authority
            (V::HTTP_11, "/",            &["a:1"],   Some("a:1")), // RFC 9112 §3.3
            (V::HTTP_11, "/",            &[],        None),        // RFC 9112 §3.2
            (V::HTTP_11, "/",            &["a", "a"], None),
            (V::HTTP_11, "/",            &["a/c"],   None),
            (V::HTTP_11, "/",            &[""],      None),        // RFC 9110 §4.2.1
            (V::HTTP_11, "/",            &[":443"],  None),
            (V::HTTP_11, "/",            &["u@a"],   None),        // RFC 9110 §7.2
            (V::HTTP_11, "/",            &["a:65536"], None),
            (V::HTTP_11, "https://b/",   &["a:65536"], None),
            (V::HTTP_11, "https://b:65536/", &["a"], None),
            (V::HTTP_2,  "https://b:65536/", &[],    None),
            (V::HTTP_2,  "/",            &["a:65536"], None),
            (V::HTTP_11, "https://b/",   &["a"],     Some("b")),   // RFC 9112 §3.2.2
            (V::HTTP_11, "https://b/",   &[""],      Some("b")),
            (V::HTTP_11, "https://b/",   &[],        None),
            (V::HTTP_11, "https://u@b/", &["b"],     None),        // RFC 9110 §4.2.4
            (V::HTTP_11, "b",            &["b"],     None),        // RFC 9112 §3.2.3
            (V::HTTP_10, "/",            &["a"],     Some("a")),
            (V::HTTP_10, "/",            &[],        None),
            (V::HTTP_10, "https://b/",   &[],        Some("b")),
            (V::HTTP_2,  "https://b/",   &[],        Some("b")),   // RFC 9113 §8.3.1
            (V::HTTP_2,  "https://b/",   &["B:443"], Some("b")),
            (V::HTTP_2,  "https://b/",   &["a"],     None),
            (V::HTTP_2,  "https://b/",   &["b", "b"], None),
            (V::HTTP_2,  "/",            &["a"],     Some("a")),
            (V::HTTP_3,  "https://b/",   &[],        Some("b")),   // RFC 9114 §4.3.1
            (V::HTTP_3,  "https://b/",   &["B:443"], Some("b")),
            (V::HTTP_3,  "https://b/",   &["a"],     None),
            (V::HTTP_3,  "https://b/",   &["b", "b"], None),
            (V::HTTP_3,  "https://b:65536/", &[],    None),
            (V::HTTP_3,  "/",            &["a"],     Some("a")),
            (V::HTTP_3,  "/",            &[],        None),
        ];
        for (version, target, lines, expected) in cases {
            let mut request = Request::builder().version(*version).uri(*target);
            for line in *lines {
                request = request.header(HOST, *line);
            }
            let request = request.body(()).unwrap();
            let found = authority(&head_of(&request));
            assert_eq!(found.ok(), *expected, "{version:?} {target} {lines:?}");
            if let Some(authority) = expected {
                assert_eq!(sent_authority(&head_of(&request)), *authority, "{version:?} {target} {lines:?}");
            }
            // The result does not depend on the previous host.
            for before in ["a", "b", "a:1", "c"] {
                let mut last_host = LastHost { authority: before.to_owned(), host: hostname(before).into_owned() };
                let found = last_host.find(&head_of(&request), || false).ok().map(|_| last_host.host().to_owned());
                let expected = expected.map(|authority| hostname(authority).into_owned());
                assert_eq!(found, expected, "{version:?} {target} {lines:?} after {before}");
            }
        }
    }

    #[test]
    fn a_target_of_another_scheme_is_of_another_origin_and_a_trusted_proxy_may_pass_http_on() {
        use Version as V;
        #[rustfmt::skip]
        let cases = [
            // version, target, from any client, from a trusted proxy
            (V::HTTP_11, "/",          true,  true),
            (V::HTTP_11, "https://a/", true,  true),
            (V::HTTP_11, "HTTPS://a/", true,  true),    // RFC 3986 §3.1
            (V::HTTP_11, "http://a/",  false, true),
            (V::HTTP_11, "ftp://a/",   false, false),
            (V::HTTP_2,  "https://a/", true,  true),
            (V::HTTP_2,  "http://a/",  false, true),
            (V::HTTP_3,  "http://a/",  false, true),
            (V::HTTP_3,  "coap://a/",  false, false),
        ];
        for (version, target, of_anybody, of_proxy) in cases {
            let request = Request::builder().version(version).uri(target).header(HOST, "a").body(()).unwrap();
            for (is_trusted, is_taken) in [(false, of_anybody), (true, of_proxy)] {
                let expected = if is_taken { Ok("a") } else { Err(Refused::NotHttps) };
                let found = authority_over_tls(&head_of(&request), || is_trusted);
                assert_eq!(found, expected, "{version:?} {target} {is_trusted}");
                let mut last_host = LastHost { authority: "a".to_owned(), host: "a".to_owned() };
                let found = last_host.find(&head_of(&request), || is_trusted);
                assert_eq!(found.err(), expected.err(), "{version:?} {target} {is_trusted} after another request");
            }
        }
    }
}
