//! Forwards API requests to other nodes.

use http::uri::PathAndQuery;
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep};

use super::error::Error;
use super::forward::{ApiBody, PREFIX};
use super::nodes::{Nodes, PAUSE};
use super::peer;
use crate::ledger::Member;

impl Nodes {
    /// Forwards an API request to another node, on a separate connection. An unreachable node is retried until its
    /// lease ends; `None` once the node is gone or replaced by another process.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Catalog`].
    pub async fn forward(
        &self,
        member: &Member,
        mut request: Request<ApiBody>,
    ) -> Result<Option<Response<Incoming>>, Error> {
        *request.uri_mut() = forwarded(member, request.uri()).map_err(|reason| peer::unreachable(member, reason))?;
        *request.version_mut() = Version::HTTP_2;
        let began = Instant::now();
        let mut connection = loop {
            match self.connect(member).await {
                Ok(connection) => break connection,
                Err(error) if began.elapsed() > self.silent_max() => return Err(error),
                Err(_) if self.current(&member.node).await?.as_ref() != Some(member) => return Ok(None),
                Err(_) => sleep(PAUSE).await,
            }
        };
        let answered = connection.send_request(request).await;
        answered.map(Some).map_err(|error| peer::unreachable(member, error.to_string()))
    }
}

/// Returns the URI of the request at the other node.
fn forwarded(member: &Member, uri: &Uri) -> Result<Uri, String> {
    let asked = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    format!("https://{}{PREFIX}{asked}", member.node).parse().map_err(|error: http::uri::InvalidUri| error.to_string())
}
