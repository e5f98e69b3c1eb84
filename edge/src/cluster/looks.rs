//! What a node alone knows of an environment, and tells others: what it answered lately, and the deploys that it runs.

use std::time::Duration;

use devanture_config::api::DeployEntry;
use devanture_config::{AppName, PlaceName};
use futures_util::future::join_all;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::error::Error;
use super::lines::{LineReader, LineSender};
use super::listener::Service;
use super::messages::Answer;
use super::nodes::Nodes;
use super::peer;
use crate::ledger::Member;
use crate::telemetry::{TrafficRow, TrafficSpan};

/// The path of these questions.
pub(super) const LOOKS: &str = "/v1/looks";
/// Longest wait for a node to answer.
const LOOK_MAX: Duration = Duration::from_secs(3);

/// A question about an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookRequest {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The question.
    pub look: Look,
}

/// The subject of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// The deploys that no history has: they are under way, or failed before there was a version.
    Deploys,
    /// What it answered within a time.
    Traffic(TrafficSpan),
}

/// What a node knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Looked {
    /// Deploys, in any order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deploys: Vec<DeployEntry>,
    /// What it answered, by step and version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficRow>,
}

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

/// Answers a question of another node.
pub(super) async fn answer(mut reader: LineReader<Incoming>, sender: LineSender, service: &dyn Service) {
    let Ok(Some(request)) = reader.next::<LookRequest>().await else { return };
    let looked = service.look(&request).await;
    sender.send(&Answer::Looked(Box::new(looked))).await;
}
