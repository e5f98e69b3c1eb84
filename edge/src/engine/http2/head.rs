//! A field block as the head of a request, or as its trailers (RFC 9113 §8).

use std::ops::Range;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};

use super::super::fields::{Fields, Lines, content_length};
use super::super::hpack::{Class, Decoder, Field, Known, Numbered, Receiver, entry_size};
use super::super::inbound::Inbound;
use super::super::limits::Limits;
use super::super::request::RequestHead;
use super::super::{Scratch, hpack};
use super::frame::{Code, Fault};

/// Bytes of fields for which a thread keeps memory.
const LINES_BYTES_KEPT: usize = 64 * 1024;

/// An error of a decoded block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsound {
    /// §8.1.1.
    Malformed,
    /// It is larger, or has more fields, than the limits allow (RFC 6585 §5).
    TooLarge,
}

/// Longest block that is remembered, in bytes: of what clients send again and again, nearly all are shorter.
const REMEMBERED_BYTES_MAX: usize = 512;

/// Properties of a head besides its text.
#[derive(Debug, Default)]
struct Head {
    method: Method,
    content_length: Option<u64>,
}

/// The head that was read last: its text, and, if it left the table unchanged, what it was read from. The same block
/// stands for the same head again, which need not be read.
#[derive(Debug, Default)]
pub(in super::super) struct LastRead {
    /// The values of the pseudo fields.
    text: String,
    pseudo: Pseudo,
    /// Of a head that was sound.
    head: Head,
    /// Whether it was sound, and what it was read from is known.
    is_known: bool,
    /// Its input: the content of the table, the limits, the bytes.
    state: u64,
    limits: (usize, usize),
    block: Vec<u8>,
    /// The head that the lines were of.
    lines: u64,
}

impl LastRead {
    /// Whether `block` is the head that was read last, since nothing has changed.
    #[inline]
    fn is_again(&self, decoder: &Decoder, block: &[u8], limits: &Limits, lines: &Lines) -> bool {
        self.is_known
            && self.state == decoder.state()
            && self.lines == lines.head()
            && self.limits == (limits.header_bytes, limits.header_fields)
            && self.block == block
    }

    /// Remembers what the head was read from.
    fn remember(&mut self, decoder: &Decoder, block: &[u8], limits: &Limits, lines: &Lines) {
        self.is_known = true;
        (self.state, self.lines) = (decoder.state(), lines.head());
        self.limits = (limits.header_bytes, limits.header_fields);
        self.block.clear();
        self.block.extend_from_slice(block);
    }

    /// The method of the head, which was sound.
    pub(super) const fn method(&self) -> &Method {
        &self.head.method
    }

    /// Its `content-length`.
    pub(super) const fn content_length(&self) -> Option<u64> {
        self.head.content_length
    }

    /// The head as it is decided upon; `lines` are those that were read with it.
    #[inline]
    pub(super) fn request<'r>(&'r self, lines: &'r Lines) -> RequestHead<'r> {
        let Self { text, pseudo, head, .. } = self;
        let get = |range: &Option<Range<usize>>| text.get(range.clone()?);
        RequestHead {
            version: Version::HTTP_2,
            method: &head.method,
            scheme: get(&pseudo.scheme),
            authority: get(&pseudo.authority),
            path: get(&pseudo.path).unwrap_or_default(),
            query: get(&pseudo.query),
            fields: Fields::Lines(lines),
        }
    }

    /// The head as it is handed on, with its body. None if the target is none that the library takes.
    pub(super) fn to_request(&self, lines: &Lines, body: Inbound) -> Option<Request<Inbound>> {
        let Self { text, pseudo, head, .. } = self;
        let get = |range: &Option<Range<usize>>| {
            let value = text.as_bytes().get(range.clone()?)?;
            Some(Bytes::copy_from_slice(value))
        };
        let mut parts = http::uri::Parts::default();
        if let Some(authority) = get(&pseudo.authority) {
            parts.authority = Some(Authority::from_maybe_shared(authority).ok()?);
        }
        // The library has no address without an authority that has a scheme.
        if let (Some(scheme), Some(_)) = (get(&pseudo.scheme), &parts.authority) {
            parts.scheme = Some(Scheme::try_from(&*scheme).ok()?);
        }
        if let Some(path) = get(&pseudo.target()) {
            parts.path_and_query = Some(PathAndQuery::from_maybe_shared(path).ok()?);
        }
        let mut request = Request::new(body);
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        *request.method_mut() = head.method.clone();
        *request.headers_mut() = map(lines)?;
        Some(request)
    }
}

/// Where the values of the pseudo fields lie in their text.
#[derive(Debug, Default)]
struct Pseudo {
    method: Option<Range<usize>>,
    scheme: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    /// With its query, until the head was read.
    path: Option<Range<usize>>,
    query: Option<Range<usize>>,
}

impl Pseudo {
    /// Tells the query from the path.
    fn split_path(&mut self, text: &[u8]) {
        if let Some(path) = &mut self.path
            && let Some(length) = text.get(path.clone()).and_then(|path| path.iter().position(|byte| *byte == b'?'))
        {
            let question = path.start + length;
            self.query = Some(question + 1..path.end);
            path.end = question;
        }
    }

    /// Where the path lies with its query.
    fn target(&self) -> Option<Range<usize>> {
        let path = self.path.clone()?;
        Some(path.start..self.query.as_ref().map_or(path.end, |query| query.end))
    }
}

/// The state while a block is decoded.
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
        // §8.3: each once, and before all other fields.
        if slot.is_some() || self.fields > 0 {
            self.malformed = true;
            return;
        }
        let start = self.text.len();
        self.text.extend_from_slice(field.value);
        *slot = Some(start..self.text.len());
    }

    /// Clients send most fields with each request, as numbers of the table that stay the same.
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

fn undecodable(_: hpack::DecodeError) -> Fault {
    Fault::Connection(Code::Compression)
}

/// Decodes a block that nobody looks at, so that the table of fields stays in step (§4.3).
///
/// # Errors
///
/// COMPRESSION_ERROR.
pub(super) fn discard(decoder: &mut Decoder, block: &[u8]) -> Result<(), Fault> {
    decoder.decode(block, 0, |_: Field<'_>| {}).map(drop).map_err(undecodable)
}

/// Reads the head of a request into the buffers of the thread, where [`LastRead`] has it if it is sound.
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
) -> Result<Result<(), Unsound>, Fault> {
    if scratch.read.is_again(decoder, block, limits, &scratch.lines) {
        return Ok(Ok(()));
    }
    read_anew(decoder, block, limits, scratch)
}

fn read_anew(
    decoder: &mut Decoder,
    block: &[u8],
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Result<(), Unsound>, Fault> {
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
    let decoded = decoder.decode(block, limits.header_bytes, &mut reading).map_err(undecodable)?;
    reading.lines.end();
    if decoded.list_bytes > limits.header_bytes || reading.fields > limits.header_fields {
        return Ok(Err(Unsound::TooLarge));
    }
    let Reading { mut pseudo, content_length, malformed, .. } = reading;
    if malformed {
        return Ok(Err(Unsound::Malformed));
    }
    // What is beyond ASCII, which only a path may hold, is at least text.
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
    let decoded = decoded.map_err(undecodable)?;
    if decoded.list_bytes > limits.header_bytes || fields > limits.header_fields {
        return Ok(Err(Unsound::TooLarge));
    }
    Ok(if malformed { Err(Unsound::Malformed) } else { Ok(trailers) })
}

/// Whether it is a scheme (RFC 3986 §3.1).
fn is_scheme(scheme: &[u8]) -> bool {
    matches!(scheme, b"https" | b"http")
        || matches!(scheme, [first, rest @ ..] if first.is_ascii_alphabetic()
            && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')))
}

impl Head {
    /// Whether the pseudo fields are what §8.3.1 and §8.5 ask for. The decoder has looked for spaces and control
    /// characters, and at the bytes of the authority.
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
            // A fragment is no part of a target.
            Some(path @ [b'/', ..]) => !path.contains(&b'#'),
            _ => false,
        };
        is_path && scheme.is_some_and(is_scheme)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn limits() -> Limits {
        let time = Duration::from_secs(1);
        Limits {
            streams: 1,
            header_bytes: 400,
            header_fields: 7,
            target_bytes: 100,
            stream_window: 1 << 16,
            connection_window: 1 << 16,
            requests: 1,
            resets_per_second: 1,
            control_frames_per_second: 1,
            response_bytes: 262_144,
            header: time,
            write: time,
            body: time,
            linger: time,
            linger_bytes: 1,
        }
    }

    /// A field of a block, or a few bytes that are none.
    fn field(number: u8) -> Vec<u8> {
        let letter = b'a' + number % 5;
        match number % 16 {
            0..6 => vec![0x80 | (62 + number % 6)],
            6 => vec![0x80 | 16],
            7 => vec![0x80 | 19],
            8 => vec![0x80 | 28],
            9 => vec![0x82],
            10 => vec![0xff, 0],
            11..14 => vec![0x40, 1, letter, 1, letter],
            14 => vec![0x0f, 0, 1, letter],
            _ => vec![0x00, 1, letter, 1, b'1'],
        }
    }

    /// The pseudo fields of a block.
    fn pseudo(number: u8) -> &'static [u8] {
        match number % 8 {
            0 => b"\x82\x87\x04\x04/a?b",
            1 => b"\x83\x86\x44\x05/?x?y",
            2 => b"\x82\x87\x84\x41\x01h",
            3 => b"\x82\x87\x84\x01\x02hi",
            4 => b"\x02\x07CONNECT\x01\x01h",
            5 => b"\x82\x87\x04\x02/?",
            6 => b"\x02\x07OPTIONS\x87\x04\x01*",
            _ => b"\x82\x87\x84",
        }
    }

    fn described(read: Result<Result<(), Unsound>, Fault>, scratch: &Scratch) -> String {
        match read {
            Ok(Ok(())) => {
                let request = scratch.read.request(&scratch.lines);
                let lines: Vec<_> = scratch.lines.iter().collect();
                let found = request.fields.get_all(&header::ACCEPT).count();
                let RequestHead { method, scheme, authority, path, query, .. } = request;
                let length = scratch.read.content_length();
                format!("{method} {scheme:?} {authority:?} {path} {query:?} {length:?} {lines:?} {found}")
            }
            otherwise => format!("{otherwise:?}"),
        }
    }

    proptest! {
        /// What a thread remembers of the heads of its connections changes nothing about the next.
        #[test]
        fn heads_are_read_as_if_there_were_none_before(
            kinds in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..9)), 1..5),
            order in prop::collection::vec((0..2_usize, any::<prop::sample::Index>()), 1..24),
        ) {
            let (limits, mut scratch) = (limits(), Scratch::default());
            let mut decoders = [0, 1].map(|_| (Decoder::new(4_096), Decoder::new(4_096)));
            for (connection, kind) in order {
                let (ahead, fields) = kind.get(&kinds);
                let fields = fields.iter().flat_map(|number| field(*number));
                let block: Vec<u8> = pseudo(*ahead).iter().copied().chain(fields).collect();
                let (warm, cold) = &mut decoders[connection];
                let mut fresh = Scratch::default();
                let expected = read(cold, &block, &limits, &mut fresh);
                let found = read(warm, &block, &limits, &mut scratch);
                let is_over = found.is_err();
                prop_assert_eq!(described(found, &scratch), described(expected, &fresh));
                if is_over {
                    break;
                }
            }
        }
    }
}
