//! Requests that another node answers: those of a push that it has begun. The client sees no difference.
//!
//! The node that has the request checks its token and its right; the other one checks them again, as for any request.

use std::convert::Infallible;
use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONNECTION, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;

use super::body;
use super::call::{Answer, Call};
use super::state::Admin;
use super::{Body, Via};
use crate::cluster::Api;
use crate::ledger::Error;
use crate::publish::BegunBy;

/// The field in which a node says where the client of a forwarded request is: its address, or [`LOCAL`].
const CLIENT: HeaderName = HeaderName::from_static("devanture-client");
/// A client of the socket in the data folder.
const LOCAL: &str = "local";

/// Fields of a connection, which do not go beyond it (RFC 9110 §7.6.1; in HTTP/2 they are malformed, RFC 9113 §8.2.2),
/// and those that this node has dealt with.
const OF_CONNECTION: [HeaderName; 9] = [
    CONNECTION,
    EXPECT,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

impl Admin {
    /// The other node that has begun the push of a request. A request that another node has passed on goes no further.
    ///
    /// # Errors
    /// Where the catalog cannot be read.
    pub(super) async fn elsewhere(&self, call: &Call, via: Via) -> Result<Option<BegunBy<'_>>, Error> {
        if matches!(via, Via::Node(_)) {
            return Ok(None);
        }
        let of_query = || body::parameter(call.uri(), "deploy").unwrap_or_default();
        match call.path.deploy() {
            "" => self.publisher.begun_by(&of_query()).await,
            deploy => self.publisher.begun_by(deploy).await,
        }
    }
}

/// Has another node answer a request.
///
/// # Errors
/// `node_unreachable`.
pub(super) async fn forward(node: BegunBy<'_>, call: Call, via: Via) -> Answer {
    let (mut parts, body) = call.request.into_parts();
    for name in &OF_CONNECTION {
        parts.headers.remove(name);
    }
    let client = via.address().map_or_else(|| LOCAL.to_owned(), |address| address.to_string());
    parts.headers.extend(HeaderValue::from_str(&client).ok().map(|client| (CLIENT, client)));
    let answered = node.answer(Request::from_parts(parts, body.unread()?)).await?;
    Ok(answered.map(passed_on))
}

#[async_trait]
impl Api for Admin {
    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        let client = request.headers_mut().remove(CLIENT);
        let address = client.and_then(|client| client.to_str().ok()?.parse::<IpAddr>().ok());
        self.handle(request, Via::Node(address)).await
    }
}

/// The body of another node's answer. Where it breaks off, its length or its last event is missing.
fn passed_on(incoming: Incoming) -> Body {
    let frames = stream::unfold(incoming, async |mut incoming| {
        let bytes: Bytes = incoming.frame().await?.ok()?.into_data().ok()?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), incoming))
    });
    StreamBody::new(frames).boxed_unsync()
}
