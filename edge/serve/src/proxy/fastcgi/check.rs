//! A single request for a health check, which only reads the status.

use std::io;

use bytes::BytesMut;
use devanture_config::site_toml::Scripts;
use http::{HeaderMap, Method, Uri};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::records::{self, Event, Reader};
use super::{answer, params};
use crate::proxy::http1::codec::HEAD_BYTES_MAX;
use crate::proxy::outgoing::Outgoing;
use crate::proxy::request_body::Original;

/// Maximum number of bytes read until the response head is complete, including record headers.
const ANSWER_BYTES_MAX: usize = 4 * HEAD_BYTES_MAX;

/// Requests `path` with the fields `headers` on a new connection; returns the status.
///
/// # Errors
/// Errors of the connection; `InvalidData` for an invalid response.
pub async fn status_of(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    fields: HeaderMap,
    scripts: &Scripts,
) -> io::Result<u16> {
    stream.write_all(&request(path, fields, scripts)?).await?;
    let (mut reader, mut input, mut head, mut left) =
        (Reader::default(), BytesMut::new(), BytesMut::new(), ANSWER_BYTES_MAX);
    loop {
        match reader.next(&mut input).map_err(|_bad| io::ErrorKind::InvalidData)? {
            Event::Stdout(piece) => {
                let taken = answer::add(&mut head, &piece).map_err(|_fault| io::ErrorKind::InvalidData)?;
                if let Some(head) = taken {
                    return Ok(head.status.as_u16());
                }
            }
            Event::Stderr(_) => {}
            Event::End(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Event::More => {
                let read = stream.read_buf(&mut input).await?;
                left = left.checked_sub(read).ok_or(io::ErrorKind::InvalidData)?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

/// Returns the bytes of the request.
fn request(path: &str, headers: HeaderMap, scripts: &Scripts) -> io::Result<Vec<u8>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let uri: Uri = path.parse().map_err(|_invalid| invalid())?;
    let target = uri.into_parts().path_and_query.ok_or_else(invalid)?;
    let request = Outgoing { body: Original::empty(), headers, length: Some(0), method: Method::GET, target };
    let mut bytes = Vec::new();
    records::write_begin(&mut bytes, false);
    params::write(&mut bytes, &request, 0, scripts).map_err(|_bad| invalid())?;
    bytes.extend_from_slice(&records::stdin(0));
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a record of request 1.
    fn record(kind: u8, content: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[1, kind, 0, 1, high, low, 0, 0][..], content].concat()
    }

    async fn status(answer: Vec<u8>) -> io::Result<u16> {
        let (own, mut backend) = tokio::io::duplex(1_000_000);
        backend.write_all(&answer).await.unwrap();
        backend.shutdown().await.unwrap();
        status_of(own, "/healthz", HeaderMap::new(), &Scripts::below("/srv")).await
    }

    #[test]
    fn a_check_comes_with_what_a_visitor_comes_with() {
        let fields = crate::proxy::question("shop.example:8443").unwrap();
        let bytes = request("/healthz?deep", fields, &Scripts::below("/srv")).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for param in [
            "HTTP_HOSTshop.example:8443",
            "SERVER_NAMEshop.example",
            "HTTPSon",
            "REQUEST_SCHEMEhttps",
            "HTTP_X_FORWARDED_PROTOhttps",
            "HTTP_X_FORWARDED_HOSTshop.example:8443",
            "HTTP_USER_AGENTdevanture",
            "QUERY_STRINGdeep",
        ] {
            assert!(text.contains(param), "{param}: {text:?}");
        }
    }

    #[tokio::test]
    async fn a_head_in_records_of_one_byte_beside_reports_has_a_status() {
        let pieces = b"Status: 204 No Content\r\nX-A: b\r\n\r\n";
        let answer = pieces.iter().flat_map(|byte| [record(7, b"a warning\n"), record(6, &[*byte])].concat());
        assert_eq!(status(answer.collect()).await.unwrap(), 204);
        assert_eq!(status(record(6, b"Status: 503\n\nbody")).await.unwrap(), 503);
    }

    #[tokio::test]
    async fn a_head_that_never_ends_is_no_answer() {
        let line = record(6, &vec![b'a'; 60_000]);
        let error = status(line.repeat(HEAD_BYTES_MAX / 60_000 + 1)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let reports = record(7, &vec![b'a'; 60_000]).repeat(ANSWER_BYTES_MAX / 60_000 + 1);
        assert_eq!(status(reports).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let error = status(record(6, b"Status: 200\r\n")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
