//! Log lines of one node, or of all nodes of a cluster, as one sequence: stored lines by time, then live lines.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::cluster::{FromNode, LogsEvent, LogsHeld, LogsLine, LogsRequest, Nodes, Silent};
use crate::ledger::Error;
use crate::publish::{LogSources, LogsBegun, LogsReader};

/// Separates nodes in a line id …
const NODES_APART: char = ';';
/// … and a node from its position.
const NODE_APART: char = '=';
/// Longest position on a node, in bytes; nodes generate shorter positions.
const PLACE_BYTES_MAX: usize = 64;

/// Item of the sequence.
#[derive(Debug, PartialEq)]
pub(super) enum Item {
    /// Log line.
    Line(LogsLine),
    /// Number of omitted lines.
    Lost(u64),
    /// Position from which a reader can resume.
    Position(String),
    /// Node whose lines are missing from here on.
    Silent(Silent),
}

/// Merged sequence.
pub(super) struct Merged {
    /// Stored lines, each with its node and with the node's own id.
    begin: VecDeque<(Option<Arc<str>>, Item)>,
    /// `None` without `tail`, and at the end.
    live: Option<Live>,
    places: Places,
    /// Permit of a reader without `tail`.
    _share: Option<LogsReader>,
    /// Extent of the stored lines.
    pub(super) held: LogsHeld,
}

/// Live part of the sequence.
struct Live {
    own: LogsReader,
    /// `None` on an edge without a cluster.
    others: Option<mpsc::Receiver<FromNode>>,
}

/// Position of a reader on each node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Places {
    Alone,
    /// Name of the local node, and positions by node.
    Cluster(String, BTreeMap<String, String>),
}

impl Places {
    /// Parses a line id of a cluster. An id without a node position, as issued by a standalone edge, leaves all
    /// positions unknown.
    fn of_cluster(own: &str, id: Option<&str>) -> Self {
        let parts = id.unwrap_or_default().split(NODES_APART).filter_map(|part| part.split_once(NODE_APART));
        let parts = parts.filter(|(_, id)| id.len() <= PLACE_BYTES_MAX);
        Self::Cluster(own.to_owned(), parts.map(|(node, id)| (node.to_owned(), id.to_owned())).collect())
    }

    /// Drops positions of unknown nodes, since each line id repeats all positions.
    fn keep_known<'n>(&mut self, others: impl Iterator<Item = &'n str>) {
        if let Self::Cluster(own, places) = self {
            let known: HashSet<&str> = others.collect();
            places.retain(|node, _| node == own || known.contains(node.as_str()));
        }
    }

    fn of(&self, node: &str) -> Option<String> {
        match self {
            Self::Alone => None,
            Self::Cluster(_, places) => places.get(node).cloned(),
        }
    }

    /// Records the position on a node, the local node by default, and returns the id for all nodes.
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
    /// Starts reading the logs of the local node and of `nodes`. `request` carries the reader's id.
    pub(super) async fn begin(
        sources: &LogSources,
        nodes: Option<&Nodes>,
        request: LogsRequest,
    ) -> Result<Self, Error> {
        match nodes {
            None => Ok(Self::alone(sources.begin(&request).await?, request.tail)),
            Some(nodes) => Self::of_cluster(sources, nodes, request).await,
        }
    }

    /// Returns the next item. `None` at the end: when the local node ends the stream, or after the stored lines without
    /// `tail`.
    pub(super) async fn next(&mut self) -> Option<Item> {
        // Ids are built lazily: each id contains the positions on all nodes.
        if let Some((node, item)) = self.begin.pop_front() {
            let node = node.as_deref();
            return Some(match item {
                Item::Line(line) => Item::Line(LogsLine { id: self.places.pass(node, line.id), ..line }),
                Item::Position(id) => Item::Position(self.places.pass(node, id)),
                other => other,
            });
        }
        if let Some(item) = self.live.as_mut()?.next(&mut self.places).await {
            return Some(item);
        }
        // Id for a reader that reconnects to the edge's successor.
        let id = self.live.take()?.own.end_id()?;
        Some(Item::Position(self.places.pass(None, id)))
    }

    fn alone(begun: LogsBegun, tail: bool) -> Self {
        let LogsBegun { lines, held, reader } = begun;
        let position = held.last_id.clone().filter(|_| tail).map(Item::Position);
        let begin = lines.into_iter().map(Item::Line).chain(position).map(|item| (None, item)).collect();
        let live = reader.filter(|_| tail).map(|own| Live { own, others: None });
        Self { begin, live, places: Places::Alone, _share: None, held }
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
        // Lines of the local node are shown even if all other nodes fail.
        let (mut others, silent) =
            nodes.logs(&request, &last_ids).await.map_err(crate::cluster::Error::into_problem)?;
        places.keep_known(others.iter().map(|log| &*log.node).chain(silent.iter().map(|silent| &*silent.node)));
        let held =
            together(comes_again, &silent, std::iter::once(&begun.held).chain(others.iter().map(|log| &log.held)));
        let mut queues = vec![StoredLines::new(&own, begun.held.is_resumed, begun.lines)];
        queues.extend(others.iter_mut().map(|log| {
            let lines = std::mem::take(&mut log.lines);
            StoredLines::new(&log.node, log.held.is_resumed, lines)
        }));
        let silent_first = silent.iter().cloned().map(|silent| (None, Item::Silent(silent)));
        let lines = last_by_time(queues, request.lines).map(|(node, line)| (Some(node), Item::Line(line)));
        let mut begin: VecDeque<(Option<Arc<str>>, Item)> = silent_first.chain(lines).collect();
        if !request.tail {
            return Ok(Self { begin, live: None, places, _share: begun.reader, held });
        }
        // Sent after the stored lines: a reader interrupted earlier receives the missing lines again.
        let reached = others.iter().filter_map(|log| Some((Some(log.node.as_str().into()), log.held.last_id.clone()?)));
        let reached = reached.chain(begun.held.last_id.map(|id| (None, id)));
        begin.extend(reached.map(|(node, id)| (node, Item::Position(id))));
        let live = begun.reader.map(|own| {
            let others = nodes.follow_logs(LogsRequest { last_id: None, ..request }, others, &silent);
            Live { own, others: Some(others) }
        });
        Ok(Self { begin, live, places, _share: None, held })
    }
}

impl Live {
    /// Returns the next live item; `None` when the local node ends the stream.
    async fn next(&mut self, places: &mut Places) -> Option<Item> {
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
                    let id = places.pass(node.as_deref(), line.id.clone());
                    return Some(Item::Line(LogsLine { id, ..line }));
                }
                LogsEvent::Lost(lost) => return Some(Item::Lost(lost)),
                LogsEvent::Position(id) => return Some(Item::Position(places.pass(node.as_deref(), id))),
                LogsEvent::Held(_) | LogsEvent::Problem(_) => {}
            }
        }
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

/// Combines the extents of the stored lines of several nodes.
fn together<'h>(comes_again: bool, silent: &[Silent], all: impl Iterator<Item = &'h LogsHeld> + Clone) -> LogsHeld {
    // An id without a known node position is ignored.
    let is_known = all.clone().any(|held| held.is_resumed.is_some());
    let is_resumed = comes_again.then_some(silent.is_empty() && is_known);
    let mut together = LogsHeld { is_resumed, ..LogsHeld::default() };
    for held in all {
        // A new node has no position to resume from.
        if held.is_resumed == Some(false) {
            together.is_resumed = comes_again.then_some(false);
        }
        // All nodes are complete from the latest start on.
        together.since_ms = together.since_ms.max(held.since_ms);
        together.gone = match (together.gone, held.gone) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
    }
    together
}

/// Stored lines of a node.
struct StoredLines {
    node: Arc<str>,
    /// True if the lines continue the reader's position, so that no line may be omitted.
    follow: bool,
    lines: VecDeque<LogsLine>,
}

impl StoredLines {
    fn new(node: &str, is_resumed: Option<bool>, lines: Vec<LogsLine>) -> Self {
        Self { node: node.into(), follow: is_resumed.is_some(), lines: lines.into() }
    }
}

/// Merges the lines of all nodes by time and keeps each node's order. Of nodes without a position, only the last
/// `lines_max` lines are included.
fn last_by_time(mut queues: Vec<StoredLines>, lines_max: usize) -> impl Iterator<Item = (Arc<str>, LogsLine)> {
    let others: usize = queues.iter().filter(|held| !held.follow).map(|held| held.lines.len()).sum();
    let mut left_out = others.saturating_sub(lines_max);
    std::iter::from_fn(move || {
        loop {
            let first = queues.iter_mut().filter(|held| !held.lines.is_empty());
            let first = first.min_by_key(|held| held.lines.front().map(|line| line.at_ms))?;
            let line = first.lines.pop_front()?;
            if first.follow || left_out == 0 {
                return Some((Arc::clone(&first.node), line));
            }
            left_out -= 1;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, at_ms: u64) -> LogsLine {
        LogsLine { id: id.to_owned(), at_ms, json: String::new() }
    }

    #[test]
    fn lines_of_all_nodes_come_by_their_time_and_those_of_one_in_its_order() {
        let ids = |of_a: Option<bool>, of_b: Option<bool>, lines_max| {
            let queues = vec![
                StoredLines::new("a", of_a, vec![line("1", 5), line("2", 3), line("3", 9)]),
                StoredLines::new("b", of_b, vec![line("x", 4), line("y", 6)]),
            ];
            last_by_time(queues, lines_max).map(|(_, line)| line.id).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(ids(None, None, 9), "x 1 2 y 3");
        assert_eq!(ids(None, None, 2), "y 3");
        // All lines after a known position are included; of an unknown node, only the last lines.
        assert_eq!(ids(Some(true), Some(false), 0), "x 1 2 y 3");
        assert_eq!(ids(Some(true), None, 1), "1 2 y 3");
    }

    #[tokio::test]
    async fn no_line_repeats_what_a_reader_says_of_nodes_that_are_not_there() {
        let junk: String = (0..2_000).map(|node| format!("gone-{node}=run-1;")).collect();
        let id = format!("{junk}edge-1={};edge-2=run-7", "x".repeat(20_000));
        let mut places = Places::of_cluster("edge-1", Some(&id));
        places.keep_known(["edge-2", "edge-3"].into_iter());
        let begin = (0..3).map(|at| (Some("edge-1".into()), Item::Line(line(&format!("own-{at}"), at)))).collect();
        let mut merged = Merged { begin, live: None, places, _share: None, held: LogsHeld::default() };
        for at in 0..3 {
            assert_eq!(merged.next().await, Some(Item::Line(line(&format!("edge-1=own-{at};edge-2=run-7"), at))));
        }
        assert_eq!(merged.next().await, None);
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
        let unknown = [held(None, None, None), held(None, None, None)];
        assert_eq!(together(true, &[], unknown.iter()).is_resumed, Some(false), "no node knows the id");
    }
}
