//! Log lines of other nodes: stored lines, then live lines.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use devanture_config::problem::Problem;
use devanture_config::{AppName, PlaceName};
use futures_util::future::join_all;
use hyper::body::{Body, Incoming};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::error::Error;
use super::lines::{LineReader, LineSender};
use super::listener::Service;
use super::nodes::Nodes;
use super::peer::{self, Exchange};
use crate::ledger::Member;

/// Path for a node's log lines.
pub(super) const LOGS: &str = "/v1/logs";
/// Longest wait for a node's stored lines.
const HELD_MAX: Duration = Duration::from_secs(3);
/// Pause between checks for new or returned nodes during a live read.
const LOOK: Duration = Duration::from_secs(2);
/// Queued lines of other nodes.
const WAITING_MAX: usize = 64;

/// Log filters of an environment, in the form of the API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogFilters {
    /// Method.
    pub method: Option<String>,
    /// Path.
    pub path: Option<String>,
    /// Status.
    pub status: Option<String>,
    /// Version.
    pub version: Option<String>,
}

/// Requested lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsRequest {
    /// App.
    pub app: AppName,
    /// Environment.
    pub environment: PlaceName,
    /// Source, in the form of the API.
    pub source: String,
    /// Filters.
    #[serde(default)]
    pub filters: LogFilters,
    /// Most stored lines.
    pub lines: usize,
    /// True to continue with live lines.
    pub tail: bool,
    /// Id of the last line from the node, for a reconnecting reader.
    pub last_id: Option<String>,
}

/// Line as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsLine {
    /// Id for reconnecting.
    pub id: String,
    /// Time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Line.
    pub json: String,
}

/// Extent of the stored lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsHeld {
    /// Id of the last line before the live lines, even if filtered out.
    pub last_id: Option<String>,
    /// True if the lines continue the position of a reconnecting reader.
    pub is_resumed: Option<bool>,
    /// Time of the oldest stored line, if older requested lines were dropped.
    pub since_ms: Option<u64>,
    /// Number of dropped lines, if known.
    pub gone: Option<u64>,
}

/// Event of a node's log: stored lines, [`LogsEvent::Held`], then live lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogsEvent {
    /// Line.
    Line(LogsLine),
    /// End of the stored lines.
    Held(LogsHeld),
    /// Number of lines omitted for a slow reader.
    Lost(u64),
    /// Id for a reader that reconnects to the successor process.
    Position(String),
    /// Reason for missing lines.
    Problem(Box<Problem>),
}

/// Sends a log to another node.
pub struct LogsSender(LineSender);

impl LogsSender {
    /// Sends an event; false once the other node is gone.
    pub async fn send(&self, event: &LogsEvent) -> bool {
        self.0.send(event).await
    }
}

/// For tests: receiver of a [`LogsSender`].
#[cfg(test)]
pub(crate) struct SentEvents(LineReader<super::lines::LinesBody>);

#[cfg(test)]
impl SentEvents {
    /// Returns the next event; `None` once the sender is dropped.
    pub(crate) async fn next(&mut self) -> Option<LogsEvent> {
        self.0.next().await.unwrap()
    }
}

#[cfg(test)]
impl LogsSender {
    /// Returns a sender and its local receiver.
    pub(crate) fn to_here() -> (Self, SentEvents) {
        let (sender, body) = super::lines::channel();
        (Self(sender), SentEvents(LineReader::new(body)))
    }
}

/// Answers a request for lines, until the other node is gone.
pub(super) async fn answer(mut reader: LineReader<Incoming>, sender: LineSender, service: &dyn Service) {
    let Ok(Some(request)) = reader.next::<LogsRequest>().await else { return };
    tokio::select! {
        () = service.logs(request, LogsSender(sender)) => {}
        _ = reader.next::<LogsRequest>() => {}
    }
}

/// Log of another node.
pub struct NodeLog {
    /// Node.
    pub node: String,
    /// Stored lines, oldest first.
    pub lines: Vec<LogsLine>,
    /// Extent of the stored lines.
    pub held: LogsHeld,
    exchange: Exchange,
}

/// Node with missing lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// Node.
    pub node: String,
    /// Reason.
    pub reason: String,
}

/// Event from other nodes during a live read.
#[derive(Debug, Clone, PartialEq)]
pub enum FromNode {
    /// Event of a node.
    Event(String, LogsEvent),
    /// A followed node ended or is unreachable.
    Silent(Silent),
}

impl NodeLog {
    async fn open(nodes: &Nodes, member: &Member, request: &LogsRequest) -> Result<Self, Error> {
        let open = async {
            let mut exchange = nodes.open(member, LOGS).await?;
            exchange.sender.send(request).await;
            let mut lines = Vec::new();
            loop {
                match exchange.reader.next().await {
                    Ok(Some(LogsEvent::Line(line))) => lines.push(line),
                    Ok(Some(LogsEvent::Held(held))) => {
                        return Ok(Self { node: member.node.clone(), lines, held, exchange });
                    }
                    Ok(Some(LogsEvent::Problem(problem))) => {
                        return Err(Error::Refused { node: member.node.clone(), problem });
                    }
                    Ok(Some(LogsEvent::Lost(_) | LogsEvent::Position(_))) => {}
                    Ok(None) => return Err(peer::unreachable(member, "it ended the connection".to_owned())),
                    Err(reason) => return Err(peer::unreachable(member, reason)),
                }
            }
        };
        let silent = |_elapsed| Err(peer::unreachable(member, "it does not answer".to_owned()));
        timeout(HELD_MAX, open).await.unwrap_or_else(silent)
    }

    /// As [`pass_on`], while holding the connection.
    async fn forward(mut self, to: mpsc::Sender<FromNode>) -> Ended {
        pass_on(self.node, &mut self.exchange.reader, self.held.last_id, to).await
    }
}

/// End of a node's log.
#[derive(Debug, PartialEq)]
struct Ended {
    silent: Silent,
    /// Id for resuming the log once the node returns.
    last_id: Option<String>,
}

/// Forwards events until the node ends or the receiver is dropped. `last_id` tracks the position in the node's log.
async fn pass_on<B>(
    node: String,
    reader: &mut LineReader<B>,
    mut last_id: Option<String>,
    to: mpsc::Sender<FromNode>,
) -> Ended
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    loop {
        let event = tokio::select! {
            event = reader.next::<LogsEvent>() => event,
            () = to.closed() => Ok(None),
        };
        let reason = match event {
            Ok(Some(event)) => {
                let place = match &event {
                    LogsEvent::Line(LogsLine { id, .. }) | LogsEvent::Position(id) => Some(id.clone()),
                    _ => None,
                };
                if to.send(FromNode::Event(node.clone(), event)).await.is_ok() {
                    last_id = place.or(last_id);
                    continue;
                }
                "nobody listens".to_owned()
            }
            Ok(None) => "it ended the stream".to_owned(),
            Err(reason) => {
                tracing::debug!(node, reason, "the connection to a node whose log is read is lost");
                "the connection to it is lost".to_owned()
            }
        };
        return Ended { silent: Silent { node, reason }, last_id };
    }
}

impl Silent {
    /// Omits the address of a node, hidden from readers of one app's logs.
    fn of(node: &str, error: Error) -> Self {
        let reason = match error {
            Error::Refused { problem, .. } => problem.detail,
            error => {
                tracing::debug!(node, %error, "a node whose log is wanted does not answer");
                "it does not answer".to_owned()
            }
        };
        Self { node: node.to_owned(), reason }
    }
}

impl Nodes {
    /// Returns the stored lines of all other nodes, and the unresponsive nodes. `last_ids` has the reader's last line
    /// id by node.
    ///
    /// # Errors
    /// [`Error::Catalog`].
    pub async fn logs(
        &self,
        request: &LogsRequest,
        last_ids: &HashMap<String, String>,
    ) -> Result<(Vec<NodeLog>, Vec<Silent>), Error> {
        let others = self.others().await?;
        let opened = others.iter().map(|member| async move {
            let request = LogsRequest { last_id: last_ids.get(&member.node).cloned(), ..request.clone() };
            NodeLog::open(self, member, &request).await.map_err(|error| Silent::of(&member.node, error))
        });
        let (mut logs, mut silent) = (Vec::new(), Vec::new());
        for opened in join_all(opened).await {
            match opened {
                Ok(log) => logs.push(log),
                Err(one) => silent.push(one),
            }
        }
        Ok((logs, silent))
    }

    /// Follows the logs of `begun`, and of nodes that join or return, until the receiver is dropped. Nodes of `silent`
    /// were already reported.
    #[must_use]
    pub fn follow_logs(
        &self,
        request: LogsRequest,
        begun: Vec<NodeLog>,
        silent: &[Silent],
    ) -> mpsc::Receiver<FromNode> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let silent = silent.iter().map(|silent| silent.node.clone()).collect();
        let follow = FollowLogs {
            nodes: self.clone(),
            request,
            last_ids: HashMap::new(),
            silent,
            followed: HashSet::new(),
            tasks: JoinSet::new(),
            sender,
        };
        tokio::spawn(follow.run(begun));
        receiver
    }
}

/// Follows the logs of all other nodes.
struct FollowLogs {
    nodes: Nodes,
    request: LogsRequest,
    /// Last line id of each ended node.
    last_ids: HashMap<String, String>,
    /// Nodes reported as silent.
    silent: HashSet<String>,
    followed: HashSet<String>,
    tasks: JoinSet<Ended>,
    sender: mpsc::Sender<FromNode>,
}

impl FollowLogs {
    async fn run(mut self, begun: Vec<NodeLog>) {
        begun.into_iter().for_each(|log| self.follow(log));
        loop {
            tokio::select! {
                () = self.sender.closed() => return,
                Some(ended) = self.tasks.join_next() => {
                    if let Ok(Ended { silent, last_id }) = ended {
                        if let Some(last_id) = last_id {
                            self.last_ids.insert(silent.node.clone(), last_id);
                        }
                        self.followed.remove(&silent.node);
                        self.report(silent).await;
                    }
                }
                () = sleep(LOOK) => self.look().await,
            }
        }
    }

    fn follow(&mut self, log: NodeLog) {
        self.silent.remove(&log.node);
        self.followed.insert(log.node.clone());
        self.tasks.spawn(log.forward(self.sender.clone()));
    }

    /// Starts following new nodes.
    async fn look(&mut self) {
        let Ok(mut others) = self.nodes.others().await else { return };
        others.retain(|member| !self.followed.contains(&member.node));
        for member in others {
            let last_id = self.last_ids.get(&member.node).cloned();
            let request = LogsRequest { last_id, ..self.request.clone() };
            match NodeLog::open(&self.nodes, &member, &request).await {
                Ok(mut log) => {
                    for line in std::mem::take(&mut log.lines) {
                        let event = FromNode::Event(member.node.clone(), LogsEvent::Line(line));
                        if self.sender.send(event).await.is_err() {
                            return;
                        }
                    }
                    self.follow(log);
                }
                Err(error) => self.report(Silent::of(&member.node, error)).await,
            }
        }
    }

    /// Reports a node as silent, once until followed again.
    async fn report(&mut self, silent: Silent) {
        if self.silent.insert(silent.node.clone()) {
            // A dropped receiver is noticed by the next check.
            self.sender.send(FromNode::Silent(silent)).await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::problem::Code;

    use super::super::lines;
    use super::*;

    #[tokio::test]
    async fn a_log_goes_on_after_the_last_line_that_was_passed_on() {
        let line = |id: &str| LogsEvent::Line(LogsLine { id: id.to_owned(), at_ms: 1, json: "{}".to_owned() });
        for (events, expected) in [
            (vec![], "run-2"),
            (vec![line("run-3"), line("run-4"), LogsEvent::Lost(1)], "run-4"),
            (vec![line("run-3"), LogsEvent::Position("run-all".to_owned())], "run-all"),
        ] {
            let (sender, body) = lines::channel();
            for event in &events {
                assert!(sender.send(event).await);
            }
            drop(sender);
            let (to, mut from) = mpsc::channel(WAITING_MAX);
            let begun_at = Some("run-2".to_owned());
            let ended = pass_on("edge-2".to_owned(), &mut LineReader::new(body), begun_at, to).await;
            assert_eq!(ended.last_id.as_deref(), Some(expected));
            for event in events {
                assert_eq!(from.recv().await, Some(FromNode::Event("edge-2".to_owned(), event)));
            }
        }
    }

    #[test]
    fn a_node_that_does_not_answer_is_named_without_its_address() {
        let advertise = ([10, 0, 0, 12], 7_443).into();
        let error = Error::Unreachable { node: "edge-2".to_owned(), advertise, reason: "TLS at 10.0.0.12".to_owned() };
        let expected = Silent { node: "edge-2".to_owned(), reason: "it does not answer".to_owned() };
        assert_eq!(Silent::of("edge-2", error), expected);
        let problem = Box::new(Problem::new(Code::TooMany, "8 read logs of this app already."));
        let refused = Silent::of("edge-2", Error::Refused { node: "edge-2".to_owned(), problem });
        assert_eq!(refused.reason, "8 read logs of this app already.");
    }
}
