//! Rewrites the heads of messages: fields of one connection are dropped (RFC 9110 §7.6.1), and only the edge writes the
//! fields that name the client.

mod claims;
mod own_credentials;

pub(crate) use claims::{is_about_visitor, is_the_edges};

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};

use super::error::Error;
use super::forwarded::is_token;
use super::ids::{Ids, REQUEST_ID, TRACEPARENT, TRACESTATE};
use super::interim::Passing;

/// The path of a request to the edge.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The host of the client's request, with the port, if present: `:authority`, or `Host` as sent.
    pub host: &'a str,
    /// The client's address; `None` for a request without a client address.
    pub client: Option<IpAddr>,
    /// The ids of the request.
    pub ids: &'a Ids,
    /// Forwards interim responses to the client, if possible.
    pub passing: Option<&'a Passing>,
    /// The port that visitors connect to, if configured: `[listen] public_port`.
    pub port: Option<u16>,
    /// The trusted proxies between client and edge, see [`super::forwarded::Chain`].
    pub proxies: &'a [IpAddr],
    /// The scheme of the client's request: `https` or `http`.
    pub scheme: &'static str,
}

/// The scheme of requests to the edge: visitors use TLS only.
const RECEIVED_BY: &str = "https";
/// The edge's name in `Via`. Requests carry the name because a gateway must send `Via` (RFC 9110 §7.6.3) and because
/// the name ends forwarding loops; responses do not, since there `Via` is optional and would only be a banner.
const PSEUDONYM: &str = "devanture";
/// Maximum number of edges on the path of a request: a chain of edges is valid, while a loop would hold a connection
/// for each round.
const HOPS_MAX: usize = 4;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Builds the head for the backend from the client's head.
///
/// `upgrade` holds the protocols to switch to, see [`upgrade`]. The head has neither the length nor the coding of the
/// body: the code that knows the body adds both, so that two lengths can never disagree.
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
    let mut out = HeaderMap::with_capacity(client.len() + 12);
    out.insert(header::HOST, host.clone());
    let mut kept: Option<HeaderName> = None;
    for (name, value) in client {
        if let Some(name) = name {
            let is_traced = arrival.ids.keeps_tracestate && name == TRACESTATE;
            let is_claimed =
                is_the_edges(name.as_str()) && !is_traced || !arrival.ids.is_trusted && is_about_visitor(name.as_str());
            let dropped = belongs_to_connection(name.as_str()) || is_claimed || listed.contains(&name);
            kept = (!dropped).then_some(name);
        }
        if let Some(name) = &kept {
            out.append(name.clone(), value);
        }
    }
    // HTTP/2 may split a cookie into several fields, unlike HTTP/1.1 (RFC 9113 §8.2.3).
    if version >= Version::HTTP_2 {
        join_crumbs(&mut out);
    }
    own_credentials::leave_out(&mut out);
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

/// Builds the head of the edge's own request to a backend: the head of a visitor of `authority` without a known
/// address.
///
/// # Errors
/// [`Error::BadRequest`] if `authority` is no host.
pub fn question(authority: &str) -> Result<HeaderMap, Error> {
    let ids = Ids::of(&HeaderMap::new(), false);
    let (host, scheme) = (authority, RECEIVED_BY);
    let arrival = Arrival { host, client: None, ids: &ids, passing: None, port: None, proxies: &[], scheme };
    let mut asking = HeaderMap::with_capacity(1);
    asking.insert(header::USER_AGENT, HeaderValue::from_static("devanture"));
    request(asking, Version::HTTP_11, &arrival, None)
}

/// Sets the field with the stripped prefix, so that the backend can generate URLs that route back to the backend.
pub(crate) fn say_prefix(headers: &mut HeaderMap, prefix: &str) {
    if let Ok(prefix) = HeaderValue::from_str(prefix) {
        headers.insert(FORWARDED_PREFIX, prefix);
    }
}

/// Builds the head for the client from the backend's head; an upgraded response retains the new protocol. Returns the
/// fields that `Connection` listed.
pub(crate) fn answer(headers: &mut HeaderMap, upgraded: bool) -> Vec<HeaderName> {
    let protocol = if upgraded { headers.get(header::UPGRADE).cloned() } else { None };
    // A length beside a coding is void (RFC 9112 §6.3), and an upgraded connection has neither.
    if upgraded || headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    let listed = listed(headers);
    for name in &listed {
        headers.remove(name);
    }
    let dropped = |name: &&HeaderName| belongs_to_connection(name.as_str()) && **name != header::CONTENT_LENGTH;
    let doomed: Vec<HeaderName> = headers.keys().filter(dropped).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    listed
}

/// Returns the protocols for an upgrade, if the client requests a permitted upgrade.
///
/// HTTP/2 has no upgrades. An upgrade to another HTTP (`h2c`), or to TLS, would open a tunnel to the backend that
/// bypasses all checks of the edge.
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

/// Returns true if a response switches to one of the offered protocols.
pub(crate) fn switches_to(headers: &HeaderMap, offered: &HeaderValue) -> bool {
    let offered = offered.to_str().unwrap_or_default();
    let mut answered = words(headers, &header::UPGRADE).peekable();
    answered.peek().is_some() && answered.all(|one| offered.split(", ").any(|other| other.eq_ignore_ascii_case(one)))
}

/// Returns true if the message's coding, if any, is `chunked` alone: no party would decode another coding.
pub(crate) fn is_plainly_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).into_iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// Decrements `Max-Forwards`, defined for two methods (RFC 9110 §7.6.2); returns false if the request must not be
/// forwarded.
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

/// Returns the seconds for which a backend keeps an idle connection: `Keep-Alive: timeout=5`.
pub(crate) fn keep_alive_s(headers: &HeaderMap) -> Option<u64> {
    words(headers, &KEEP_ALIVE).find_map(|word| {
        let (name, value) = word.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("timeout") { value.trim().parse().ok() } else { None }
    })
}

/// Iterates over the non-empty members of a list field, over all lines.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

/// Returns the fields that `Connection` lists.
pub(crate) fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    words(headers, &header::CONNECTION).filter_map(|word| word.parse().ok()).collect()
}

fn listed_in_connection(headers: &HeaderMap, wanted: &str) -> bool {
    words(headers, &header::CONNECTION).any(|word| word.eq_ignore_ascii_case(wanted))
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    words(headers, &header::TE).any(|word| word.eq_ignore_ascii_case("trailers"))
}

/// Returns the number of edges that have already forwarded a request.
fn hops(headers: &HeaderMap) -> usize {
    words(headers, &header::VIA).filter(|entry| entry.split_ascii_whitespace().nth(1) == Some(PSEUDONYM)).count()
}

/// Maps a byte of a field name as servers do that turn names into variables (RFC 3875 §4.1.18): such servers map `_`
/// and `-` to one character, and many, PHP's among them, every byte except letters and digits.
pub(crate) const fn in_variables(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte } else { b'-' }
}

/// Returns true if a name has bytes other than letters, digits and `-`, so that some servers may read a different name.
pub(crate) fn has_odd_spelling(name: &str) -> bool {
    name.bytes().any(|byte| in_variables(byte) != byte)
}

/// Returns true for fields of one connection, or fields that frame one message. The edge answers `Expect` itself and
/// reads the body as the backend accepts the body; CGI programs mistake `Proxy` for a setting of their own
/// (CVE-2016-5385). A field that frames a body is excluded in every spelling.
pub(crate) fn belongs_to_connection(name: &str) -> bool {
    let same = |known: &str| name.bytes().map(in_variables).eq(known.bytes());
    is_of_connection(name) || has_odd_spelling(name) && ["content-length", "transfer-encoding"].into_iter().any(same)
}

fn is_of_connection(name: &str) -> bool {
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
    let mut set = |name: HeaderName, text: String| {
        // Every text is an address, or part of a value that was valid.
        if let Ok(value) = HeaderValue::try_from(text) {
            out.insert(name, value);
        }
    };
    if let Some(client) = arrival.client {
        let mut list = client.to_string();
        for proxy in arrival.proxies {
            write!(list, ", {proxy}").unwrap_or_default();
        }
        set(FORWARDED_FOR, list);
    }
    set(header::FORWARDED, forwarded(arrival));
    if let Some(port) = port(arrival) {
        out.insert(FORWARDED_PORT, HeaderValue::from(port));
    }
    out.insert(FORWARDED_PROTO, HeaderValue::from_static(arrival.scheme));
    out.insert(FORWARDED_HOST, host);
    out.insert(REQUEST_ID, arrival.ids.request_id.clone());
    out.insert(TRACEPARENT, arrival.ids.traceparent.clone());
    out.append(header::VIA, HeaderValue::from_static(via(version)));
}

/// Returns the edge's element of `Via`.
const fn via(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0 devanture",
        Version::HTTP_2 => "2 devanture",
        Version::HTTP_3 => "3 devanture",
        _ => "1.1 devanture",
    }
}

/// Returns the port that the client connected to, from the client's view, if known: the socket's own port is wrong
/// behind a port mapping, and the port in the host is up to the client. A plain-HTTP request to a proxy used a
/// different port.
fn port(arrival: &Arrival<'_>) -> Option<u16> {
    arrival.port.filter(|_| arrival.scheme == RECEIVED_BY)
}

/// Returns an RFC 7239 element for each known hop; the last element is the edge's peer, with the requested host and
/// scheme. IPv6 is in brackets and therefore in quotes, and a host is in quotes if the host is not a token.
///
/// The client's own element has the scheme, if a proxy reported the scheme.
fn forwarded(arrival: &Arrival<'_>) -> String {
    let mut text = String::new();
    let hops = arrival.client.into_iter().chain(arrival.proxies.iter().copied());
    for (place, hop) in hops.enumerate() {
        if place == 1 {
            write!(text, ";proto={}", arrival.scheme).unwrap_or_default();
        }
        let comma = if place == 0 { "" } else { ", " };
        // Writes to a string cannot fail.
        match hop.to_canonical() {
            IpAddr::V4(four) => write!(text, "{comma}for={four}").unwrap_or_default(),
            IpAddr::V6(six) => write!(text, "{comma}for=\"[{six}]\"").unwrap_or_default(),
        }
    }
    if text.is_empty() {
        text.push_str("for=unknown");
    }
    text.push_str(";host=");
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
    let scheme = if arrival.proxies.is_empty() { arrival.scheme } else { RECEIVED_BY };
    write!(text, ";proto={scheme}").unwrap_or_default();
    text
}

#[cfg(test)]
mod tests;
