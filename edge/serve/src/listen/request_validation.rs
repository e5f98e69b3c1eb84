//! Validates requests as messages where hyper lets them through, for any client and any path.

use http::header::{CACHE_CONTROL, CONNECTION, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};

use super::limits::Sizes;

/// Bytes that a line of a head has beside its name and value.
const LINE_BYTES: usize = 4;

/// The answer to a request that is not to be looked at any further.
pub(super) fn refusal<B>(request: &Request<B>, sizes: &Sizes) -> Option<Response<()>> {
    let headers = request.headers();
    let is_http1 = request.version() <= Version::HTTP_11;
    // RFC 6585 §5. For HTTP/2, hyper counts the bytes.
    if headers.len() > sizes.header_fields || is_http1 && bytes(headers) > sizes.header_bytes {
        return Some(answer(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    if !is_http1 {
        // RFC 9113 §8.1.1: malformed; a server may answer before it ends the stream.
        return is_malformed(request).then(|| answer(StatusCode::BAD_REQUEST));
    }
    // The rest of what was sent cannot be distinguished from a next request: the connection ends here.
    coding_fault(headers).map(|status| {
        let mut response = answer(status);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    })
}

/// Requests that RFC 9113 calls malformed, and that h2 does not check.
fn is_malformed<B>(request: &Request<B>) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    // §8.2.1: the surroundings of a value in HTTP/1.1 are no part of it.
    let is_surrounded = |value: &HeaderValue| is_blank(value.as_bytes().first()) || is_blank(value.as_bytes().last());
    // §8.3.1: `:scheme` is that of the target.
    request.uri().scheme_str() == Some("") || request.headers().values().any(is_surrounded)
}

/// Of the transfer codings, hyper knows that the last one is `chunked`; what it covers, nobody here takes off.
fn coding_fault(headers: &HeaderMap) -> Option<StatusCode> {
    let lines = headers.get_all(TRANSFER_ENCODING).iter().map(HeaderValue::as_bytes);
    let mut codings = lines.flat_map(|line| line.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    let first = codings.find(|coding| !coding.is_empty())?;
    let others = codings.filter(|coding| !coding.is_empty()).count();
    if !first.eq_ignore_ascii_case(b"chunked") {
        // RFC 9112 §6.1: a coding that is not understood.
        return Some(StatusCode::NOT_IMPLEMENTED);
    }
    // RFC 9112 §6.1: chunked is applied once.
    (others > 0).then_some(StatusCode::BAD_REQUEST)
}

fn bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE_BYTES).sum()
}

fn answer(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_coding_is_chunked_once() {
        #[rustfmt::skip]
        let cases: &[(&[&str], Option<u16>)] = &[
            (&[],                    None),
            (&["chunked"],           None),
            (&["Chunked "],          None),      // RFC 9112 §7: names have no case
            (&[", chunked,"],        None),      // RFC 9110 §5.6.1.2: empty members
            (&["gzip, chunked"],     Some(501)), // RFC 9112 §6.1
            (&["gzip", "chunked"],   Some(501)),
            (&["identity, chunked"], Some(501)),
            (&["chunked, chunked"],  Some(400)),
            (&["chunked", "chunked"], Some(400)),
        ];
        for (lines, expected) in cases {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(TRANSFER_ENCODING, line.parse().unwrap());
            }
            assert_eq!(coding_fault(&headers).map(|status| status.as_u16()), *expected, "{lines:?}");
        }
    }
}
