//! Requests that another node of the cluster answers: those of a push that it has begun, and those that name it.
//!
//! A push under way is in the memory of the node that has begun it. Its id has the tag of that node, so that any node
//! knows where to send what belongs to it.

use devanture_config::Digest;
use devanture_config::problem::{Code, Problem};
use http::{Request, Response};
use hyper::body::Incoming;

use super::publisher::Publisher;
use super::pushes::unknown;
use crate::cluster::{self, ApiBody, Nodes};
use crate::ledger::{Error, Member};

/// Hexadecimal digits of a tag. Two of a hundred nodes have the same one in one of three thousand clusters; a push that
/// comes to both of them is begun again.
const TAG_DIGITS: usize = 6;
/// Hexadecimal digits after the tag, which are random.
const RANDOM_DIGITS: usize = 2;

/// The tag of a node in the ids of its pushes.
pub(super) fn tag_of(node: &str) -> String {
    let mut tag = Digest::of(node.as_bytes()).to_string();
    tag.truncate(TAG_DIGITS);
    tag
}

/// The tag in the id of a push.
fn tag_in(deploy: &str) -> Option<&str> {
    let end = deploy.len().checked_sub(RANDOM_DIGITS)?;
    deploy.get(end.checked_sub(TAG_DIGITS)?..end)
}

/// Another node that is to answer a request.
pub struct OtherNode<'p> {
    nodes: &'p Nodes,
    member: Member,
    /// The answer where it is gone meanwhile.
    gone: fn() -> Error,
}

impl Publisher {
    /// The node that has begun a push, where that is another one, and lives.
    ///
    /// # Errors
    /// Where the catalog cannot be read.
    pub async fn begun_by(&self, deploy: &str) -> Result<Option<OtherNode<'_>>, Error> {
        let (Some(nodes), Some(tag)) = (&self.switcher.nodes, tag_in(deploy)) else { return Ok(None) };
        if tag == tag_of(&self.switcher.node) {
            return Ok(None);
        }
        let member = nodes.find(|node| tag_of(node) == tag).await.map_err(cluster::Error::into_problem)?;
        Ok(member.map(|member| OtherNode { nodes, member, gone: unknown }))
    }

    /// Another node of that name, where it lives.
    ///
    /// # Errors
    /// Where the catalog cannot be read.
    pub async fn node_called(&self, name: &str) -> Result<Option<OtherNode<'_>>, Error> {
        let Some(nodes) = self.switcher.nodes.as_ref().filter(|_| name != self.switcher.node) else { return Ok(None) };
        let member = nodes.find(|node| node == name).await.map_err(cluster::Error::into_problem)?;
        Ok(member.map(|member| OtherNode { nodes, member, gone: node_gone }))
    }
}

/// The node that a request names has left the cluster since it was found.
fn node_gone() -> Error {
    Problem::new(Code::NotFound, "The node that the request names is gone.").hint("`devanture nodes` lists them").into()
}

impl OtherNode<'_> {
    /// Has it answer a request of the API.
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
