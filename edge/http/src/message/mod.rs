//! Field blocks as request heads or trailers (RFC 9113 §8, and RFC 9114 §4 in nearly the same words).

use std::ops::Range;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};

use super::Scratch;
use super::field_coding::{Class, DecodeError, Decoder, Field, Known, Numbered, Receiver, entry_size};
use super::fields::{Fields, Lines, content_length};
use super::inbound::Inbound;
use super::limits::Limits;
use super::request::RequestHead;

/// Bytes of fields for which a thread keeps memory.
const LINES_BYTES_KEPT: usize = 64 * 1024;

/// Error of a decoded block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsound {
    /// RFC 9113 §8.1.1, RFC 9114 §4.1.2.
    Malformed,
    /// The block is larger, or has more fields, than permitted (RFC 6585 §5).
    TooLarge,
}

/// Maximum bytes of a remembered block: nearly all repeated blocks of clients are shorter.
const REMEMBERED_BYTES_MAX: usize = 512;

/// Properties of a head besides the text.
#[derive(Debug, Default)]
struct Head {
    method: Method,
    content_length: Option<u64>,
}

/// Head that was read last: the text, and the input, if reading left the table unchanged. An equal block stands for the
/// same head and need not be read.
#[derive(Debug, Default)]
pub(super) struct LastRead {
    /// Values of the pseudo fields.
    text: String,
    pseudo: Pseudo,
    /// Properties of a valid head.
    head: Head,
    /// True if the head was valid and the input is known.
    is_known: bool,
    /// Input: state of the table, limits, bytes.
    state: u64,
    limits: (usize, usize),
    block: Vec<u8>,
    /// Number of the head in [`Lines`].
    lines: u64,
}

impl LastRead {
    /// Returns true if `block` equals the last block and no input changed.
    #[inline]
    fn is_again(&self, decoder: &impl Decoder, block: &[u8], limits: &Limits, lines: &Lines) -> bool {
        self.is_known
            && self.state == decoder.state()
            && self.lines == lines.head()
            && self.limits == (limits.header_bytes, limits.header_fields)
            && self.block == block
    }

    /// Remembers the input of the head.
    fn remember(&mut self, decoder: &impl Decoder, block: &[u8], limits: &Limits, lines: &Lines) {
        self.is_known = true;
        (self.state, self.lines) = (decoder.state(), lines.head());
        self.limits = (limits.header_bytes, limits.header_fields);
        self.block.clear();
        self.block.extend_from_slice(block);
    }

    /// Returns the method of the valid head.
    pub(super) const fn method(&self) -> &Method {
        &self.head.method
    }

    /// Returns the value of `content-length`.
    pub(super) const fn content_length(&self) -> Option<u64> {
        self.head.content_length
    }

    /// Returns the head for the service; `lines` were read together with the head.
    #[inline]
    pub(super) fn request<'r>(&'r self, version: Version, lines: &'r Lines) -> RequestHead<'r> {
        let Self { text, pseudo, head, .. } = self;
        let get = |range: &Option<Range<usize>>| text.get(range.clone()?);
        RequestHead {
            version,
            method: &head.method,
            scheme: get(&pseudo.scheme),
            authority: get(&pseudo.authority),
            path: get(&pseudo.path).unwrap_or_default(),
            query: get(&pseudo.query),
            fields: Fields::Lines(lines),
        }
    }

    /// Converts the head and the body into a request. `None` if the `http` crate rejects the target.
    pub(super) fn to_request(&self, version: Version, lines: &Lines, body: Inbound) -> Option<Request<Inbound>> {
        let Self { text, pseudo, head, .. } = self;
        let get = |range: &Option<Range<usize>>| {
            let value = text.as_bytes().get(range.clone()?)?;
            Some(Bytes::copy_from_slice(value))
        };
        let mut parts = http::uri::Parts::default();
        if let Some(authority) = get(&pseudo.authority) {
            parts.authority = Some(Authority::from_maybe_shared(authority).ok()?);
        }
        // `http::Uri` requires an authority together with a scheme.
        if let (Some(scheme), Some(_)) = (get(&pseudo.scheme), &parts.authority) {
            parts.scheme = Some(Scheme::try_from(&*scheme).ok()?);
        }
        if let Some(path) = get(&pseudo.target()) {
            parts.path_and_query = Some(PathAndQuery::from_maybe_shared(path).ok()?);
        }
        let mut request = Request::new(body);
        *request.version_mut() = version;
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        *request.method_mut() = head.method.clone();
        *request.headers_mut() = map(lines)?;
        Some(request)
    }
}

/// Ranges of the pseudo fields within the text.
#[derive(Debug, Default)]
struct Pseudo {
    method: Option<Range<usize>>,
    scheme: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    /// Includes the query until the head is complete.
    path: Option<Range<usize>>,
    query: Option<Range<usize>>,
}

impl Pseudo {
    /// Splits the query from the path.
    #[inline]
    fn split_path(&mut self, text: &[u8]) {
        if let Some(path) = &mut self.path
            && let Some(length) = text.get(path.clone()).and_then(|path| path.iter().position(|byte| *byte == b'?'))
        {
            let question = path.start + length;
            self.query = Some(question + 1..path.end);
            path.end = question;
        }
    }

    /// Returns the range of the path with the query.
    fn target(&self) -> Option<Range<usize>> {
        let path = self.path.clone()?;
        Some(path.start..self.query.as_ref().map_or(path.end, |query| query.end))
    }
}

/// State while decoding a block.
struct Reading<'s> {
    text: &'s mut Vec<u8>,
    lines: &'s mut Lines,
    pseudo: Pseudo,
    content_length: Option<u64>,
    fields: usize,
    fields_max: usize,
    malformed: bool,
}

impl Receiver for &mut Reading<'_> {
    #[inline]
    fn field(&mut self, field: Field<'_>, numbered: Option<Numbered>) {
        let slot = match field.class {
            Class::Method => &mut self.pseudo.method,
            Class::Scheme => &mut self.pseudo.scheme,
            Class::Authority => &mut self.pseudo.authority,
            Class::Path => &mut self.pseudo.path,
            class => return self.regular(class, &field, numbered),
        };
        // RFC 9113 §8.3, RFC 9114 §4.3: each once, and before all regular fields.
        if slot.is_some() || self.fields > 0 {
            self.malformed = true;
            return;
        }
        let start = self.text.len();
        self.text.extend_from_slice(field.value);
        *slot = Some(start..self.text.len());
    }

    /// Clients send most fields with each request as unchanged table indexes.
    #[inline]
    fn repeat(&mut self, state: u64, rest: &[u8]) -> Option<Known> {
        let repeated = self.lines.repeat(state, rest)?;
        self.fields += repeated.lines;
        Some(Known { bytes: repeated.bytes, list_bytes: repeated.text + repeated.lines * entry_size(0, 0) })
    }
}

impl Reading<'_> {
    #[inline]
    fn regular(&mut self, class: Class, field: &Field<'_>, numbered: Option<Numbered>) {
        self.fields += 1;
        if self.fields > self.fields_max {
            return;
        }
        match class {
            Class::ContentLength => match content_length(field.value) {
                Some(length) if self.content_length.is_none() => self.content_length = Some(length),
                _ => self.malformed = true,
            },
            Class::Regular | Class::Host | Class::Cookie | Class::Te => {
                if let Some(Numbered { byte, state }) = numbered {
                    return self.lines.push_number(state, byte, field.name, field.value);
                }
            }
            _ => {
                self.malformed = true;
                return;
            }
        }
        self.lines.push(field.name, field.value);
    }
}

/// Decodes a block whose fields are ignored, to keep the table of fields in step (RFC 9113 §4.3).
///
/// # Errors
///
/// Fails if the block is invalid.
pub(super) fn discard(decoder: &mut impl Decoder, block: &[u8]) -> Result<(), DecodeError> {
    decoder.decode(block, 0, |_: Field<'_>| {}).map(drop)
}

/// Reads a request head into the buffers of the thread; a valid head is stored in [`LastRead`].
///
/// # Errors
///
/// Fails if the block is invalid; the inner result is the error of the head.
#[inline]
pub(super) fn read(
    decoder: &mut impl Decoder,
    block: &[u8],
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Result<(), Unsound>, DecodeError> {
    if scratch.read.is_again(decoder, block, limits, &scratch.lines) {
        return Ok(Ok(()));
    }
    read_anew(decoder, block, limits, scratch)
}

fn read_anew(
    decoder: &mut impl Decoder,
    block: &[u8],
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Result<(), Unsound>, DecodeError> {
    let Scratch { lines, read: last, .. } = scratch;
    let state = decoder.state();
    lines.begin(LINES_BYTES_KEPT);
    last.is_known = false;
    last.block.clear();
    let mut text = std::mem::take(&mut last.text).into_bytes();
    text.clear();
    text.shrink_to(LINES_BYTES_KEPT);
    let mut reading = Reading {
        text: &mut text,
        lines,
        pseudo: Pseudo::default(),
        content_length: None,
        fields: 0,
        fields_max: limits.header_fields,
        malformed: false,
    };
    let decoded = decoder.decode(block, limits.header_bytes, &mut reading)?;
    reading.lines.end();
    if decoded.list_bytes > limits.header_bytes || reading.fields > limits.header_fields {
        return Ok(Err(Unsound::TooLarge));
    }
    let Reading { mut pseudo, content_length, malformed, .. } = reading;
    if malformed {
        return Ok(Err(Unsound::Malformed));
    }
    // Bytes beyond ASCII are permitted in a path only, and must be UTF-8.
    let Ok(text) = String::from_utf8(text) else { return Ok(Err(Unsound::Malformed)) };
    let method = pseudo.method.clone().and_then(|range| method(text.as_bytes().get(range)?));
    let head = method.map(|method| Head { method, content_length });
    let Some(head) = head.filter(|head| head.is_sound(&pseudo, text.as_bytes())) else {
        last.text = text;
        return Ok(Err(Unsound::Malformed));
    };
    pseudo.split_path(text.as_bytes());
    (last.text, last.pseudo, last.head) = (text, pseudo, head);
    if state == decoder.state() && block.len() <= REMEMBERED_BYTES_MAX {
        last.remember(decoder, block, limits, &scratch.lines);
    }
    Ok(Ok(()))
}

/// Returns the method named `name`; common methods are matched first.
#[inline]
fn method(name: &[u8]) -> Option<Method> {
    match name {
        b"GET" => Some(Method::GET),
        b"HEAD" => Some(Method::HEAD),
        _ => Method::from_bytes(name).ok(),
    }
}

/// Reads the trailers of a request (RFC 9113 §8.1, RFC 9114 §4.1).
///
/// # Errors
///
/// Fails if the block is invalid; the inner result is the error of the trailers.
pub(super) fn read_trailers(
    decoder: &mut impl Decoder,
    block: &[u8],
    limits: &Limits,
) -> Result<Result<HeaderMap, Unsound>, DecodeError> {
    let (mut trailers, mut fields, mut malformed) = (HeaderMap::new(), 0_usize, false);
    let decoded = decoder.decode(block, limits.header_bytes, |field: Field<'_>| {
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
    let decoded = decoded?;
    if decoded.list_bytes > limits.header_bytes || fields > limits.header_fields {
        return Ok(Err(Unsound::TooLarge));
    }
    Ok(if malformed { Err(Unsound::Malformed) } else { Ok(trailers) })
}

/// Returns true for a valid scheme (RFC 3986 §3.1).
fn is_scheme(scheme: &[u8]) -> bool {
    matches!(scheme, b"https" | b"http")
        || matches!(scheme, [first, rest @ ..] if first.is_ascii_alphabetic()
            && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')))
}

impl Head {
    /// Returns true if the pseudo fields conform to RFC 9113 §8.3.1 and §8.5, and RFC 9114 §4.3.1 and §4.4. The decoder
    /// has already checked for spaces, control characters and the bytes of the authority.
    #[inline]
    fn is_sound(&self, pseudo: &Pseudo, text: &[u8]) -> bool {
        let get = |range: &Option<Range<usize>>| range.clone().and_then(|range| text.get(range));
        let (scheme, authority, path) = (get(&pseudo.scheme), get(&pseudo.authority), get(&pseudo.path));
        if authority.is_some_and(<[u8]>::is_empty) {
            return false;
        }
        if self.method == Method::CONNECT {
            return authority.is_some() && scheme.is_none() && path.is_none();
        }
        let is_path = match path {
            Some(b"*") => self.method == Method::OPTIONS,
            // A target has no fragment.
            Some(path @ [b'/', ..]) => !path.contains(&b'#'),
            _ => false,
        };
        is_path && scheme.is_some_and(is_scheme)
    }
}

/// Converts the lines into a map; cookie crumbs become one field (RFC 9113 §8.2.3, RFC 9114 §4.2.1).
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
        // The joined cookie keeps the position of the first crumb.
        map.entry(name).or_insert_with(|| HeaderValue::from_static(""));
    }
    if let Some(value) = map.get_mut(header::COOKIE) {
        *value = HeaderValue::from_maybe_shared(Bytes::from(cookie)).ok()?;
    }
    Some(map)
}

#[cfg(test)]
mod tests;
