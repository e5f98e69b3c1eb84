//! Lines of logs of one node or of all nodes of a cluster, as one sequence: what is held by its time, then what comes.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::sync::mpsc;

use crate::cluster::{FromNode, LogsEvent, LogsHeld, LogsLine, LogsRequest, Nodes, Silent};
use crate::ledger::Error;
use crate::publish::{LogSources, LogsBegun, LogsReader};

/// Parts the nodes in the id of a line …
const NODES_APART: char = ';';
/// … and a node from the id that its line has there.
const NODE_APART: char = '=';

/// An item of the sequence.
#[derive(Debug, PartialEq)]
pub(super) enum Item {
    /// A line.
    Line(LogsLine),
    /// So many were left out.
    Lost(u64),
    /// The place that a reader comes again with.
    Position(String),
    /// A node whose lines are missing from now on.
    Silent(Silent),
}

/// The sequence.
pub(super) struct Merged {
    /// What comes first.
    pub(super) begin: VecDeque<Item>,
    /// None without `tail`.
    pub(super) live: Option<Live>,
    /// About the lines that are held.
    pub(super) held: LogsHeld,
}

/// What comes then.
pub(super) struct Live {
    own: LogsReader,
    /// `None` of an edge that is alone.
    others: Option<mpsc::Receiver<FromNode>>,
    places: Places,
}

/// How far a reader has come, on each node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Places {
    Alone,
    /// With the name of this node.
    Cluster(String, BTreeMap<String, String>),
}

impl Places {
    /// Reads the id of a line of a cluster. One that has no place of a node, such as of an edge that was alone, says
    /// nothing of it.
    fn of_cluster(own: &str, id: Option<&str>) -> Self {
        let parts = id.unwrap_or_default().split(NODES_APART).filter_map(|part| part.split_once(NODE_APART));
        Self::Cluster(own.to_owned(), parts.map(|(node, id)| (node.to_owned(), id.to_owned())).collect())
    }

    fn of(&self, node: &str) -> Option<String> {
        match self {
            Self::Alone => None,
            Self::Cluster(_, places) => places.get(node).cloned(),
        }
    }

    /// Takes note of a place of a node, this one by default, and gives the id for all of them.
    fn pass(&mut self, node: Option<&str>, id: String) -> String {
        match self {
            Self::Alone => id,
            Self::Cluster(own, places) => {
                places.insert(node.unwrap_or(own).to_owned(), id);
                let parts = places.iter().map(|(node, id)| format!("{node}{NODE_APART}{id}"));
                parts.collect::<Vec<_>>().join(&NODES_APART.to_string())
            }
        }
    }
}

impl Merged {
    /// Begins to read the logs of this node, and of `nodes` where there are others. `request` has the id that the reader
    /// comes with.
    pub(super) async fn begin(
        sources: &LogSources,
        nodes: Option<&Nodes>,
        request: LogsRequest,
    ) -> Result<Self, Error> {
        match nodes {
            None => Ok(Self::alone(sources.begin(&request).await?)),
            Some(nodes) => Self::of_cluster(sources, nodes, request).await,
        }
    }

    fn alone(begun: LogsBegun) -> Self {
        let LogsBegun { lines, held, reader } = begun;
        let position = held.last_id.clone().filter(|_| reader.is_some()).map(Item::Position);
        let live = reader.map(|own| Live { own, others: None, places: Places::Alone });
        Self { begin: lines.into_iter().map(Item::Line).chain(position).collect(), live, held }
    }

    async fn of_cluster(sources: &LogSources, nodes: &Nodes, mut request: LogsRequest) -> Result<Self, Error> {
        let own = nodes.own().node.clone();
        let comes_again = request.last_id.is_some();
        let mut places = Places::of_cluster(&own, request.last_id.as_deref());
        let last_ids: HashMap<String, String> = match &places {
            Places::Cluster(_, places) => places.clone().into_iter().collect(),
            Places::Alone => HashMap::new(),
        };
        request.last_id = places.of(&own);
        let begun = sources.begin(&request).await?;
        // The lines of this node are shown whatever becomes of the others.
        let (mut others, silent) =
            nodes.logs(&request, &last_ids).await.map_err(crate::cluster::Error::into_problem)?;
        let held =
            together(comes_again, &silent, std::iter::once(&begun.held).chain(others.iter().map(|log| &log.held)));
        let mut queues = vec![(own, VecDeque::from(begun.lines))];
        queues.extend(others.iter_mut().map(|log| (log.node.clone(), std::mem::take(&mut log.lines).into())));
        let mut lines = by_time(queues);
        if !comes_again {
            lines.drain(..lines.len().saturating_sub(request.lines));
        }
        let mut begin: VecDeque<Item> = silent.iter().cloned().map(Item::Silent).collect();
        for (node, line) in lines {
            begin.push_back(Item::Line(LogsLine { id: places.pass(Some(&node), line.id), ..line }));
        }
        let Some(reader) = begun.reader else { return Ok(Self { begin, live: None, held }) };
        // After those lines, so that a reader that was cut off among them gets the others again.
        let reached = others.iter().filter_map(|log| Some((Some(log.node.as_str()), log.held.last_id.clone()?)));
        for (node, id) in reached.chain(begun.held.last_id.map(|id| (None, id))) {
            begin.push_back(Item::Position(places.pass(node, id)));
        }
        let others = nodes.follow_logs(LogsRequest { last_id: None, ..request }, others, &silent);
        Ok(Self { begin, live: Some(Live { own: reader, others: Some(others), places }), held })
    }
}

impl Live {
    /// What comes next; `None` where this node ends the stream.
    pub(super) async fn next(&mut self) -> Option<Item> {
        loop {
            let (node, event) = tokio::select! {
                event = self.own.next() => (None, event?),
                from = next_of(self.others.as_mut()) => match from {
                    FromNode::Event(node, event) => (Some(node), event),
                    FromNode::Silent(silent) => return Some(Item::Silent(silent)),
                },
            };
            match event {
                LogsEvent::Line(line) => {
                    let id = self.places.pass(node.as_deref(), line.id.clone());
                    return Some(Item::Line(LogsLine { id, ..line }));
                }
                LogsEvent::Lost(lost) => return Some(Item::Lost(lost)),
                LogsEvent::Position(id) => return Some(Item::Position(self.places.pass(node.as_deref(), id))),
                LogsEvent::Held(_) | LogsEvent::Problem(_) => {}
            }
        }
    }

    /// The id that a reader comes with to the edge that goes on where this one has ended.
    pub(super) fn end_id(mut self) -> Option<String> {
        let id = self.own.end_id()?;
        Some(self.places.pass(None, id))
    }
}

async fn next_of(others: Option<&mut mpsc::Receiver<FromNode>>) -> FromNode {
    match others {
        Some(others) => match others.recv().await {
            Some(from) => from,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// What is to be known of the lines of several nodes.
fn together<'h>(comes_again: bool, silent: &[Silent], all: impl Iterator<Item = &'h LogsHeld>) -> LogsHeld {
    let mut together = LogsHeld { is_resumed: comes_again.then_some(silent.is_empty()), ..LogsHeld::default() };
    for held in all {
        // A node that came meanwhile has nothing to go on from.
        if held.is_resumed == Some(false) {
            together.is_resumed = comes_again.then_some(false);
        }
        // From then on all lines are there.
        together.since_ms = together.since_ms.max(held.since_ms);
        together.gone = match (together.gone, held.gone) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
    }
    together
}

/// The lines of all nodes by their time, each node's in the order in which it has them.
fn by_time(mut queues: Vec<(String, VecDeque<LogsLine>)>) -> Vec<(String, LogsLine)> {
    let mut lines = Vec::with_capacity(queues.iter().map(|(_, lines)| lines.len()).sum());
    loop {
        let first = queues.iter_mut().filter(|(_, lines)| !lines.is_empty());
        let first = first.min_by_key(|(_, lines)| lines.front().map(|line| line.at_ms));
        let Some((node, Some(line))) = first.map(|(node, lines)| (node.clone(), lines.pop_front())) else {
            return lines;
        };
        lines.push((node, line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, at_ms: u64) -> LogsLine {
        LogsLine { id: id.to_owned(), at_ms, json: String::new() }
    }

    #[test]
    fn lines_of_all_nodes_come_by_their_time_and_those_of_one_in_its_order() {
        let queues = vec![
            ("a".to_owned(), VecDeque::from([line("1", 5), line("2", 3), line("3", 9)])),
            ("b".to_owned(), VecDeque::from([line("x", 4), line("y", 6)])),
        ];
        let ids: Vec<String> = by_time(queues).into_iter().map(|(_, line)| line.id).collect();
        assert_eq!(ids, ["x", "1", "2", "y", "3"]);
    }

    #[test]
    fn an_id_says_how_far_a_reader_has_come_on_each_node() {
        let mut places = Places::of_cluster("edge-1", None);
        assert_eq!(places.pass(None, "run-1".to_owned()), "edge-1=run-1");
        let id = places.pass(Some("edge-2"), "other-7".to_owned());
        assert_eq!(id, "edge-1=run-1;edge-2=other-7");
        assert_eq!(Places::of_cluster("edge-1", Some(&id)), places);
        assert_eq!(places.of("edge-2").as_deref(), Some("other-7"));
        assert_eq!(places.of("edge-3"), None);
        for id in ["", "run-1", ";;", "=;="] {
            assert_eq!(Places::of_cluster("edge-1", Some(id)).of("edge-1"), None, "{id}");
        }
        assert_eq!(Places::Alone.pass(None, "run-1".to_owned()), "run-1");
    }

    #[test]
    fn what_is_missing_on_one_node_is_missing_of_all() {
        let held = |is_resumed, since_ms, gone| LogsHeld { last_id: None, is_resumed, since_ms, gone };
        let all = [held(Some(true), Some(5), Some(1)), held(None, None, None), held(Some(true), Some(9), Some(2))];
        assert_eq!(together(true, &[], all.iter()), held(Some(true), Some(9), Some(3)));
        let silent = [Silent { node: "edge-2".to_owned(), reason: String::new() }];
        assert_eq!(together(true, &silent, all.iter()).is_resumed, Some(false));
        let broken = [held(Some(true), None, None), held(Some(false), None, None)];
        assert_eq!(together(true, &[], broken.iter()).is_resumed, Some(false));
        assert_eq!(together(false, &[], all.iter()).is_resumed, None);
    }
}
