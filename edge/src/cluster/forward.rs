//! Requests of the API that another node answers, since what they belong to is in its memory.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use parking_lot::Mutex;

use super::error::Error;
use super::identity::Identity;
use super::lines::LinesBody;
use super::peer;
use crate::ledger::Member;

/// What stands before the path of a forwarded request.
const PREFIX: &str = "/api";

/// Answers requests that another node has received.
#[async_trait]
pub trait Api: Send + Sync {
    /// Answers one, which is as its client has sent it, with the fields that the other node has added.
    async fn answer(&self, request: Request<Incoming>) -> Response<LinesBody>;
}

/// A node's process, which another one may have replaced meanwhile.
type Process = (String, u64);

/// Connections for forwarded requests, one to each node; many requests share it.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<HashMap<Process, SendRequest<Incoming>>>>);

impl Connections {
    /// Has a node answer a request.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub(super) async fn forward(
        &self,
        identity: &Identity,
        member: &Member,
        mut request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Error> {
        *request.uri_mut() = forwarded(member, request.uri()).map_err(|reason| peer::unreachable(member, reason))?;
        *request.version_mut() = Version::HTTP_2;
        let mut connection = self.connection(identity, member).await?;
        let response = connection.send_request(request).await;
        response.map_err(|error| peer::unreachable(member, error.to_string()))
    }

    async fn connection(&self, identity: &Identity, member: &Member) -> Result<SendRequest<Incoming>, Error> {
        let process = (member.node.clone(), member.started_ms);
        {
            let mut open = self.0.lock();
            open.retain(|_, connection| !connection.is_closed());
            if let Some(connection) = open.get(&process) {
                return Ok(connection.clone());
            }
        }
        // Two that come at once open two; the later one stays.
        let connection = peer::connect(identity, member).await?;
        self.0.lock().insert(process, connection.clone());
        Ok(connection)
    }
}

/// Where the other node has it.
fn forwarded(member: &Member, uri: &Uri) -> Result<Uri, String> {
    let asked = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    format!("https://{}{PREFIX}{asked}", member.node).parse().map_err(|error: http::uri::InvalidUri| error.to_string())
}

/// Whether a request is a forwarded one; it then is as its client has sent it.
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
