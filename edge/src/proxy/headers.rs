//! The heads of messages on their way through: what belongs to one connection is dropped (RFC 9110, section 7.6.1), and
//! what tells the backend who asks is the edge's own word alone.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};

use super::error::Error;

/// How a request reached the edge.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The host that the client asked for, with its port if it named one: `:authority`, or `Host` as it was sent.
    pub host: &'a str,
    /// The client's address.
    pub peer: SocketAddr,
    /// `https` or `http`.
    pub scheme: &'static str,
}

/// The edge's name in `Via`. Requests carry it because a gateway must say so (RFC 9110, section 7.6.3) and because it is
/// what ends a circle; answers do not, since there it is optional and would only be a banner.
const PSEUDONYM: &str = "devanture";
/// How many edges a request may have passed: a chain of them is sound, a circle would hold a connection for each turn.
const HOPS_MAX: usize = 4;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The head for the backend out of the client's.
///
/// `upgrade` holds the protocols to switch to, see [`upgrade`]. The body's length and coding are not in it: they are for
/// whoever knows the body, so that two lengths can never disagree.
pub(crate) fn request(
    client: HeaderMap,
    version: Version,
    arrival: &Arrival<'_>,
    upgrade: Option<&HeaderValue>,
) -> Result<HeaderMap, Error> {
    let host = HeaderValue::from_str(arrival.host).map_err(|_invalid| Error::BadRequest("its host is no host"))?;
    if host.is_empty() {
        return Err(Error::BadRequest("it names no host"));
    }
    let hops = hops(&client);
    if hops >= HOPS_MAX {
        return Err(Error::Loop(hops));
    }
    let trailers = upgrade.is_none() && accepts_trailers(&client);
    let listed = listed(&client);
    let mut out = HeaderMap::with_capacity(client.len() + 10);
    out.insert(header::HOST, host.clone());
    let mut kept: Option<HeaderName> = None;
    for (name, value) in client {
        if let Some(name) = name {
            let dropped = belongs_to_connection(&name) || is_the_edges(&name) || listed.contains(&name);
            kept = (!dropped).then_some(name);
        }
        if let Some(name) = &kept {
            out.append(name.clone(), value);
        }
    }
    // HTTP/2 may split a cookie into crumbs, which HTTP/1.1 does not know (RFC 9113, section 8.2.3).
    if version >= Version::HTTP_2 {
        join_crumbs(&mut out);
    }
    if let Some(protocols) = upgrade {
        out.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        out.insert(header::UPGRADE, protocols.clone());
    } else if trailers {
        out.insert(header::TE, HeaderValue::from_static("trailers"));
        out.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    say_who_asks(&mut out, version, arrival, host);
    Ok(out)
}

/// The head for the client out of the backend's; of an upgrade, the protocol that was switched to is kept.
pub(crate) fn answer(headers: &mut HeaderMap, upgraded: bool) {
    let protocol = if upgraded { headers.get(header::UPGRADE).cloned() } else { None };
    // A length beside a coding is void (RFC 9112, section 6.3), and an upgraded connection has neither.
    if upgraded || headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in listed(headers) {
        headers.remove(name);
    }
    let dropped = |name: &&HeaderName| belongs_to_connection(name) && **name != header::CONTENT_LENGTH;
    let doomed: Vec<HeaderName> = headers.keys().filter(dropped).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

/// Trailers, of which those that frame a message or belong to a connection must not be (RFC 9110, section 6.5.1).
pub(crate) fn trailers(trailers: &mut HeaderMap) {
    let unfit: Vec<HeaderName> = trailers.keys().filter(|name| belongs_to_connection(name)).cloned().collect();
    for name in unfit {
        trailers.remove(name);
    }
}

/// The protocols that the client wants to switch to, if it does and may.
///
/// HTTP/2 has no such thing. An upgrade to another HTTP (`h2c`), or to TLS, would make a tunnel to the backend in which
/// nothing of what the edge checks holds.
pub(crate) fn upgrade(headers: &HeaderMap, version: Version) -> Option<HeaderValue> {
    if version != Version::HTTP_11 || !listed_in_connection(headers, "upgrade") {
        return None;
    }
    let mut protocols = String::new();
    for protocol in words(headers, &header::UPGRADE) {
        let name = protocol.split('/').next().unwrap_or_default();
        if ["h2", "h2c", "http", "tls"].iter().any(|refused| name.eq_ignore_ascii_case(refused)) {
            continue;
        }
        if !protocols.is_empty() {
            protocols.push_str(", ");
        }
        protocols.push_str(protocol);
    }
    if protocols.is_empty() { None } else { HeaderValue::from_str(&protocols).ok() }
}

/// Whether an answer switches to one of the protocols that were asked for.
pub(crate) fn switches_to(headers: &HeaderMap, asked: &HeaderValue) -> bool {
    let asked = asked.to_str().unwrap_or_default();
    let mut answered = words(headers, &header::UPGRADE).peekable();
    answered.peek().is_some() && answered.all(|one| asked.split(", ").any(|other| other.eq_ignore_ascii_case(one)))
}

/// Whether the message's coding, if it has one, is `chunked` alone: what else there is would be taken off by nobody.
pub(crate) fn is_plainly_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).into_iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// Counts `Max-Forwards` down, which is for these two methods (RFC 9110, section 7.6.2); `false` says that the request
/// is to go no further.
pub(crate) fn count_down(method: &Method, headers: &mut HeaderMap) -> bool {
    if *method != Method::OPTIONS && *method != Method::TRACE {
        return true;
    }
    let left: Option<u64> = headers.get(header::MAX_FORWARDS).and_then(|value| value.to_str().ok()?.parse().ok());
    match left {
        None => true,
        Some(0) => false,
        Some(left) => {
            headers.insert(header::MAX_FORWARDS, HeaderValue::from(left - 1));
            true
        }
    }
}

/// The seconds for which a backend says that it keeps an idle connection: `Keep-Alive: timeout=5`.
pub(crate) fn keep_alive_s(headers: &HeaderMap) -> Option<u64> {
    words(headers, &KEEP_ALIVE).find_map(|word| {
        let (name, value) = word.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("timeout") { value.trim().parse().ok() } else { None }
    })
}

/// The non-empty members of a list field, over all its lines.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

/// The fields that `Connection` lists as its own.
fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    words(headers, &header::CONNECTION).filter_map(|word| word.parse().ok()).collect()
}

fn listed_in_connection(headers: &HeaderMap, wanted: &str) -> bool {
    words(headers, &header::CONNECTION).any(|word| word.eq_ignore_ascii_case(wanted))
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    words(headers, &header::TE).any(|word| word.eq_ignore_ascii_case("trailers"))
}

/// How many edges a request has passed already.
fn hops(headers: &HeaderMap) -> usize {
    words(headers, &header::VIA).filter(|entry| entry.split_ascii_whitespace().nth(1) == Some(PSEUDONYM)).count()
}

/// What is about one connection, or frames one message on it. `Expect` is answered by the edge, which reads the body as
/// the backend takes it; `Proxy` is what CGI programs mistake for a setting of their own (CVE-2016-5385).
fn belongs_to_connection(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "connection"
            | "content-length"
            | "expect"
            | "http2-settings"
            | "keep-alive"
            | "proxy"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    ) || name.starts_with("proxy-")
}

/// What only the edge may tell a backend. Many servers take `_` for `-`, so a client could say it in other letters.
fn is_the_edges(name: &HeaderName) -> bool {
    const NAMES: &[&str] =
        &["forwarded", "host", "true-client-ip", "x-client-ip", "x-cluster-client-ip", "x-forwarded", "x-real-ip"];
    const PREFIX: &str = "x-forwarded-";
    let same = |a: u8, b: u8| a == b || a == b'_' && b == b'-';
    let begins = |prefix: &str| name.as_str().bytes().zip(prefix.bytes()).all(|(a, b)| same(a, b));
    let length = name.as_str().len();
    NAMES.iter().any(|known| known.len() == length && begins(known)) || length >= PREFIX.len() && begins(PREFIX)
}

fn join_crumbs(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).into_iter();
    let (Some(first), Some(_)) = (crumbs.next(), crumbs.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for crumb in headers.get_all(header::COOKIE).into_iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

fn say_who_asks(out: &mut HeaderMap, version: Version, arrival: &Arrival<'_>, host: HeaderValue) {
    let client = arrival.peer.ip().to_canonical();
    let mut set = |name: HeaderName, text: &str| {
        // Everything here is an address, a number, or taken from a value that was valid.
        if let Ok(value) = HeaderValue::from_str(text) {
            out.insert(name, value);
        }
    };
    set(FORWARDED_FOR, &client.to_string());
    set(FORWARDED_PROTO, arrival.scheme);
    set(FORWARDED_PORT, port(arrival));
    set(header::FORWARDED, &forwarded(client, arrival));
    out.insert(FORWARDED_HOST, host);
    let received = match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    };
    if let Ok(via) = HeaderValue::from_str(&format!("{received} {PSEUDONYM}")) {
        out.append(header::VIA, via);
    }
}

/// The port that the client connected to as it sees it: behind a mapped port, the socket's own would be wrong.
fn port<'a>(arrival: &Arrival<'a>) -> &'a str {
    let after_address = arrival.host.rsplit(']').next().unwrap_or_default();
    match after_address.rsplit_once(':') {
        Some((_, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => port,
        _ if arrival.scheme == "https" => "443",
        _ => "80",
    }
}

/// The element of RFC 7239: IPv6 in brackets and so in quotes, and a host in quotes if it holds more than a token does.
fn forwarded(client: IpAddr, arrival: &Arrival<'_>) -> String {
    let mut text = match client {
        IpAddr::V4(four) => format!("for={four};host="),
        IpAddr::V6(six) => format!("for=\"[{six}]\";host="),
    };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if arrival.host.bytes().all(is_token) {
        text.push_str(arrival.host);
    } else {
        text.push('"');
        for character in arrival.host.chars() {
            if matches!(character, '"' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('"');
    }
    // Writing to a string cannot fail.
    write!(text, ";proto={}", arrival.scheme).unwrap_or_default();
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in lines.iter().map(pair) {
            map.append::<HeaderName>(name, value);
        }
        map
    }

    fn arrival<'a>(host: &'a str, peer: &str) -> Arrival<'a> {
        Arrival { host, peer: peer.parse().unwrap(), scheme: "https" }
    }

    fn sent(lines: &[(&str, &str)], version: Version) -> HeaderMap {
        request(map(lines), version, &arrival("shop.example", "192.0.2.9:50000"), None).unwrap()
    }

    fn values<'a>(map: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        map.get_all(name).into_iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn what_belongs_to_the_connection_is_dropped_from_a_request() {
        let map = sent(
            &[
                ("connection", "close, X-Secret-Hop"),
                ("connection", "x-other"),
                ("x-secret-hop", "1"),
                ("x-other", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy", "http://evil"),
                ("proxy-connection", "keep-alive"),
                ("proxy-authorization", "Basic eA=="),
                ("te", "gzip"),
                ("transfer-encoding", "chunked"),
                ("content-length", "3"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABk"),
                ("expect", "100-continue"),
                ("trailer", "x-sum"),
                ("authorization", "Bearer t"),
                ("accept", "a"),
                ("accept", "b"),
            ],
            Version::HTTP_11,
        );
        let mut names: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept",
                "authorization",
                "forwarded",
                "host",
                "trailer",
                "via",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-port",
                "x-forwarded-proto"
            ]
        );
        assert_eq!(values(&map, "accept"), ["a", "b"]);
    }

    #[test]
    fn te_keeps_trailers_and_nothing_else() {
        let map = sent(&[("te", "gzip;q=0.5, Trailers")], Version::HTTP_2);
        assert_eq!(values(&map, "te"), ["trailers"]);
        assert_eq!(values(&map, "connection"), ["te"]);
    }

    #[test]
    fn a_clients_own_word_about_itself_is_dropped() {
        let map = sent(
            &[
                ("forwarded", "for=6.6.6.6"),
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-for", "7.7.7.7"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "evil"),
                ("x-forwarded-port", "1"),
                ("x-forwarded-prefix", "/evil"),
                ("x-forwarded-user", "root"),
                ("x_forwarded_for", "6.6.6.6"),
                ("x-forwarded_for", "6.6.6.6"),
                ("x_real_ip", "6.6.6.6"),
                ("x-real-ip", "6.6.6.6"),
                ("x-client-ip", "6.6.6.6"),
                ("true-client-ip", "6.6.6.6"),
                ("x-forwarder", "kept"),
                ("connection", "x-forwarded-for, host"),
                ("host", "evil"),
            ],
            Version::HTTP_11,
        );
        assert_eq!(values(&map, "host"), ["shop.example"]);
        assert_eq!(values(&map, "x-forwarded-for"), ["192.0.2.9"]);
        assert_eq!(values(&map, "x-forwarded-proto"), ["https"]);
        assert_eq!(values(&map, "x-forwarded-host"), ["shop.example"]);
        assert_eq!(values(&map, "x-forwarded-port"), ["443"]);
        assert_eq!(values(&map, "forwarded"), ["for=192.0.2.9;host=shop.example;proto=https"]);
        assert_eq!(values(&map, "x-forwarder"), ["kept"]);
        assert!(map.values().all(|value| !value.to_str().unwrap().contains("6.6.6.6")), "{map:?}");
        assert_eq!(map.len(), 8, "{map:?}");
    }

    #[test]
    fn an_ipv6_client_is_quoted_in_forwarded_alone() {
        let from = arrival("shop.example:8443", "[2001:db8::17]:4711");
        let map = request(HeaderMap::new(), Version::HTTP_11, &from, None).unwrap();
        assert_eq!(values(&map, "forwarded"), [r#"for="[2001:db8::17]";host="shop.example:8443";proto=https"#]);
        assert_eq!(values(&map, "x-forwarded-for"), ["2001:db8::17"]);
        assert_eq!(values(&map, "x-forwarded-port"), ["8443"]);
        let from = arrival("[::1]", "[::ffff:192.0.2.1]:1");
        let map = request(HeaderMap::new(), Version::HTTP_11, &from, None).unwrap();
        assert_eq!(values(&map, "forwarded"), [r#"for=192.0.2.1;host="[::1]";proto=https"#]);
        assert_eq!(values(&map, "x-forwarded-port"), ["443"]);
    }

    #[test]
    fn cookie_crumbs_are_joined_for_http_2_alone() {
        let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
        assert_eq!(values(&sent(&crumbs, Version::HTTP_2), "cookie"), ["a=1; b=2; c=3"]);
        assert_eq!(values(&sent(&crumbs, Version::HTTP_11), "cookie").len(), 3);
        assert_eq!(values(&sent(&crumbs[..1], Version::HTTP_2), "cookie"), ["a=1"]);
    }

    #[test]
    fn via_is_appended_and_ends_a_circle() {
        let passed = sent(&[("via", "1.1 devanture, 1.0 fred (Apache)")], Version::HTTP_2);
        assert_eq!(values(&passed, "via"), ["1.1 devanture, 1.0 fred (Apache)", "2 devanture"]);
        let round = [("via", "2 devanture, 1.1 devanture"), ("via", "1.1 devanture, 1.1 devanture")];
        let error = request(map(&round), Version::HTTP_11, &arrival("h", "1.1.1.1:1"), None).unwrap_err();
        assert!(matches!(error, Error::Loop(4)), "{error}");
    }

    #[test]
    fn an_upgrade_is_asked_for_in_both_fields_and_never_to_http() {
        let asked = |lines: &[(&str, &str)], version| {
            upgrade(&map(lines), version).map(|value| value.to_str().unwrap().to_owned())
        };
        let websocket = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        assert_eq!(asked(&websocket, Version::HTTP_11).as_deref(), Some("websocket"));
        assert_eq!(asked(&websocket, Version::HTTP_2), None);
        assert_eq!(asked(&websocket, Version::HTTP_10), None);
        assert_eq!(asked(&websocket[1..], Version::HTTP_11), None);
        let h2c = [("connection", "upgrade, http2-settings"), ("upgrade", "h2c")];
        assert_eq!(asked(&h2c, Version::HTTP_11), None);
        let mixed = [("connection", "upgrade"), ("upgrade", "H2C, TLS/1.0, HTTP/2.0"), ("upgrade", "websocket, foo/1")];
        assert_eq!(asked(&mixed, Version::HTTP_11).as_deref(), Some("websocket, foo/1"));
        let wanted = HeaderValue::from_static("websocket, foo/1");
        assert!(switches_to(&map(&[("upgrade", "WebSocket")]), &wanted));
        assert!(!switches_to(&map(&[("upgrade", "h2c")]), &wanted));
        assert!(!switches_to(&map(&[]), &wanted));
    }

    #[test]
    fn what_belongs_to_the_connection_is_dropped_from_an_answer() {
        let mut headers = map(&[
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5, max=9"),
            ("proxy-authenticate", "Basic"),
            ("transfer-encoding", "chunked"),
            ("content-length", "7"),
            ("upgrade", "h2c"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("server", "gunicorn"),
        ]);
        assert_eq!(keep_alive_s(&headers), Some(5));
        answer(&mut headers, false);
        assert_eq!(headers, map(&[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("server", "gunicorn")]));
        let mut plain = map(&[("content-length", "7")]);
        answer(&mut plain, false);
        assert_eq!(plain, map(&[("content-length", "7")]));
        let mut upgraded = map(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("content-length", "0")]);
        answer(&mut upgraded, true);
        assert_eq!(upgraded, map(&[("connection", "upgrade"), ("upgrade", "websocket")]));
    }

    #[test]
    fn only_chunked_alone_is_a_plain_coding() {
        assert!(is_plainly_coded(&map(&[])));
        assert!(is_plainly_coded(&map(&[("transfer-encoding", " Chunked ")])));
        for codings in [&["gzip, chunked"] as &[&str], &["chunked", "chunked"], &["xchunked"], &["identity"], &[""]] {
            let lines: Vec<_> = codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
            assert!(!is_plainly_coded(&map(&lines)), "{codings:?}");
        }
    }

    #[test]
    fn max_forwards_is_counted_down_for_options_and_trace() {
        let mut headers = map(&[("max-forwards", "2")]);
        assert!(count_down(&Method::OPTIONS, &mut headers));
        assert_eq!(values(&headers, "max-forwards"), ["1"]);
        assert!(count_down(&Method::GET, &mut headers));
        assert_eq!(values(&headers, "max-forwards"), ["1"]);
        assert!(!count_down(&Method::TRACE, &mut map(&[("max-forwards", "0")])));
    }

    #[test]
    fn a_host_that_is_none_is_refused() {
        for host in ["", "a\r\nb", "a\0"] {
            let error = request(HeaderMap::new(), Version::HTTP_11, &arrival(host, "1.1.1.1:1"), None).unwrap_err();
            assert!(matches!(error, Error::BadRequest(_)), "{host:?}");
        }
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_forwarding_field_comes_from_the_client(
            name in "(x[-_]forwarded[-_](for|proto|host|port|[a-z]{1,6})|forwarded|x[-_]real[-_]ip)",
            listed: bool,
        ) {
            let mut lines = vec![(name.as_str(), "spoofed")];
            if listed {
                lines.push(("connection", name.as_str()));
            }
            let map = sent(&lines, Version::HTTP_11);
            prop_assert!(map.values().all(|value| value != "spoofed"));
            prop_assert!(map.contains_key("x-forwarded-for") && map.contains_key("forwarded"));
        }

        #[test]
        fn a_host_in_forwarded_can_be_read_back(host in "[ -~]{1,40}") {
            let from = arrival(&host, "192.0.2.9:1");
            let text = forwarded(from.peer.ip(), &from);
            let written = text.strip_prefix("for=192.0.2.9;host=").unwrap().strip_suffix(";proto=https").unwrap();
            let read = match written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(quoted) => {
                    let mut characters = quoted.chars();
                    let mut read = String::new();
                    while let Some(character) = characters.next() {
                        read.push(if character == '\\' { characters.next().unwrap() } else { character });
                    }
                    read
                }
                None => written.to_owned(),
            };
            prop_assert_eq!(read, host);
        }
    }
}
