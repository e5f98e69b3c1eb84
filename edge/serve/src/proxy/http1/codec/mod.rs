//! The wire format: request head, response head, and the framing of bodies (RFC 9112).
//!
//! The codec does no I/O: functions accept bytes in pieces of any size and return decoded parts.

mod body;

pub use body::{Decoded, Decoder};

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use hyper::ext::ReasonPhrase;

/// Maximum size of a response head.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Maximum number of fields in a head, and in trailers.
pub const FIELDS_MAX: usize = 256;

/// Reason of a failed HTTP/1.1 exchange.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The backend closed the connection before the end of the response.
    #[error("the connection was closed before the answer was whole")]
    Closed,
    /// The connection failed.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The response is not valid HTTP/1.1.
    #[error("{0}")]
    Malformed(&'static str),
    /// The request's own body was broken off.
    #[error("the request's body broke off")]
    Request,
}

impl Fault {
    /// Returns true if the connection ended, rather than the response being invalid: closed, reset, unreachable peer,
    /// or broken TLS are equal here.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        match self {
            Self::Closed | Self::Io(_) => true,
            Self::Malformed(_) | Self::Request => false,
        }
    }
}

/// Writes the head of a request; no part contains a line break.
pub fn write_head(out: &mut Vec<u8>, method: &Method, target: &str, fields: &HeaderMap) {
    const LINE: &[u8] = b" HTTP/1.1\r\n";
    // An estimate of the usual field length; the vector grows for longer fields.
    out.reserve(method.as_str().len() + 1 + target.len() + LINE.len() + 48 * fields.len() + 2);
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(LINE);
    write_fields(out, fields);
    out.extend_from_slice(b"\r\n");
}

/// Writes lines of fields.
pub fn write_fields(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// The head of a response.
#[derive(Debug)]
pub struct Head {
    /// The fields.
    pub fields: HeaderMap,
    /// The reason phrase, if unusual.
    pub reason: Option<ReasonPhrase>,
    /// The status.
    pub status: StatusCode,
    /// 1.0 or 1.1.
    pub version: Version,
}

/// The length of a response body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// The chunks tell the length.
    Chunked,
    /// Number of bytes.
    Known(u64),
    /// Up to the end of the connection.
    UntilClose,
}

/// Takes the complete head of a response, interim or final, off the front of `input`.
///
/// # Errors
/// Errors of the syntax.
pub fn take_head(input: &mut BytesMut) -> Result<Option<Head>, Fault> {
    let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let window = input.get(..HEAD_BYTES_MAX).unwrap_or(input);
    let length = match parser.parse_response_with_uninit_headers(&mut answer, window, &mut slots) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if window.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(Fault::Malformed("its head is too long")),
        Err(error) => return Err(malformed(error)),
    };
    let (Some(code), Some(version)) = (answer.code, answer.version) else { return Ok(None) };
    let status = StatusCode::from_u16(code).map_err(|_invalid| Fault::Malformed("its status is none"))?;
    let reason = answer.reason.filter(|reason| status.canonical_reason() != Some(*reason));
    let reason = reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok());
    let version = if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let places = places(window, answer.headers)?;
    // Values share the memory of the input without a copy.
    let head = input.split_to(length).freeze();
    Ok(Some(Head { fields: fields(&head, places)?, reason, status, version }))
}

/// Returns the names of the fields, and the positions of the values in `text`.
fn places(text: &[u8], lines: &[httparse::Header<'_>]) -> Result<Vec<(HeaderName, Range<usize>)>, Fault> {
    let mut places = Vec::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let start = line.value.as_ptr().addr().saturating_sub(text.as_ptr().addr());
        // An empty value of the parser may point outside of the text.
        let place = if line.value.is_empty() { 0..0 } else { start..start.saturating_add(line.value.len()) };
        places.push((name.map_err(|_invalid| Fault::Malformed("a field's name is none"))?, place));
    }
    Ok(places)
}

fn fields(text: &Bytes, places: Vec<(HeaderName, Range<usize>)>) -> Result<HeaderMap, Fault> {
    let mut fields = HeaderMap::with_capacity(places.len());
    for (name, place) in places {
        let value = if place.end <= text.len() { text.slice(place) } else { Bytes::new() };
        let value = HeaderValue::from_maybe_shared(value);
        fields.append(name, value.map_err(|_invalid| Fault::Malformed("a field's value is none"))?);
    }
    Ok(fields)
}

fn malformed(error: httparse::Error) -> Fault {
    Fault::Malformed(match error {
        httparse::Error::HeaderName => "a field's name is none",
        httparse::Error::HeaderValue => "a field's value is none",
        httparse::Error::NewLine => "a line does not end as it should",
        httparse::Error::Status => "its status is none",
        httparse::Error::Token => "it is no HTTP answer",
        httparse::Error::TooManyHeaders => "it has too many fields",
        httparse::Error::Version => "it is of another version of HTTP",
    })
}

impl Head {
    /// Returns the body length of the final response to a request of `method` (RFC 9112 §6.3).
    ///
    /// # Errors
    /// Errors of the length fields.
    pub fn length(&self, method: &Method) -> Result<Length, Fault> {
        let bodiless = [StatusCode::SWITCHING_PROTOCOLS, StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        if *method == Method::HEAD || bodiless.contains(&self.status) {
            return Ok(Length::Known(0));
        }
        let mut codings = self.fields.get_all(header::TRANSFER_ENCODING).into_iter();
        match (codings.next(), codings.next()) {
            (None, _) => {}
            (Some(_), _) if self.version == Version::HTTP_10 => {
                return Err(Fault::Malformed("HTTP/1.0 has no transfer codings"));
            }
            // A length beside a coding is void.
            (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => {
                return Ok(Length::Chunked);
            }
            (Some(_), _) => return Err(Fault::Malformed("its transfer coding is not chunked alone")),
        }
        Ok(self.announced_length()?.map_or(Length::UntilClose, Length::Known))
    }

    /// Writes the length once, and only for a response that may have a length: later readers may be stricter.
    ///
    /// # Errors
    /// The length is invalid, or has several values.
    pub fn normalise(&mut self, length: Length) -> Result<(), Fault> {
        let announced = match length {
            // RFC 9110 §8.6: in the response to HEAD and in a 304, the length describes the omitted body; a 204 must
            // not have a length.
            Length::Known(0) if self.status == StatusCode::NO_CONTENT => None,
            Length::Known(_) | Length::UntilClose => self.announced_length()?,
            // Void beside a coding.
            Length::Chunked => None,
        };
        match announced {
            Some(announced) => drop(self.fields.insert(header::CONTENT_LENGTH, announced.into())),
            None => drop(self.fields.remove(header::CONTENT_LENGTH)),
        }
        Ok(())
    }

    /// Returns true if a response without a body announces a body: following bytes may be the announced body.
    #[must_use]
    pub fn may_lie(&self, method: &Method) -> bool {
        let is_coded = self.fields.contains_key(header::TRANSFER_ENCODING);
        let has_length = || self.announced_length().is_ok_and(|announced| announced > Some(0));
        match self.status {
            _ if *method == Method::HEAD => true,
            StatusCode::NO_CONTENT => is_coded || has_length(),
            // The length describes the omitted body.
            StatusCode::NOT_MODIFIED => is_coded,
            _ => false,
        }
    }

    /// Returns the announced length.
    fn announced_length(&self) -> Result<Option<u64>, Fault> {
        let mut known = None;
        for line in self.fields.get_all(header::CONTENT_LENGTH) {
            // A repeated equal length is unambiguous.
            for length in line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                let length = decimal(length).ok_or(Fault::Malformed("its length is no number"))?;
                if known.is_some_and(|known| known != length) {
                    return Err(Fault::Malformed("it has several lengths"));
                }
                known = Some(length);
            }
        }
        Ok(known)
    }

    /// Returns true if another request may follow on the connection (RFC 9112 §9.3).
    #[must_use]
    pub fn keeps_connection(&self) -> bool {
        let lines = self.fields.get_all(header::CONNECTION).into_iter();
        let options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        let mut is_kept = self.version == Version::HTTP_11;
        for option in options {
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            is_kept |= option.eq_ignore_ascii_case(b"keep-alive");
        }
        is_kept
    }
}

/// Parses a number of digits only.
fn decimal(text: &[u8]) -> Option<u64> {
    // The standard parser accepts "+1".
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
