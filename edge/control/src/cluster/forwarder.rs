//! Passes requests of the API on to other nodes.

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
    /// Has another node answer a request of the API, by a connection of its own. A node that cannot be reached is tried
    /// again until its lease ends; `None` once it is gone, or another process has taken its place.
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

/// Where the other node has it.
fn forwarded(member: &Member, uri: &Uri) -> Result<Uri, String> {
    let asked = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    format!("https://{}{PREFIX}{asked}", member.node).parse().map_err(|error: http::uri::InvalidUri| error.to_string())
}
