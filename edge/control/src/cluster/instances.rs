//! Requests to all other nodes about their instances: lists and changes.

use std::time::Duration;

use devanture_config::api::InstanceStatus;
use devanture_config::problem::Code;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::error::Error;
use super::instance_messages::{INSTANCES, InstancesRequest};
use super::messages::Answer;
use super::nodes::Nodes;
use super::peer;
use crate::ledger::Member;

/// Longest wait for a node's list of instances.
const LIST_MAX: Duration = Duration::from_secs(3);

impl Nodes {
    /// Returns the instances of all other nodes; `None` for an unresponsive node.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn instances(&self, request: &InstancesRequest) -> Result<Vec<Option<Vec<InstanceStatus>>>, Error> {
        let others = self.others().await?;
        let ask = |member: Member| async move {
            match timeout(LIST_MAX, self.ask_about_instances(&member, request)).await {
                Ok(Ok(instances)) => Some(instances),
                Ok(Err(error)) => {
                    tracing::warn!(node = member.node, %error, "the instances of a node cannot be listed");
                    None
                }
                Err(_elapsed) => None,
            }
        };
        Ok(join_all(others.into_iter().map(ask)).await)
    }

    /// Sends a request to all other nodes, at once or one after the other. A node that ends, or does not answer in
    /// time, is skipped, since it follows the catalog later. Returns the names of skipped nodes.
    ///
    /// # Errors
    /// [`Error::Refused`] by a node; [`Error::Catalog`].
    pub async fn change_instances(
        &self,
        request: &InstancesRequest,
        one_by_one: bool,
        time: Duration,
    ) -> Result<Vec<String>, Error> {
        let others = self.others().await?;
        let change = |member: Member| async move {
            let changed = within(&member, time, self.change_on(member.clone(), request)).await;
            match changed {
                Ok(true) => Ok(None),
                Ok(false) => Ok(Some(member.node)),
                Err(Error::Unreachable { node, reason, .. }) => {
                    tracing::warn!(node, reason, "a node is not waited for with its instances");
                    Ok(Some(node))
                }
                Err(error) => Err(error),
            }
        };
        if one_by_one {
            let mut left_out = Vec::new();
            for member in others {
                left_out.extend(change(member).await?);
            }
            return Ok(left_out);
        }
        // Waits for all nodes, so that none is still working after the response.
        let changed = join_all(others.into_iter().map(change)).await;
        Ok(changed.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Makes a node apply a change, by its present process; false if the node ends.
    async fn change_on(&self, mut member: Member, request: &InstancesRequest) -> Result<bool, Error> {
        loop {
            let asked = tokio::select! {
                asked = self.ask_about_instances(&member, request) => asked.map(drop),
                successor = self.changed(&member) => match successor {
                    Some(successor) => {
                        member = successor;
                        continue;
                    }
                    None => return Ok(false),
                },
            };
            let Err(Error::Refused { problem, .. }) = &asked else { return asked.map(|()| true) };
            // A process during a takeover has handed over its instances; an ending process abandons its work.
            if problem.code != Code::Restarting && self.current(&member.node).await?.as_ref() == Some(&member) {
                return asked.map(|()| true);
            }
            match self.changed(&member).await {
                Some(successor) => member = successor,
                None => return Ok(false),
            }
        }
    }

    async fn ask_about_instances(
        &self,
        member: &Member,
        request: &InstancesRequest,
    ) -> Result<Vec<InstanceStatus>, Error> {
        let mut exchange = self.open(member, INSTANCES).await?;
        exchange.sender.send(request).await;
        match exchange.reader.next().await {
            Ok(Some(Answer::Instances(instances))) => Ok(instances),
            Ok(Some(Answer::Problem(problem))) => Err(Error::Refused { node: member.node.clone(), problem }),
            Ok(_) => Err(peer::unreachable(member, "it ended the connection".to_owned())),
            Err(reason) => Err(peer::unreachable(member, reason)),
        }
    }
}

/// Awaits an answer of a node within a time limit: a stalled program may still answer pings.
async fn within<T>(
    member: &Member,
    time: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let late = |_elapsed| Err(peer::unreachable(member, format!("it did not answer within {} s", time.as_secs())));
    timeout(time, answer).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_that_never_answers_is_unreachable() {
        let member = Member {
            node: "edge-2".to_owned(),
            advertise: ([127, 0, 0, 1], 7_443).into(),
            home: String::new(),
            release: String::new(),
            started_ms: 0,
            listens: None,
        };
        let never = std::future::pending::<Result<(), Error>>();
        let error = within(&member, Duration::from_secs(90), never).await.unwrap_err();
        assert!(matches!(&error, Error::Unreachable { reason, .. } if reason.contains("90 s")), "{error}");
        assert!(within(&member, Duration::from_secs(90), async { Ok(()) }).await.is_ok());
    }
}
