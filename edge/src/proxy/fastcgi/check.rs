//! A single request whose status alone is of interest: whether a backend is well.

use std::io;

use bytes::BytesMut;
use devanture_config::site_toml::Scripts;
use http::header::{HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Uri};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::records::{self, Event, Reader};
use super::{answer, params};
use crate::proxy::http1::codec::HEAD_BYTES_MAX;
use crate::proxy::outgoing::Outgoing;
use crate::proxy::request_body::Original;

/// Bytes that are read of an answer until its head is there, records with it.
const ANSWER_BYTES_MAX: usize = 4 * HEAD_BYTES_MAX;

/// Asks for `path` on a connection of its own; gives the status.
///
/// # Errors
/// Those of the connection; `InvalidData` for what is no answer.
pub(crate) async fn status_of(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    scripts: &Scripts,
) -> io::Result<u16> {
    stream.write_all(&request(path, scripts)?).await?;
    let (mut reader, mut input, mut head, mut left) =
        (Reader::default(), BytesMut::new(), BytesMut::new(), ANSWER_BYTES_MAX);
    loop {
        let invalid = |_bad| io::Error::from(io::ErrorKind::InvalidData);
        match reader.next(&mut input).map_err(invalid)? {
            Event::Stdout(piece) => head.extend_from_slice(&piece),
            Event::Stderr(_) => {}
            Event::End(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Event::More => {
                let read = stream.read_buf(&mut input).await?;
                left = left.checked_sub(read).ok_or(io::ErrorKind::InvalidData)?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
        }
        let taken = answer::take_head(&mut head).map_err(|_fault| io::Error::from(io::ErrorKind::InvalidData))?;
        if let Some(head) = taken {
            return Ok(head.status.as_u16());
        }
    }
}

/// The bytes of the request.
fn request(path: &str, scripts: &Scripts) -> io::Result<Vec<u8>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let uri: Uri = path.parse().map_err(|_invalid| invalid())?;
    let target = uri.into_parts().path_and_query.ok_or_else(invalid)?;
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    headers.insert(USER_AGENT, HeaderValue::from_static("devanture"));
    let request = Outgoing { body: Original::empty(), headers, length: Some(0), method: Method::GET, target };
    let mut bytes = Vec::new();
    records::write_begin(&mut bytes, false);
    params::write(&mut bytes, &request, 0, scripts).map_err(|_bad| invalid())?;
    bytes.extend_from_slice(&records::stdin(0));
    Ok(bytes)
}
