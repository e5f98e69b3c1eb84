//! A field block as the head of a request, or as its trailers (RFC 9113 §8).

use std::ops::Range;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};

use super::super::fields::{Fields, Lines};
use super::super::hpack::{Class, Decoder, Field};
use super::super::inbound::Inbound;
use super::super::limits::Limits;
use super::super::request::RequestHead;
use super::super::{Scratch, hpack};
use super::frame::{Code, Fault};

/// Bytes of fields for which a thread keeps memory.
const LINES_BYTES_KEPT: usize = 64 * 1024;

/// What is wrong with a block that could be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsound {
    /// §8.1.1.
    Malformed,
    /// It is larger, or has more fields, than the limits allow (RFC 6585 §5).
    TooLarge,
}

/// A head that is sound; its text is in the buffers of the thread.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) content_length: Option<u64>,
    pseudo: Pseudo,
}

/// Where the values of the pseudo fields lie in their text.
#[derive(Debug, Default)]
struct Pseudo {
    method: Option<Range<usize>>,
    scheme: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    path: Option<Range<usize>>,
}

/// What is read of a block while it is decoded.
struct Reading<'s> {
    text: &'s mut Vec<u8>,
    lines: &'s mut Lines,
    pseudo: Pseudo,
    content_length: Option<u64>,
    fields: usize,
    fields_max: usize,
    malformed: bool,
}

impl Reading<'_> {
    #[inline]
    fn field(&mut self, field: &Field<'_>) {
        let slot = match field.class {
            Class::Method => &mut self.pseudo.method,
            Class::Scheme => &mut self.pseudo.scheme,
            Class::Authority => &mut self.pseudo.authority,
            Class::Path => &mut self.pseudo.path,
            class => return self.regular(class, field),
        };
        // §8.3: each once, and before all other fields.
        if slot.is_some() || self.fields > 0 {
            self.malformed = true;
            return;
        }
        let start = self.text.len();
        self.text.extend_from_slice(field.value);
        *slot = Some(start..self.text.len());
    }

    #[inline]
    fn regular(&mut self, class: Class, field: &Field<'_>) {
        self.fields += 1;
        if self.fields > self.fields_max {
            return;
        }
        match class {
            Class::ContentLength => match content_length(field.value) {
                Some(length) if self.content_length.is_none() => self.content_length = Some(length),
                _ => self.malformed = true,
            },
            Class::Regular | Class::Host | Class::Cookie | Class::Te => {}
            _ => {
                self.malformed = true;
                return;
            }
        }
        self.lines.push(field.name, field.value);
    }
}

/// The number of a Content-Length (RFC 9110 §8.6).
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn undecodable(_: hpack::DecodeError) -> Fault {
    Fault::Connection(Code::Compression)
}

/// Decodes a block that nobody looks at, so that the table of fields stays in step (§4.3).
///
/// # Errors
///
/// COMPRESSION_ERROR.
pub(super) fn discard(decoder: &mut Decoder, block: &[u8]) -> Result<(), Fault> {
    decoder.decode(block, 0, |_| {}).map(drop).map_err(undecodable)
}

/// Reads the head of a request into the buffers of the thread.
///
/// # Errors
///
/// COMPRESSION_ERROR; within it, what is wrong with the head.
#[inline]
pub(super) fn read(
    decoder: &mut Decoder,
    block: &[u8],
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Result<Head, Unsound>, Fault> {
    scratch.lines.clear(LINES_BYTES_KEPT);
    scratch.block.clear();
    let mut reading = Reading {
        text: &mut scratch.block,
        lines: &mut scratch.lines,
        pseudo: Pseudo::default(),
        content_length: None,
        fields: 0,
        fields_max: limits.header_fields,
        malformed: false,
    };
    let decoded = decoder.decode(block, limits.header_bytes, |field| reading.field(&field)).map_err(undecodable)?;
    if decoded.list_bytes > limits.header_bytes || reading.fields > limits.header_fields {
        return Ok(Err(Unsound::TooLarge));
    }
    let Reading { pseudo, content_length, malformed, .. } = reading;
    if malformed {
        return Ok(Err(Unsound::Malformed));
    }
    let method = pseudo.method.clone().and_then(|range| method(scratch.block.get(range)?));
    let head = method.map(|method| Head { method, content_length, pseudo });
    Ok(head.filter(|head| head.is_sound(&scratch.block)).ok_or(Unsound::Malformed))
}

/// The method of that name; the usual ones are known at a glance.
#[inline]
fn method(name: &[u8]) -> Option<Method> {
    match name {
        b"GET" => Some(Method::GET),
        b"HEAD" => Some(Method::HEAD),
        _ => Method::from_bytes(name).ok(),
    }
}

/// Reads the trailers of a request (§8.1).
///
/// # Errors
///
/// COMPRESSION_ERROR; within it, what is wrong with them.
pub(super) fn read_trailers(
    decoder: &mut Decoder,
    block: &[u8],
    limits: &Limits,
) -> Result<Result<HeaderMap, Unsound>, Fault> {
    let (mut trailers, mut fields, mut malformed) = (HeaderMap::new(), 0_usize, false);
    let decoded = decoder.decode(block, limits.header_bytes, |field| {
        fields += 1;
        let is_plain =
            matches!(field.class, Class::Regular | Class::Host | Class::Cookie | Class::ContentLength | Class::Te);
        match (HeaderName::from_bytes(field.name), HeaderValue::from_bytes(field.value)) {
            (Ok(name), Ok(value)) if is_plain => {
                if fields <= limits.header_fields {
                    trailers.append(name, value);
                }
            }
            _ => malformed = true,
        }
    });
    let decoded = decoded.map_err(undecodable)?;
    if decoded.list_bytes > limits.header_bytes || fields > limits.header_fields {
        return Ok(Err(Unsound::TooLarge));
    }
    Ok(if malformed { Err(Unsound::Malformed) } else { Ok(trailers) })
}

/// Which bytes may be in an authority (RFC 3986 §3.2) without a user, which HTTP/2 does not allow there (§8.3.1).
static IS_OF_AUTHORITY: [bool; 256] = of_authority();

#[expect(clippy::indexing_slicing, reason = "while it is compiled: a place beyond the end is no build")]
const fn of_authority() -> [bool; 256] {
    let mut table = [false; 256];
    let all = b"-._~!$&'()*+,;=:[]%0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut at = 0;
    while at < all.len() {
        table[all[at] as usize] = true;
        at += 1;
    }
    table
}

fn is_authority(authority: &[u8]) -> bool {
    let is_of = |byte: &u8| IS_OF_AUTHORITY.get(usize::from(*byte)).copied().unwrap_or_default();
    !authority.is_empty() && authority.iter().all(is_of)
}

/// Whether it is a scheme (RFC 3986 §3.1).
fn is_scheme(scheme: &[u8]) -> bool {
    matches!(scheme, b"https" | b"http")
        || matches!(scheme, [first, rest @ ..] if first.is_ascii_alphabetic()
            && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')))
}

impl Head {
    /// Whether the pseudo fields are what §8.3.1 and §8.5 ask for. The decoder has looked for spaces and control
    /// characters.
    fn is_sound(&self, text: &[u8]) -> bool {
        let get = |range: &Option<Range<usize>>| range.clone().and_then(|range| text.get(range));
        let (scheme, authority, path) = (get(&self.pseudo.scheme), get(&self.pseudo.authority), get(&self.pseudo.path));
        if authority.is_some_and(|authority| !is_authority(authority)) {
            return false;
        }
        if self.method == Method::CONNECT {
            return authority.is_some() && scheme.is_none() && path.is_none();
        }
        let is_path = match path {
            Some(b"*") => self.method == Method::OPTIONS,
            // A fragment is no part of a target, and what is beyond ASCII is at least text.
            Some(path @ [b'/', ..]) => !path.contains(&b'#') && (path.is_ascii() || std::str::from_utf8(path).is_ok()),
            _ => false,
        };
        is_path && scheme.is_some_and(is_scheme)
    }

    /// The head as it is decided upon.
    #[inline]
    pub(super) fn request<'r>(&'r self, scratch: &'r Scratch) -> RequestHead<'r> {
        // What was found to be sound is text.
        let get = |range: &Option<Range<usize>>| {
            range.clone().and_then(|range| std::str::from_utf8(scratch.block.get(range)?).ok())
        };
        let target = get(&self.pseudo.path).unwrap_or_default();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        RequestHead {
            version: Version::HTTP_2,
            method: &self.method,
            scheme: get(&self.pseudo.scheme),
            authority: get(&self.pseudo.authority),
            path,
            query,
            fields: Fields::Lines(&scratch.lines),
        }
    }

    /// The head as it is handed on, with its body. None if the target is none that the library takes.
    pub(super) fn into_request(self, scratch: &Scratch, body: Inbound) -> Option<Request<Inbound>> {
        let get =
            |range: Option<Range<usize>>| range.and_then(|range| scratch.block.get(range)).map(Bytes::copy_from_slice);
        let mut parts = http::uri::Parts::default();
        if let Some(authority) = get(self.pseudo.authority) {
            parts.authority = Some(Authority::from_maybe_shared(authority).ok()?);
        }
        // The library has no address without an authority that has a scheme.
        if let (Some(scheme), Some(_)) = (get(self.pseudo.scheme), &parts.authority) {
            parts.scheme = Some(Scheme::try_from(&*scheme).ok()?);
        }
        if let Some(path) = get(self.pseudo.path) {
            parts.path_and_query = Some(PathAndQuery::from_maybe_shared(path).ok()?);
        }
        let mut request = Request::new(body);
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        *request.method_mut() = self.method;
        *request.headers_mut() = map(&scratch.lines)?;
        Some(request)
    }
}

/// The lines as a map; crumbs of a cookie are one field (§8.2.3).
fn map(lines: &Lines) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(lines.len());
    let mut cookie = Vec::new();
    for (name, value) in lines.iter() {
        let name = HeaderName::from_bytes(name).ok()?;
        if name != header::COOKIE {
            map.append(name, HeaderValue::from_bytes(value).ok()?);
            continue;
        }
        if !cookie.is_empty() {
            cookie.extend_from_slice(b"; ");
        }
        cookie.extend_from_slice(value);
        // It keeps the place of its first crumb.
        map.entry(name).or_insert_with(|| HeaderValue::from_static(""));
    }
    if let Some(value) = map.get_mut(header::COOKIE) {
        *value = HeaderValue::from_maybe_shared(Bytes::from(cookie)).ok()?;
    }
    Some(map)
}
