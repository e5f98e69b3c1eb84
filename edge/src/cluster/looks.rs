//! What nodes alone know of an environment: what they answered lately, and the deploys that they run.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::error::Error;
use super::look_messages::{LOOKS, LookRequest, Looked};
use super::messages::Answer;
use super::nodes::Nodes;
use super::peer;
use crate::ledger::Member;

/// Longest wait for a node to answer.
const LOOK_MAX: Duration = Duration::from_secs(3);

impl Nodes {
    /// What all other nodes know, and the names of those that did not answer.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn look(&self, request: &LookRequest) -> Result<(Vec<Looked>, Vec<String>), Error> {
        let others = self.others().await?;
        let ask = |member: Member| async move {
            match timeout(LOOK_MAX, self.look_at(&member, request)).await {
                Ok(Ok(looked)) => Ok(looked),
                Ok(Err(error)) => {
                    tracing::warn!(node = member.node, %error, "a node does not say what it knows of an environment");
                    Err(member.node)
                }
                Err(_elapsed) => Err(member.node),
            }
        };
        let (mut looked, mut silent) = (Vec::new(), Vec::new());
        for answer in join_all(others.into_iter().map(ask)).await {
            match answer {
                Ok(found) => looked.push(found),
                Err(node) => silent.push(node),
            }
        }
        Ok((looked, silent))
    }

    async fn look_at(&self, member: &Member, request: &LookRequest) -> Result<Looked, Error> {
        let mut exchange = self.open(member, LOOKS).await?;
        exchange.sender.send(request).await;
        match exchange.reader.next().await {
            Ok(Some(Answer::Looked(looked))) => Ok(*looked),
            Ok(_) => Err(peer::unreachable(member, "it ended the connection".to_owned())),
            Err(reason) => Err(peer::unreachable(member, reason)),
        }
    }
}
