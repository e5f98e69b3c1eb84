//! The head of a request, read from the bytes as they came (RFC 9112 §2 to §6).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};

use super::upload::{AnnouncedBody, BodyFraming};
use crate::Scratch;
use crate::fields::{Fields, Lines, content_length};
use crate::limits::Limits;
use crate::request::RequestHead;

/// Fields for which there is room without memory of their own: browsers send fewer.
const FIELDS_AT_HAND: usize = 64;
/// Bytes of fields for which a thread keeps memory.
const LINES_BYTES_KEPT: usize = 16 * 1024;
/// Bytes of a line of fields beside its name and its value, as they are counted.
const LINE_BYTES: usize = 4;
/// Longest target that the library holds.
const TARGET_BYTES_MAX: usize = u16::MAX as usize - 1;
/// The beginning of what a client of HTTP/2 says first (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2";

/// The parsed beginning of the bytes.
pub(super) enum Head<'b> {
    /// A whole head.
    Whole(RequestLine<'b>, FieldsOfUse),
    /// A beginning of a head.
    Partial,
    /// A head that is refused with this status. Where a next request would begin is not known, or in doubt.
    Refused(StatusCode),
    /// The beginning of HTTP/2, whose client would not understand an answer.
    Http2,
}

/// The beginning of a whole head; its fields are among the lines of the scratch.
pub(super) struct RequestLine<'b> {
    pub(super) version: Version,
    pub(super) method: Method,
    target: Target<'b>,
    /// Bytes of the whole head.
    pub(super) length: usize,
}

/// The target of a request (RFC 9112 §3.2).
enum Target<'b> {
    /// In origin form, of nothing but what stands in one.
    Origin(&'b str),
    /// Any other, as the library reads it.
    Other(Uri),
}

/// What the fields say to the connection.
pub(super) struct FieldsOfUse {
    /// The body that follows, where the head announces one (RFC 9112 §6).
    pub(super) body: Option<AnnouncedBody>,
    /// Whether it asks for another protocol (RFC 9110 §7.8).
    pub(super) asks_upgrade: bool,
    /// Whether the connection may have a next request (RFC 9112 §9.3).
    pub(super) keeps: bool,
    /// Whether the client takes trailers (RFC 9110 §10.1.4).
    pub(super) takes_trailers: bool,
}

/// Most bytes of a head: of its fields, and of its target.
pub(super) const fn bytes_max(limits: &Limits) -> usize {
    limits.header_bytes.saturating_add(limits.target_bytes)
}

/// Bytes of empty lines at the beginning, over which a server passes (RFC 9112 §2.2).
pub(super) fn empty_lines(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some(after) = rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b"\r\n")) {
        rest = after;
    }
    bytes.len() - rest.len()
}

/// Reads the head at the beginning of `bytes`.
pub(super) fn read<'b>(bytes: &'b [u8], limits: &Limits, scratch: &mut Scratch) -> Head<'b> {
    // No more than that, so that all clients are judged alike, however their bytes come.
    let bytes = bytes.get(..bytes_max(limits)).unwrap_or(bytes);
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_AT_HAND];
    let at_hand = fields.get_mut(..FIELDS_AT_HAND.min(limits.header_fields)).unwrap_or_default();
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, at_hand);
    if parsed == Err(httparse::Error::TooManyHeaders) && limits.header_fields > FIELDS_AT_HAND {
        let mut fields = vec![MaybeUninit::uninit(); limits.header_fields];
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(bytes, &mut fields);
        return judge(bytes, parsed, &request, limits, scratch);
    }
    judge(bytes, parsed, &request, limits, scratch)
}

fn judge<'b>(
    bytes: &'b [u8],
    parsed: httparse::Result<usize>,
    request: &httparse::Request<'_, 'b>,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Head<'b> {
    match parsed {
        Ok(httparse::Status::Complete(length)) => match whole(request, length, limits, scratch) {
            Ok((line, fields)) => Head::Whole(line, fields),
            Err(status) => Head::Refused(status),
        },
        Ok(httparse::Status::Partial) if bytes.len() < bytes_max(limits) => Head::Partial,
        // RFC 9112 §3: it is the target that is too long.
        Ok(httparse::Status::Partial) if !bytes.contains(&b'\n') => Head::Refused(StatusCode::URI_TOO_LONG),
        // RFC 6585 §5.
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Head::Refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        }
        Err(httparse::Error::Version) if bytes.starts_with(HTTP2_PREFACE) => Head::Http2,
        Err(_) => Head::Refused(StatusCode::BAD_REQUEST),
    }
}

/// The head of so many bytes.
///
/// # Errors
/// The status with which it is refused.
fn whole<'b>(
    request: &httparse::Request<'_, 'b>,
    length: usize,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<(RequestLine<'b>, FieldsOfUse), StatusCode> {
    let (Some(name), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(StatusCode::BAD_REQUEST);
    };
    let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let method = match name {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        name => Method::from_bytes(name.as_bytes()).map_err(|_error| StatusCode::BAD_REQUEST)?,
    };
    let target = match target {
        target if target.len() > TARGET_BYTES_MAX => return Err(StatusCode::URI_TOO_LONG),
        target if is_plain_target(target) => Target::Origin(target),
        target => Target::Other(target.parse().map_err(|_error| StatusCode::BAD_REQUEST)?),
    };
    // A line of any number of bytes is at least half as long in the head as it counts.
    if length > limits.header_bytes / 2 && counted_bytes(request.headers) > limits.header_bytes {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    let fields = take_fields(request.headers, version, scratch)?;
    Ok((RequestLine { version, method, target, length }, fields))
}

/// The bytes of all fields, as the limit counts them.
fn counted_bytes(fields: &[httparse::Header<'_>]) -> usize {
    fields.iter().map(|field| field.name.len() + field.value.len() + LINE_BYTES).sum()
}

impl RequestLine<'_> {
    /// The head as it is decided upon, whose fields are `lines`.
    pub(super) fn request<'r>(&'r self, lines: &'r Lines) -> RequestHead<'r> {
        let (scheme, authority, path, query) = match &self.target {
            Target::Origin(target) => {
                let (path, query) = target.split_once('?').map_or((*target, None), |(path, query)| (path, Some(query)));
                (None, None, path, query)
            }
            Target::Other(uri) => (uri.scheme_str(), uri.authority().map(Authority::as_str), uri.path(), uri.query()),
        };
        let Self { version, method, .. } = self;
        RequestHead { version: *version, method, scheme, authority, path, query, fields: Fields::Lines(lines) }
    }

    /// The request as it is handed on, whose fields are `lines`, with a body of that framing. `None` if the library
    /// cannot hold it.
    pub(super) fn into_request(self, lines: &Lines, framing: Option<BodyFraming>) -> Option<Request<()>> {
        let mut request = Request::new(());
        *request.version_mut() = self.version;
        *request.uri_mut() = match self.target {
            Target::Origin(target) => {
                Uri::from(PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(target.as_bytes())).ok()?)
            }
            Target::Other(uri) => uri,
        };
        *request.method_mut() = self.method;
        let mut fields = HeaderMap::with_capacity(lines.len());
        for (name, value) in lines.iter() {
            fields.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        }
        if framing == Some(BodyFraming::Chunks) {
            // RFC 9112 §6.3: a length beside a coding is not passed on.
            fields.remove(CONTENT_LENGTH);
        }
        *request.headers_mut() = fields;
        Some(request)
    }
}

/// Puts the fields among the lines, and reads those that speak to the connection.
///
/// # Errors
/// The status with which the request is refused.
fn take_fields(
    fields: &[httparse::Header<'_>],
    version: Version,
    scratch: &mut Scratch,
) -> Result<FieldsOfUse, StatusCode> {
    let Scratch { lines, block, .. } = scratch;
    lines.clear(LINES_BYTES_KEPT);
    let (mut length, mut codings, mut options) = (None, Codings::default(), Options::default());
    let (mut awaits_word, mut names_protocol, mut takes_trailers) = (false, false, false);
    for field in fields {
        block.clear();
        block.extend_from_slice(field.name.as_bytes());
        block.make_ascii_lowercase();
        let value = field.value;
        match block.as_slice() {
            b"connection" => options.take(value),
            b"upgrade" => names_protocol = true,
            b"te" => takes_trailers |= options_of(value).any(|option| option.eq_ignore_ascii_case(b"trailers")),
            b"content-length" => {
                // RFC 9112 §6.3: anything but one number is a fault, or an attack.
                let number = content_length(value).ok_or(StatusCode::BAD_REQUEST)?;
                match length.replace(number) {
                    None => {}
                    // RFC 9110 §8.6: the same one again says nothing more.
                    Some(before) if before == number => continue,
                    Some(_) => return Err(StatusCode::BAD_REQUEST),
                }
            }
            b"transfer-encoding" => codings.take(value),
            // RFC 9110 §10.1.1: the one expectation that there is; any other one is passed on.
            b"expect" => awaits_word |= value.eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
        lines.push(block, value);
    }
    let (is_http11, is_coded) = (version == Version::HTTP_11, codings.are_there);
    let framing = codings.framing(is_http11)?.or_else(|| length.map(BodyFraming::Length));
    let body = framing.map(|framing| AnnouncedBody { framing, awaits_word: awaits_word && is_http11 });
    Ok(FieldsOfUse {
        asks_upgrade: is_http11 && options.upgrade && names_protocol && body.is_none(),
        body,
        // RFC 9112 §6.1: where there is a length beside a coding, the connection ends in any case.
        keeps: !options.close && (is_http11 || options.keep_alive) && !(is_coded && length.is_some()),
        takes_trailers,
    })
}

/// The members of a list (RFC 9110 §5.6.1), empty ones too.
fn options_of(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// The options of the lines `Connection` that count here (RFC 9110 §7.6.1).
#[derive(Default)]
struct Options {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl Options {
    fn take(&mut self, value: &[u8]) {
        for option in options_of(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }
}

/// The transfer codings of all lines together.
#[derive(Default)]
struct Codings {
    are_there: bool,
    count: usize,
    begin_with_chunked: bool,
    end_with_chunked: bool,
}

impl Codings {
    fn take(&mut self, value: &[u8]) {
        self.are_there = true;
        for coding in options_of(value) {
            // An empty one at the end is none that the body could end by.
            self.end_with_chunked = coding.eq_ignore_ascii_case(b"chunked");
            if !coding.is_empty() {
                self.begin_with_chunked |= self.count == 0 && self.end_with_chunked;
                self.count += 1;
            }
        }
    }

    /// # Errors
    /// The status with which the request is refused.
    fn framing(&self, is_http11: bool) -> Result<Option<BodyFraming>, StatusCode> {
        match self {
            Self { are_there: false, .. } => Ok(None),
            // RFC 9112 §6.1: HTTP/1.0 has no codings; §6.3: the end of the body is not known.
            _ if !is_http11 => Err(StatusCode::BAD_REQUEST),
            Self { end_with_chunked: false, .. } => Err(StatusCode::BAD_REQUEST),
            // RFC 9112 §6.1: a coding that is not understood, …
            Self { begin_with_chunked: false, .. } => Err(StatusCode::NOT_IMPLEMENTED),
            // … and this one is applied once.
            Self { count: 2.., .. } => Err(StatusCode::BAD_REQUEST),
            _ => Ok(Some(BodyFraming::Chunks)),
        }
    }
}

/// Returns true for a target in origin form with only the characters of a path or a query (RFC 3986 §3.3 and §3.4).
fn is_plain_target(target: &str) -> bool {
    target.starts_with('/') && target.bytes().all(|byte| is_of_uri(byte) || matches!(byte, b'/' | b'?' | b'%'))
}

/// Whether a byte is `pchar` of RFC 3986 §3.3, `%` aside.
const fn is_of_uri(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_coding_is_chunked_once() {
        #[rustfmt::skip]
        let cases: &[(&[&str], Option<u16>)] = &[
            (&[],                     None),
            (&["chunked"],            None),
            (&["Chunked "],           None),      // RFC 9112 §7: names have no case
            (&[", chunked"],          None),      // RFC 9110 §5.6.1.2: empty members
            (&["chunked,"],           Some(400)),
            (&[""],                   Some(400)),
            (&["gzip"],               Some(400)), // RFC 9112 §6.3
            (&["chunked, gzip"],      Some(400)),
            (&["gzip, chunked"],      Some(501)), // RFC 9112 §6.1
            (&["gzip", "chunked"],    Some(501)),
            (&["identity, chunked"],  Some(501)),
            (&["chunked, chunked"],   Some(400)),
            (&["chunked", "chunked"], Some(400)),
        ];
        for (lines, expected) in cases {
            let mut codings = Codings::default();
            lines.iter().for_each(|line| codings.take(line.as_bytes()));
            assert_eq!(codings.framing(true).err().map(|status| status.as_u16()), *expected, "{lines:?}");
            assert_eq!(codings.framing(false).is_err(), !lines.is_empty(), "{lines:?}");
        }
    }

    #[test]
    fn empty_lines_before_a_request_are_passed_over() {
        for (bytes, count) in [("", 0), ("\r", 0), ("\r\nG", 2), ("\n\r\n\r\r\n", 3), ("\r\n\r\n", 4), ("G\r\n", 0)] {
            assert_eq!(empty_lines(bytes.as_bytes()), count, "{bytes:?}");
        }
    }
}
