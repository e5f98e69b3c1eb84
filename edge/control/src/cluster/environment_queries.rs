//! Queries about node-local state of an environment: recent traffic and running deploys.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::environment_messages::{ENVIRONMENT_QUERIES, EnvironmentQuery, EnvironmentReport};
use super::error::Error;
use super::messages::Answer;
use super::nodes::Nodes;
use super::peer;
use crate::ledger::Member;

/// Longest wait for a node's answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

impl Nodes {
    /// Returns the reports of all other nodes, and the names of unreachable nodes.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn query_environment(
        &self,
        query: &EnvironmentQuery,
    ) -> Result<(Vec<EnvironmentReport>, Vec<String>), Error> {
        let others = self.others().await?;
        let ask = |member: Member| async move {
            match timeout(ANSWER_MAX, self.query_member(&member, query)).await {
                Ok(Ok(report)) => Ok(report),
                Ok(Err(error)) => {
                    tracing::warn!(node = member.node, %error, "a node does not say what it knows of an environment");
                    Err(member.node)
                }
                Err(_elapsed) => Err(member.node),
            }
        };
        let (mut reports, mut silent) = (Vec::new(), Vec::new());
        for answer in join_all(others.into_iter().map(ask)).await {
            match answer {
                Ok(report) => reports.push(report),
                Err(node) => silent.push(node),
            }
        }
        Ok((reports, silent))
    }

    async fn query_member(&self, member: &Member, query: &EnvironmentQuery) -> Result<EnvironmentReport, Error> {
        let mut exchange = self.open(member, ENVIRONMENT_QUERIES).await?;
        exchange.sender.send(query).await;
        match exchange.reader.next().await {
            Ok(Some(Answer::Environment(report))) => Ok(*report),
            Ok(_) => Err(peer::unreachable(member, "it ended the connection".to_owned())),
            Err(reason) => Err(peer::unreachable(member, reason)),
        }
    }
}
