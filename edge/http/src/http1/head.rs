//! Head of a plain request, parsed from the received bytes.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::upload::{AnnouncedBody, BodyFraming};
use crate::Scratch;
use crate::fields::{Lines, content_length};
use crate::limits::Limits;

/// Maximum bytes of the head of a plain request.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Maximum fields of the head of a plain request.
const FIELDS_MAX: usize = 64;
/// Fields that make a request unusual: fields about the connection or the form of the answer.
const UNUSUAL_NAMES: [&[u8]; 4] = [b"http2-settings", b"keep-alive", b"proxy-connection", b"te"];

/// Result of parsing the received bytes.
#[derive(Debug)]
pub(super) enum Head<'b> {
    /// Head of a plain request; the fields are stored in the lines of the scratch.
    Plain {
        /// Method, one of those with a meaning for the engine.
        method: Method,
        /// Target in origin form.
        target: &'b str,
        /// Length of the head in bytes.
        length: usize,
        /// Body announced by the head (RFC 9112 §6).
        body: Option<AnnouncedBody>,
        /// True for an upgrade request (RFC 9110 §7.8).
        asks_upgrade: bool,
    },
    /// Incomplete head.
    Partial,
    /// Any other input.
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

/// Converts a head with the fields `lines` into a request. `None` if the `http` crate rejects a part.
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

/// The fields do not belong to a plain request.
struct Unusual;

/// Fields with a meaning for the connection.
struct FieldsOfUse {
    body: Option<AnnouncedBody>,
    asks_upgrade: bool,
}

/// Stores the fields among the lines.
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
            // RFC 9112 §6.3: any value but a single number is an error or an attack, and so is an additional transfer
            // coding.
            b"content-length" => {
                let is_alone = framing.is_none();
                framing = content_length(value).map(BodyFraming::Length);
                is_alone && framing.is_some()
            }
            // RFC 9112 §6.1: unknown codings are not supported, and `chunked` is applied once.
            b"transfer-encoding" => {
                let is_alone = framing.is_none();
                framing = Some(BodyFraming::Chunks);
                is_alone && value.eq_ignore_ascii_case(b"chunked")
            }
            // RFC 9110 §10.1.1: the only defined expectation.
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
    // RFC 9112 §3.2: exactly one `Host`.
    if hosts != 1 {
        return Err(Unusual);
    }
    let body = framing.map(|framing| AnnouncedBody { framing, awaits_word });
    Ok(FieldsOfUse { asks_upgrade: lists_upgrade && names_protocol && body.is_none(), body })
}

/// Reads the options of a `Connection` line: `keep-alive`, the default anyway (RFC 9112 §9.3), and `upgrade`. Returns
/// true if there are no further options.
fn take_connection(value: &[u8], lists_upgrade: &mut bool) -> bool {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).all(|option| {
        let is_upgrade = option.eq_ignore_ascii_case(b"upgrade");
        *lists_upgrade |= is_upgrade;
        is_upgrade || option.eq_ignore_ascii_case(b"keep-alive")
    })
}

/// Returns true for a target in origin form with only the characters of a path or a query (RFC 3986 §3.3 and §3.4).
fn is_plain_target(target: &str) -> bool {
    target.starts_with('/') && target.bytes().all(|byte| is_of_uri(byte) || matches!(byte, b'/' | b'?' | b'%'))
}

/// Returns true for a host with only the characters of a name, an address or a port (RFC 3986 §3.2).
fn is_plain_host(host: &[u8]) -> bool {
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':' | b'[' | b']' | b'_');
    !host.is_empty() && host.iter().all(|&byte| is_of_host(byte))
}

/// Returns true for a `pchar` of RFC 3986 §3.3, except `%`.
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
