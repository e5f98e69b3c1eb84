//! Requests answered by another node: requests of a push that began there. Clients see no difference.
//!
//! The receiving node checks token and right; the answering node checks both again, as for any request.

use std::io;

use async_trait::async_trait;
use devanture_config::problem::{Code, Problem};
use futures_util::stream;
use http::header::{CONNECTION, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;

use super::call::{Answer, Call};
use super::state::Admin;
use super::{Body, Via, answer, body};
use crate::cluster::Api;
use crate::ledger::Error;
use crate::publish::OtherNode;
use devanture_base::fair::Share;

/// Field with the address of a forwarded request's client, or [`LOCAL`].
const CLIENT: HeaderName = HeaderName::from_static("devanture-client");
/// Marks a client of the socket in the data folder.
const LOCAL: &str = "local";

/// Hop-by-hop fields (RFC 9110 §7.6.1; malformed in HTTP/2, RFC 9113 §8.2.2), and fields processed by the forwarding
/// node.
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
    /// Returns the node where the push of a request began. A forwarded request is never forwarded again.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub(super) async fn elsewhere(&self, call: &Call, via: Via) -> Result<Option<OtherNode<'_>>, Error> {
        if matches!(via, Via::Node(_)) {
            return Ok(None);
        }
        if let Some(node) = self.named_node(call.uri()).await? {
            return Ok(Some(node));
        }
        let of_query = || body::parameter(call.uri(), "deploy").unwrap_or_default();
        match call.path.deploy() {
            "" => self.publisher.begun_by(&of_query()).await,
            deploy => self.publisher.begun_by(deploy).await,
        }
    }

    /// Forwards a request to a node. The request holds a permit until the end of its response.
    ///
    /// # Errors
    /// `busy`, `node_unreachable`.
    pub(super) async fn forward(&self, node: OtherNode<'_>, call: Call, via: Via) -> Answer {
        let share = self.forwards.take(&call.path.app()?).ok_or_else(|| {
            let detail = "This node passes on no more requests of the app to others just now.";
            Problem::new(Code::Busy, detail).hint("try again in a moment, or at the other node itself")
        })?;
        let (mut parts, body) = call.request.into_parts();
        for name in &OF_CONNECTION {
            parts.headers.remove(name);
        }
        let client = via.address().map_or_else(|| LOCAL.to_owned(), |address| address.to_string());
        let client = HeaderValue::from_str(&client).map_err(|_error| no_client())?;
        // Replaces a field sent by the client.
        parts.headers.insert(CLIENT, client);
        let answered = node.answer(Request::from_parts(parts, body.unread()?)).await?;
        Ok(answered.map(|incoming| passed_on(incoming, share)))
    }
}

/// Returns the client's address as reported by the forwarding node.
fn client_of(headers: &HeaderMap) -> Option<Via> {
    let mut clients = headers.get_all(CLIENT).iter();
    let client = clients.next()?.to_str().ok().filter(|_| clients.next().is_none())?;
    match client {
        LOCAL => Some(Via::Node(None)),
        address => address.parse().ok().map(|address| Via::Node(Some(address))),
    }
}

fn no_client() -> Error {
    Problem::new(Code::BadRequest, "A request was passed on that does not say where its client is.").into()
}

#[async_trait]
impl Api for Admin {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match client_of(request.headers()) {
            Some(via) => self.handle(request, via).await,
            None => answer::problem(&no_client().0),
        }
    }
}

/// Body of the node's response. An aborted body aborts the response, so that a part never passes for the whole.
fn passed_on(incoming: Incoming, share: Share) -> Body {
    let frames = stream::unfold((incoming, share), async |(mut incoming, share)| match incoming.frame().await? {
        Ok(frame) => Some((Ok(Frame::data(frame.into_data().ok()?)), (incoming, share))),
        Err(error) => Some((Err(io::Error::other(error)), (incoming, share))),
    });
    StreamBody::new(frames).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_says_where_a_client_is_and_any_other_is_refused() {
        let via = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CLIENT, value.parse().unwrap());
            }
            client_of(&headers)
        };
        assert_eq!(via(&["local"]), Some(Via::Node(None)));
        assert_eq!(via(&["192.0.2.1"]), Some(Via::Node(Some("192.0.2.1".parse().unwrap()))));
        for refused in [&[][..], &["x"], &["Local"], &[""], &["local", "192.0.2.1"], &["192.0.2.1", "local"]] {
            assert_eq!(via(refused), None, "{refused:?}");
        }
    }
}
