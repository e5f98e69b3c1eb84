//! Determines the client behind proxies that the edge's operator trusts: `X-Forwarded-For` and `Forwarded` (RFC 7239),
//! read from right to left.
//!
//! Every proxy appends the address of its peer on the right. So the edge begins with the connection's own address,
//! believes entries by trusted addresses, and stops at the first untrusted address: the client. Entries further left
//! were chosen by the client (RFC 7239 §8.1), and are neither read nor forwarded.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use devanture_config::edge_toml::AddressBlock;
use http::header::{self, HeaderName};

use devanture_http::Fields;

/// Maximum number of trusted proxies before the edge; a longer chain is rejected.
pub const PROXIES_MAX: usize = 16;

static FORWARDED: HeaderName = header::FORWARDED;
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The client, and the trusted proxies of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The client's address.
    pub client: IpAddr,
    /// The proxies after the client; the last proxy holds the connection to the edge.
    pub proxies: Vec<IpAddr>,
    /// The scheme of the client's request, as reported by a trusted proxy.
    pub scheme: &'static str,
    /// True if the peer of the connection is trusted to name the client.
    pub is_trusted: bool,
}

/// One hop of a field.
struct Hop {
    address: IpAddr,
    scheme: Option<&'static str>,
}

/// The parsed field of a trusted proxy.
struct Read {
    client: IpAddr,
    proxies: Vec<IpAddr>,
    scheme: Option<&'static str>,
}

/// A field that cannot be parsed far enough.
struct Malformed;

impl Chain {
    /// Returns the chain of a client with a direct connection.
    #[must_use]
    pub fn direct(peer: IpAddr) -> Self {
        Self { client: peer.to_canonical(), proxies: Vec::new(), scheme: "https", is_trusted: false }
    }

    /// Determines the client. `peer` is the remote address of the connection; the fields of an untrusted peer are
    /// ignored.
    ///
    /// Proxies write one of the two fields and often forward the second field unchanged. So if both fields exist and
    /// name different clients, either field may be forged, and both are ignored (RFC 7239 §7.4).
    #[must_use]
    pub fn of<'r>(fields: impl Into<Fields<'r>>, peer: IpAddr, trusted: &[AddressBlock]) -> Self {
        let fields = fields.into();
        let direct = Self::direct(peer);
        let is_trusted = |address: IpAddr| trusted.iter().any(|block| block.contains(address));
        if !is_trusted(peer) {
            return direct;
        }
        let elements = read(by_forwarded(fields), direct.client, is_trusted);
        let list = read(by_list(fields), direct.client, is_trusted);
        let found = match (elements, list) {
            (Ok(Some(found)), Ok(None)) | (Ok(None), Ok(Some(found))) => Some(found),
            (Ok(Some(found)), Ok(Some(other))) if found.client == other.client => Some(found),
            _ => None,
        };
        let scheme = found.as_ref().and_then(|found| found.scheme).or_else(|| scheme_field(fields)).unwrap_or("https");
        let (client, proxies) = match found {
            Some(found) => (found.client, found.proxies),
            None => (direct.client, Vec::new()),
        };
        Self { client, proxies, scheme, is_trusted: true }
    }
}

/// Follows the hops, nearest first, to the client; `None` without hops.
fn read(
    hops: impl Iterator<Item = Result<Hop, Malformed>>,
    peer: IpAddr,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Result<Option<Read>, Malformed> {
    // `passed` begins with the nearest hop.
    let mut passed = vec![peer];
    let mut farthest = None;
    for hop in hops {
        let Hop { address, scheme } = hop?;
        if !is_trusted(address) {
            passed.reverse();
            return Ok(Some(Read { client: address, proxies: passed, scheme }));
        }
        if passed.len() >= PROXIES_MAX {
            return Err(Malformed);
        }
        passed.push(address);
        farthest = Some(scheme);
    }
    // All hops are trusted: the farthest hop is the client.
    Ok(farthest.and_then(|scheme| {
        let client = passed.pop()?;
        passed.reverse();
        Some(Read { client, proxies: passed, scheme })
    }))
}

/// Parses the hops of `X-Forwarded-For`, nearest first.
fn by_list(fields: Fields<'_>) -> impl Iterator<Item = Result<Hop, Malformed>> {
    let lines = fields.get_all(&FORWARDED_FOR).rev();
    let words = lines.flat_map(|line| line.rsplit(|byte| *byte == b','));
    words.map(<[u8]>::trim_ascii).filter(|word| !word.is_empty()).map(|word| {
        // Programs differ: an IPv6 address may have brackets or a port, or neither.
        let bare = || str::from_utf8(word).ok()?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
        let address = node(word).or_else(bare).ok_or(Malformed)?;
        Ok(Hop { address: address.to_canonical(), scheme: None })
    })
}

/// Parses the hops of `Forwarded`, nearest first. A line is parsed as a whole, since quotes are only known from the
/// left; so an open quote by a client spoils the entries after the quote, and cannot change their meaning.
fn by_forwarded(fields: Fields<'_>) -> impl Iterator<Item = Result<Hop, Malformed>> {
    fields.get_all(&FORWARDED).rev().flat_map(|line| match elements(line) {
        Some(elements) => elements.into_iter().rev().map(|hops| hops.ok_or(Malformed)).collect(),
        None => vec![Err(Malformed)],
    })
}

/// Parses the elements of a line of `Forwarded`; `None` for an element without an address, and for a line that violates
/// the grammar of RFC 7239 §4. Empty elements are ignored (RFC 9110 §5.6.1).
fn elements(line: &[u8]) -> Option<Vec<Option<Hop>>> {
    let mut rest = line;
    let mut elements = Vec::new();
    let (mut address, mut scheme, mut is_empty) = (None, None, true);
    loop {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| !is_token(*byte)).unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end)?;
        rest = after;
        if !name.is_empty() {
            let (value, after) = value(rest.strip_prefix(b"=")?)?;
            rest = after.trim_ascii_start();
            is_empty = false;
            // Each parameter is allowed once (section 4).
            if name.eq_ignore_ascii_case(b"for") {
                if address.replace(node(&value)).is_some() {
                    return None;
                }
            } else if name.eq_ignore_ascii_case(b"proto") {
                scheme = known_scheme(&value);
            }
        }
        match rest.split_first() {
            Some((b';', after)) => rest = after,
            Some((b',', _)) | None => {
                if !std::mem::replace(&mut is_empty, true) {
                    let address: Option<IpAddr> = address.take().flatten();
                    elements.push(address.map(|address| Hop { address: address.to_canonical(), scheme }));
                }
                scheme = None;
                match rest.split_first() {
                    Some((_, after)) => rest = after,
                    None => return Some(elements),
                }
            }
            Some(_) => return None,
        }
    }
}

/// Takes a token or quoted string off the front, and returns the rest (RFC 9110 §5.6.4).
fn value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| !is_token(*byte)).unwrap_or(text.len());
        let (token, after) = text.split_at_checked(end)?;
        return (!token.is_empty()).then_some((Cow::Borrowed(token), after));
    };
    let end = quoted.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (plain, after) = quoted.split_at_checked(end)?;
    if let Some(after) = after.strip_prefix(b"\"") {
        return Some((Cow::Borrowed(plain), after));
    }
    let mut bytes = plain.to_vec();
    let mut rest = after.iter();
    loop {
        match rest.next()? {
            b'"' => return Some((Cow::Owned(bytes), rest.as_slice())),
            b'\\' => bytes.push(*rest.next()?),
            byte => bytes.push(*byte),
        }
    }
}

/// Returns the address of a node with or without a port; IPv6 is in brackets (RFC 7239 §6). `unknown` and obfuscated
/// names have none.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (six, port) = rest.split_once(']')?;
            (IpAddr::V6(six.parse().ok()?), port.strip_prefix(':').or_else(|| port.is_empty().then_some("0"))?)
        }
        None => {
            let (four, port) = text.split_once(':').unwrap_or((text, "0"));
            (IpAddr::V4(four.parse::<Ipv4Addr>().ok()?), port)
        }
    };
    let is_number = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_hidden = port.strip_prefix('_').is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    });
    (is_number || is_hidden).then_some(address)
}

/// Returns the scheme of `X-Forwarded-Proto`, if unambiguous.
fn scheme_field(fields: Fields<'_>) -> Option<&'static str> {
    let mut lines = fields.get_all(&FORWARDED_PROTO);
    match (lines.next(), lines.next()) {
        (Some(line), None) => known_scheme(line.trim_ascii()),
        _ => None,
    }
}

fn known_scheme(text: &[u8]) -> Option<&'static str> {
    ["https", "http"].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.as_bytes()))
}

/// Returns true for a character of a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
