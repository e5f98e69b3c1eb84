//! A request to send: to any member, any number of times, without a copy of its head.

use std::time::Duration;

use http::header::{CONNECTION, HOST, HeaderMap, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};

use super::error::Error;
use super::idle_pool::IDLE_AGE_ONCE_MAX;
use super::pool::Member;
use super::request_body::{Original, REPLAY_BYTES_MAX, RequestBody};

/// A request for a backend.
pub(crate) struct Outgoing {
    pub(crate) body: Original,
    pub(crate) headers: HeaderMap,
    /// The body length; without a length, the body is sent in chunks. The fields agree.
    pub(crate) length: Option<u64>,
    pub(crate) method: Method,
    pub(crate) target: PathAndQuery,
}

impl Outgoing {
    /// Returns true if the request can be sent from its beginning.
    pub(crate) fn is_whole(&self) -> bool {
        self.body.is_whole()
    }

    /// Returns true if a repetition is safe.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.method.is_idempotent() && self.is_whole()
    }

    /// Returns the longest idle time of a connection for the first attempt.
    ///
    /// The peer may close an idle connection at the moment of use. A repeatable request tolerates the close, and a
    /// request with side effects uses a recently used connection. A long body is not buffered: an idempotent request
    /// with a long body gets a new connection, because the request should succeed all the same.
    pub(crate) fn idle_age_max(&self) -> Option<Duration> {
        if !self.method.is_idempotent() {
            return Some(IDLE_AGE_ONCE_MAX);
        }
        let is_short = match self.length {
            Some(length) => usize::try_from(length).is_ok_and(|length| length <= REPLAY_BYTES_MAX),
            // Requests with safe methods rarely have a body of unknown length.
            None => self.method.is_safe(),
        };
        is_short.then_some(Duration::MAX)
    }

    /// Builds the HTTP/2 form of the request.
    pub(crate) fn for_http2(&self, body: RequestBody, member: &Member) -> Result<Request<RequestBody>, Error> {
        let mut headers = self.headers.clone();
        // RFC 9113 §8.2.2: connection fields are forbidden, except `TE: trailers`.
        for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
            headers.remove(name);
        }
        if headers.get(TE).is_some_and(|te| te != HeaderValue::from_static("trailers")) {
            headers.remove(TE);
        }
        let host = headers.remove(HOST);
        let authority = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or(&member.authority);
        let scheme = if member.tls.is_some() { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(self.target.clone()).build();
        let mut request = Request::new(body);
        *request.uri_mut() = uri.map_err(|_invalid| Error::BadRequest("its host or path cannot be asked for"))?;
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }
}
