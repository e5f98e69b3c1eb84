//! HTTPS requests to an authority: bounded in time and size, and respecting `Retry-After`.
//!
//! An order takes a dozen requests in two months. Each uses its own connection, so that none is kept open in between.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::schedule::{LIMITED_WAIT_MS, WAIT_MS_MAX};
use devanture_base::clock;
use devanture_serve::proxy::{Names, retry_after_ms};

/// Time limit of a request, from the name look-up to the last byte of the response.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// Longest response body: chains are a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Longest response head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Default port.
const HTTPS_PORT: u16 = 443;

/// Sends requests to an authority.
#[derive(Clone)]
pub(crate) struct Https {
    tls: Arc<ClientConfig>,
    names: AuthorityNames,
}

/// DNS servers for the authority's name: the system's until others are set.
#[derive(Clone, Default)]
pub(crate) struct AuthorityNames(Arc<OnceLock<Names>>);

impl AuthorityNames {
    /// Sets the servers, unless already in use.
    pub(crate) fn set(&self, servers: &[SocketAddr]) {
        self.0.set(Names::new(servers)).ok();
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses = self.0.get_or_init(|| Names::new(&[])).addresses(host, port).await?;
        TcpStream::connect(&addresses[..]).await
    }
}

/// The authority is overloaded, or limits requests (RFC 8555 §6.6).
#[derive(Debug, thiserror::Error)]
#[error("the authority wants to be left alone for {} s: {detail}", wait_ms / 1_000)]
pub(crate) struct RetryLater {
    pub(crate) wait_ms: u64,
    detail: String,
}

type Boxed = Box<dyn std::error::Error + Send + Sync>;

impl Https {
    pub(crate) const fn new(tls: Arc<ClientConfig>, names: AuthorityNames) -> Self {
        Self { tls, names }
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, Boxed> {
        let uri = request.uri().clone();
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!("{uri} is no address of HTTPS").into());
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())?;
        let stream = self.names.connect(host, authority.port_u16().unwrap_or(HTTPS_PORT)).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(self.tls).connect(name, stream).await?;
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await?;
        let (mut parts, body) = request.into_parts();
        parts.headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
        parts.uri = Uri::from(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        let exchange = async {
            let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok::<_, Boxed>(Response::from_parts(parts, body))
        };
        // The connection is driven during the exchange, and ends with the exchange.
        tokio::pin!(exchange, connection);
        tokio::select! {
            biased;
            answered = &mut exchange => answered,
            ended = &mut connection => {
                // The connection may have ended just after the last byte.
                ended?;
                exchange.await
            }
        }
    }
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            // Reading from memory cannot fail.
            let body = body.collect().await.map_or_else(|never| match never {}, |body| body.to_bytes());
            let sent = timeout(REQUEST_MAX, client.send(Request::from_parts(parts, body))).await;
            let late = || io::Error::new(io::ErrorKind::TimedOut, "the authority did not answer in time").into();
            let mut response = sent.unwrap_or_else(|_elapsed| Err(late())).map_err(Error::Other)?;
            if let Some(retry_later) = retry_later(response.status(), response.headers(), response.body()) {
                return Err(Error::Other(Box::new(retry_later)));
            }
            check_directory(response.body()).map_err(Error::Other)?;
            bound_wait(response.headers_mut());
            Ok(response.map(Full::new).into())
        })
    }
}

/// Refuses a directory with an invalid nonce address, on which the library would panic.
fn check_directory(body: &[u8]) -> Result<(), Boxed> {
    // An object with the field is a directory (RFC 8555 §7.1.1). The library refuses malformed JSON.
    let Ok(directory) = serde_json::from_slice::<Directory<'_>>(body) else { return Ok(()) };
    let address = directory.new_nonce;
    match address.parse::<Uri>() {
        Ok(uri) if uri.scheme_str() == Some("https") && uri.host().is_some() => Ok(()),
        _ => Err(format!("`newNonce` of the authority's directory is not an HTTPS address: {address:?}").into()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory<'b> {
    #[serde(borrow)]
    new_nonce: Cow<'b, str>,
}

/// Limits `Retry-After` of a successful response: the library adds the value to a time, and panics on overflow.
fn bound_wait(headers: &mut HeaderMap) {
    let most = WAIT_MS_MAX / 1_000;
    let value = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    if value.and_then(|text| text.trim().parse::<u64>().ok()).is_some_and(|seconds| seconds > most) {
        headers.insert(RETRY_AFTER, HeaderValue::from(most));
    }
}

/// Returns the authority's requested pause; the library omits `Retry-After` of a refusal.
fn retry_later(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<RetryLater> {
    if status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let retry_after_ms = retry_after_ms(headers, clock::now_ms());
    let wait_ms = match status {
        StatusCode::TOO_MANY_REQUESTS => retry_after_ms.unwrap_or(LIMITED_WAIT_MS),
        _ => retry_after_ms.unwrap_or_default(),
    };
    let problem = serde_json::from_slice::<instant_acme::Problem>(body).ok();
    let detail = problem.and_then(|problem| problem.detail).unwrap_or_else(|| status.to_string());
    Some(RetryLater { wait_ms, detail })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// Status, `Retry-After`, and the expected range of the wait in milliseconds, if any.
    type Case<'c> = (u16, Option<&'c str>, Option<std::ops::RangeInclusive<u64>>);

    #[test]
    fn a_retry_after_is_kept() {
        let in_an_hour = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3_600));
        #[rustfmt::skip]
        let cases: &[Case<'_>] = &[
            // RFC 8555 §6.6; RFC 9110 §10.2.3
            (429, Some("120"),       Some(120_000..=120_000)),
            (429, Some(&in_an_hour), Some(3_590_000..=3_600_000)),
            (429, Some("soon"),      Some(LIMITED_WAIT_MS..=LIMITED_WAIT_MS)),
            (429, None,              Some(LIMITED_WAIT_MS..=LIMITED_WAIT_MS)),
            (503, Some("7"),         Some(7_000..=7_000)),
            (503, None,              Some(0..=0)),
            (429, Some("Thu, 01 Jan 1970 00:00:09 GMT"), Some(0..=0)),
            (200, Some("120"),       None),
            (403, Some("120"),       None),
        ];
        for (status, value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.extend(value.map(|value| (RETRY_AFTER, HeaderValue::from_str(value).unwrap())));
            let body = br#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many"}"#;
            let found = retry_later(StatusCode::from_u16(*status).unwrap(), &headers, body);
            match (found, expected) {
                (None, None) => {}
                (Some(found), Some(range)) => {
                    assert!(range.contains(&found.wait_ms), "{status} {value:?}: {}", found.wait_ms);
                    assert_eq!(found.detail, "too many");
                }
                (found, expected) => panic!("{status} {value:?}: {found:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn a_wait_that_would_overflow_is_bounded() {
        for (value, expected) in [
            ("7", "7"),
            ("604800", "604800"),
            ("604801", "604800"),
            ("1000000000000", "604800"),
            ("18446744073709551615", "604800"),
            // Not a number for the library.
            ("18446744073709551616", "18446744073709551616"),
            ("soon", "soon"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            bound_wait(&mut headers);
            assert_eq!(headers[RETRY_AFTER], expected);
        }
    }

    #[test]
    fn a_directory_has_addresses_of_https() {
        let check = |body: &str| check_directory(body.as_bytes()).map_err(|error| error.to_string());
        check(r#"{"newNonce":"https://127.0.0.1:14000/nonce","newAccount":"https://127.0.0.1/a"}"#).unwrap();
        check(r#"{"status":"pending"}"#).unwrap();
        check("no json").unwrap();
        for address in ["", "nonce", "http://127.0.0.1/nonce", "https://127.0.0.1/\\u0000", "https://", "https://[::1/"]
        {
            let error = check(&format!(r#"{{"newNonce":"{address}"}}"#)).unwrap_err();
            assert!(error.contains("is not an HTTPS address"), "{address}: {error}");
        }
    }

    #[tokio::test]
    async fn the_name_of_the_authority_is_asked_for_at_the_dns_servers_of_the_edge() {
        let dns = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (names, mut question) = (AuthorityNames::default(), [0; 512]);
        names.set(&[dns.local_addr().unwrap()]);
        let bytes = tokio::select! {
            stream = names.connect("acme.test", 443) => panic!("nobody answers: {stream:?}"),
            received = dns.recv(&mut question) => received.unwrap(),
        };
        let name = b"\x04acme\x04test\0";
        assert!(question[..bytes].windows(name.len()).any(|part| part == name));
    }

    #[tokio::test]
    async fn nothing_is_asked_without_tls() {
        let tls = devanture_serve::proxy::tls::trusting([]).unwrap();
        let request = Request::get("http://127.0.0.1:9/dir").body(BodyWrapper::default()).unwrap();
        let error = Https::new(tls, AuthorityNames::default()).request(request).await.err().unwrap().to_string();
        assert!(error.contains("is no address of HTTPS"), "{error}");
    }
}
