//! The head of a CGI response (RFC 3875 §6), and its translation to HTTP.

use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use crate::proxy::http1::codec::{FIELDS_MAX, Fault, HEAD_BYTES_MAX, Head};

/// The field with the status.
const STATUS: HeaderName = HeaderName::from_static("status");

/// Appends a piece of a response to `head`, and takes the complete head off the front; the rest of the buffer belongs
/// to the body.
///
/// # Errors
/// As [`take_head`].
pub(super) fn add(head: &mut BytesMut, piece: &[u8]) -> Result<Option<Head>, Fault> {
    head.extend_from_slice(piece);
    // A head ends with a line: small records without a line end must not cause a new parse from the beginning.
    if memchr::memchr(b'\n', piece).is_none() && head.len() < HEAD_BYTES_MAX {
        return Ok(None);
    }
    take_head(head)
}

/// Takes the complete head of a response off the front of `input`. Lines may end in LF alone.
///
/// # Errors
/// Errors of its syntax.
pub fn take_head(input: &mut BytesMut) -> Result<Option<Head>, Fault> {
    let mut slots = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let window = input.get(..HEAD_BYTES_MAX).unwrap_or(input);
    let (length, mut fields) = match httparse::parse_headers(window, &mut slots) {
        Ok(httparse::Status::Complete((length, lines))) => (length, fields(lines)?),
        Ok(httparse::Status::Partial) if window.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(Fault::Malformed("its head is too long")),
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::Malformed("it has too many fields")),
        Err(_error) => return Err(Fault::Malformed("its head is none of CGI")),
    };
    drop(input.split_to(length));
    let status = status(&mut fields)?;
    // The script has no say in the framing of the connection.
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        fields.remove(name);
    }
    Ok(Some(Head { fields, reason: None, status, version: Version::HTTP_11 }))
}

fn fields(lines: &[httparse::Header<'_>]) -> Result<HeaderMap, Fault> {
    let mut fields = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let name = name.map_err(|_invalid| Fault::Malformed("a field's name is none"))?;
        let value = HeaderValue::from_bytes(line.value);
        fields.append(name, value.map_err(|_invalid| Fault::Malformed("a field's value is none"))?);
    }
    Ok(fields)
}

/// Takes the status of a script, such as `404 Not Found`; without a status, 302 with a `Location`, and 200 otherwise.
fn status(fields: &mut HeaderMap) -> Result<StatusCode, Fault> {
    let Some(said) = fields.remove(STATUS) else {
        return Ok(if fields.contains_key(header::LOCATION) { StatusCode::FOUND } else { StatusCode::OK });
    };
    let code = said.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    match StatusCode::from_bytes(code) {
        // An interim response would precede a second response.
        Ok(status) if !status.is_informational() => Ok(status),
        _ => Err(Fault::Malformed("its status is none")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> Result<Option<Head>, Fault> {
        take_head(&mut BytesMut::from(text.as_bytes()))
    }

    #[test]
    fn a_status_is_said_or_follows_from_the_fields() {
        for (text, expected) in [
            ("Content-Type: text/html\r\n\r\nhello", 200),
            ("Status: 404 Not Found\r\n\r\n", 404),
            ("Status: 503\n\n", 503),
            ("Location: /elsewhere\r\n\r\n", 302),
            ("Status: 201 Created\r\nLocation: /new\r\n\r\n", 201),
        ] {
            let mut input = BytesMut::from(text.as_bytes());
            let head = take_head(&mut input).unwrap().unwrap();
            assert_eq!(head.status.as_u16(), expected, "{text:?}");
            assert!(!head.fields.contains_key("status"));
            assert!(input.is_empty() || &*input == b"hello");
        }
    }

    #[test]
    fn what_frames_a_connection_is_not_the_scripts() {
        let head =
            head("Transfer-Encoding: chunked\r\nConnection: close\r\nX-A: 1\r\nX-A: 2\r\n\r\n").unwrap().unwrap();
        assert_eq!(head.fields.len(), 2);
        assert_eq!(head.fields.get_all("x-a").iter().count(), 2);
    }

    #[test]
    fn a_head_that_is_none_is_refused() {
        for bad in ["Status: 99\r\n\r\n", "Status: 100 Continue\r\n\r\n", "Status: yes\r\n\r\n", "hello world\r\n\r\n"]
        {
            assert!(matches!(head(bad), Err(Fault::Malformed(_))), "{bad:?}");
        }
        assert!(head(&format!("X: {}", "x".repeat(HEAD_BYTES_MAX))).is_err());
        assert!(head(&"X: 1\r\n".repeat(FIELDS_MAX + 1)).is_err());
        assert!(matches!(head("Content-Type: text/html\r\n"), Ok(None)));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            take_head(&mut BytesMut::from(&bytes[..])).ok();
        }
    }
}
