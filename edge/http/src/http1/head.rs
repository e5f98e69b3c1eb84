//! The head of a plain request, read from the bytes as they came.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::upload::{AnnouncedBody, BodyFraming};
use crate::Scratch;
use crate::fields::{Lines, content_length};
use crate::limits::Limits;

/// Bytes of a head up to which a request is plain.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Fields of a head up to which a request is plain.
const FIELDS_MAX: usize = 64;
/// Fields that ask for more than an answer: of the connection, of the form of the answer.
const UNUSUAL_NAMES: [&[u8]; 4] = [b"http2-settings", b"keep-alive", b"proxy-connection", b"te"];

/// The parsed beginning of the bytes.
#[derive(Debug)]
pub(super) enum Head<'b> {
    /// The head of a plain request; its fields are among the lines of the scratch.
    Plain {
        /// Any of those that have a meaning of their own here.
        method: Method,
        /// The target, in origin form.
        target: &'b str,
        /// Bytes that it takes.
        length: usize,
        /// The body that follows, where the head announces one (RFC 9112 §6).
        body: Option<AnnouncedBody>,
        /// Whether it asks for another protocol (RFC 9110 §7.8).
        asks_upgrade: bool,
    },
    /// A beginning of a head.
    Partial,
    /// Anything else.
    Other,
}

/// Reads the head at the beginning of `bytes`.
pub(super) fn read<'b>(bytes: &'b [u8], limits: &Limits, scratch: &mut Scratch) -> Head<'b> {
    let bytes_max = HEAD_BYTES_MAX.min(limits.header_bytes);
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let Some(fields) = fields.get_mut(..FIELDS_MAX.min(limits.header_fields)) else { return Head::Other };
    let length = match request.parse_with_uninit_headers(bytes, fields) {
        Ok(httparse::Status::Complete(length)) if length <= bytes_max => length,
        Ok(httparse::Status::Partial) if bytes.len() < bytes_max => return Head::Partial,
        _ => return Head::Other,
    };
    let method = match request.method {
        Some("GET") => Method::GET,
        Some("HEAD") => Method::HEAD,
        Some("POST") => Method::POST,
        Some("PUT") => Method::PUT,
        Some("PATCH") => Method::PATCH,
        Some("DELETE") => Method::DELETE,
        Some("OPTIONS") => Method::OPTIONS,
        _ => return Head::Other,
    };
    let (Some(target), Some(1)) = (request.path, request.version) else { return Head::Other };
    if !is_plain_target(target) || target.len() > limits.target_bytes {
        return Head::Other;
    }
    let Ok(FieldsOfUse { body, asks_upgrade }) = take_fields(request.headers, scratch) else { return Head::Other };
    Head::Plain { method, target, length, body, asks_upgrade }
}

/// The request as it is handed on, whose fields are `lines`. `None` if the library cannot hold it.
pub(super) fn to_request(method: &Method, target: &str, lines: &Lines) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_11;
    let target = PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(target.as_bytes())).ok()?;
    *request.uri_mut() = Uri::from(target);
    *request.method_mut() = method.clone();
    let mut fields = HeaderMap::with_capacity(lines.len());
    for (name, value) in lines.iter() {
        fields.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    *request.headers_mut() = fields;
    Some(request)
}

/// The fields are not those of a plain request.
struct Unusual;

/// What the fields say to the connection.
struct FieldsOfUse {
    body: Option<AnnouncedBody>,
    asks_upgrade: bool,
}

/// Puts the fields among the lines.
fn take_fields(fields: &[httparse::Header<'_>], scratch: &mut Scratch) -> Result<FieldsOfUse, Unusual> {
    let Scratch { lines, block, .. } = scratch;
    lines.clear(HEAD_BYTES_MAX);
    let (mut hosts, mut framing, mut awaits_word) = (0, None, false);
    let (mut lists_upgrade, mut names_protocol) = (false, false);
    for field in fields {
        block.clear();
        block.extend_from_slice(field.name.as_bytes());
        block.make_ascii_lowercase();
        let value = field.value;
        let is_plain = match block.as_slice() {
            b"host" => {
                hosts += 1;
                is_plain_host(value)
            }
            b"connection" => take_connection(value, &mut lists_upgrade),
            b"upgrade" => {
                names_protocol = true;
                true
            }
            // RFC 9112 §6.3: anything but one number is a fault, or an attack, and so is a coding beside it.
            b"content-length" => {
                let is_alone = framing.is_none();
                framing = content_length(value).map(BodyFraming::Length);
                is_alone && framing.is_some()
            }
            // RFC 9112 §6.1: other codings are not understood, and this one is applied once.
            b"transfer-encoding" => {
                let is_alone = framing.is_none();
                framing = Some(BodyFraming::Chunks);
                is_alone && value.eq_ignore_ascii_case(b"chunked")
            }
            // RFC 9110 §10.1.1: the one expectation that there is.
            b"expect" => {
                let is_first = !awaits_word;
                awaits_word = value.eq_ignore_ascii_case(b"100-continue");
                is_first && awaits_word
            }
            name => !UNUSUAL_NAMES.contains(&name),
        };
        if !is_plain {
            return Err(Unusual);
        }
        lines.push(block, value);
    }
    // RFC 9112 §3.2: there is one.
    if hosts != 1 {
        return Err(Unusual);
    }
    let body = framing.map(|framing| AnnouncedBody { framing, awaits_word });
    Ok(FieldsOfUse { asks_upgrade: lists_upgrade && names_protocol && body.is_none(), body })
}

/// Takes the options of a line `Connection`: that the connection is kept, which it is anyway (RFC 9112 §9.3), and that
/// it is to be upgraded. Whether there are no others.
fn take_connection(value: &[u8], lists_upgrade: &mut bool) -> bool {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).all(|option| {
        let is_upgrade = option.eq_ignore_ascii_case(b"upgrade");
        *lists_upgrade |= is_upgrade;
        is_upgrade || option.eq_ignore_ascii_case(b"keep-alive")
    })
}

/// Whether a target is in origin form, of characters that stand in a path or a query (RFC 3986 §3.3 and §3.4).
fn is_plain_target(target: &str) -> bool {
    target.starts_with('/') && target.bytes().all(|byte| is_of_uri(byte) || matches!(byte, b'/' | b'?' | b'%'))
}

/// Whether a host is of characters that stand in a name, an address or a port (RFC 3986 §3.2).
fn is_plain_host(host: &[u8]) -> bool {
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':' | b'[' | b']' | b'_');
    !host.is_empty() && host.iter().all(|&byte| is_of_host(byte))
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
