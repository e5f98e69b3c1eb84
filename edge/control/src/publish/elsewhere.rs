//! Requests answered by another node of the cluster: requests of a push that began there, and requests that name the
//! node.
//!
//! A running push is in the memory of its first node. The push id contains the node's tag, so that every node can route
//! requests of the push.

use devanture_config::Digest;
use devanture_config::problem::{Code, Problem};
use http::{Request, Response};
use hyper::body::Incoming;

use super::publisher::Publisher;
use super::pushes::unknown;
use crate::cluster::{self, ApiBody, Nodes};
use crate::ledger::{Error, Member};

/// Hexadecimal digits of a tag. Tags of two among a hundred nodes collide in one of three thousand clusters; a push
/// routed to the wrong node has to begin again.
const TAG_DIGITS: usize = 6;
/// Random hexadecimal digits after the tag.
const RANDOM_DIGITS: usize = 2;

/// Returns the tag of a node in push ids.
pub(super) fn tag_of(node: &str) -> String {
    let mut tag = Digest::of(node.as_bytes()).to_string();
    tag.truncate(TAG_DIGITS);
    tag
}

/// Returns the tag in a push id.
fn tag_in(deploy: &str) -> Option<&str> {
    let end = deploy.len().checked_sub(RANDOM_DIGITS)?;
    deploy.get(end.checked_sub(TAG_DIGITS)?..end)
}

/// Other node that answers a request.
pub struct OtherNode<'p> {
    nodes: &'p Nodes,
    member: Member,
    /// Response if the node has left meanwhile.
    gone: fn() -> Error,
}

impl Publisher {
    /// Returns the live node where a push began; `None` for the local node.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub async fn begun_by(&self, deploy: &str) -> Result<Option<OtherNode<'_>>, Error> {
        let (Some(nodes), Some(tag)) = (&self.switcher.nodes, tag_in(deploy)) else { return Ok(None) };
        if tag == tag_of(&self.switcher.node) {
            return Ok(None);
        }
        let member = nodes.find(|node| tag_of(node) == tag).await.map_err(cluster::Error::into_problem)?;
        Ok(member.map(|member| OtherNode { nodes, member, gone: unknown }))
    }

    /// Returns the live node of the given name; `None` for the local node.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub async fn node_called(&self, name: &str) -> Result<Option<OtherNode<'_>>, Error> {
        let Some(nodes) = self.switcher.nodes.as_ref().filter(|_| name != self.switcher.node) else { return Ok(None) };
        let member = nodes.find(|node| node == name).await.map_err(cluster::Error::into_problem)?;
        Ok(member.map(|member| OtherNode { nodes, member, gone: node_gone }))
    }
}

/// Error for a node that left the cluster after its look-up.
fn node_gone() -> Error {
    Problem::new(Code::NotFound, "The node that the request names is gone.").hint("`devanture nodes` lists them").into()
}

impl OtherNode<'_> {
    /// Forwards an API request to the node.
    ///
    /// # Errors
    /// `not_found` where it is gone meanwhile, and with it a push that it has begun; `node_unreachable`.
    pub async fn answer(&self, request: Request<ApiBody>) -> Result<Response<Incoming>, Error> {
        let answered = self.nodes.forward(&self.member, request).await.map_err(cluster::Error::into_problem)?;
        answered.ok_or_else(self.gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_push_has_the_tag_of_its_node() {
        let deploy = format!("643f1c2b3a4d5{}7f", tag_of("edge-1"));
        assert_eq!(tag_in(&deploy), Some(tag_of("edge-1").as_str()));
        assert_ne!(tag_of("edge-1"), tag_of("edge-2"));
        for other in ["", "7f", "1234567", "äöüäöüäöü"] {
            assert_ne!(tag_in(other), Some(tag_of("edge-1").as_str()), "{other}");
        }
    }
}
