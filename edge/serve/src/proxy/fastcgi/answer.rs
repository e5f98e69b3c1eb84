//! The head of a CGI answer (RFC 3875 §6), and what it is in HTTP.

use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use crate::proxy::http1::codec::{FIELDS_MAX, Fault, HEAD_BYTES_MAX, Head};

/// The field that holds the status.
const STATUS: HeaderName = HeaderName::from_static("status");

/// Adds a piece of an answer to `head`, and takes the head off its front once all of it is there: what stays then is of
/// the body.
///
/// # Errors
/// As [`take_head`].
pub(super) fn add(head: &mut BytesMut, piece: &[u8]) -> Result<Option<Head>, Fault> {
    head.extend_from_slice(piece);
    // A head ends with a line: it is not parsed from its beginning for each record of a few bytes.
    if memchr::memchr(b'\n', piece).is_none() && head.len() < HEAD_BYTES_MAX {
        return Ok(None);
    }
    take_head(head)
}

/// Takes the head of an answer off the front of `input`, once all of it is there. Its lines may end in LF alone.
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
    // The framing of a connection is not the script's to say.
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

/// The status that a script says, `404 Not Found`; without one, 302 where it says where to go, and else 200.
fn status(fields: &mut HeaderMap) -> Result<StatusCode, Fault> {
    let Some(said) = fields.remove(STATUS) else {
        return Ok(if fields.contains_key(header::LOCATION) { StatusCode::FOUND } else { StatusCode::OK });
    };
    let code = said.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    match StatusCode::from_bytes(code) {
        // An interim answer would be followed by another one.
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
