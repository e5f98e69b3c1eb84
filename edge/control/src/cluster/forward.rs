//! API requests answered by another node, whose memory holds their state.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;

use super::lines::LinesBody;

/// Path prefix of a forwarded request.
pub(super) const PREFIX: &str = "/api";

/// The body of a request of the API, whatever it came by.
pub type ApiBody = BoxBody<Bytes, io::Error>;

/// Answers requests that another node has received.
#[async_trait]
pub trait Api: Send + Sync {
    /// Answers a request as sent by its client, with the fields added by the other node.
    async fn answer(&self, request: Request<Incoming>) -> Response<LinesBody>;
}

/// Restores the original of a forwarded request; false for other requests.
pub(super) fn take_original(request: &mut Request<Incoming>) -> bool {
    let asked = request.uri().path_and_query().and_then(|asked| asked.as_str().strip_prefix(PREFIX));
    match asked.filter(|asked| asked.starts_with('/')).map(str::parse) {
        Some(Ok(original)) => {
            *request.uri_mut() = original;
            true
        }
        _ => false,
    }
}
