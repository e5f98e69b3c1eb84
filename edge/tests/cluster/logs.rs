//! Logs of a cluster: every node returns the lines of all nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;

use super::world::{HOST, World, comes, is_installed, push};
use crate::support::{RunningEdge, eventually, got};

/// Longest wait for an event.
const EVENT_MAX: Duration = Duration::from_secs(30);

/// Cluster whose nodes log requests.
async fn world(nodes: usize) -> World {
    World::start_with(nodes, 1, |_, setup| setup.with_log("[access_log]\nto = \"access.log\"")).await
}

fn path(query: &str) -> String {
    format!("/v1/apps/shop/environments/prod/logs?{query}")
}

async fn visit(node: &RunningEdge, target: &str) {
    got(node.visit(Method::GET, HOST, target)).await;
}

/// Stored lines of all nodes as returned by one node: target and node.
async fn held(node: &RunningEdge, query: &str) -> Vec<(String, String)> {
    let answer = got(node.api(Method::GET, &path(query))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = answer.text();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (text(&line["target"]), text(&line["node"]))).collect()
}

/// Server-sent event.
#[derive(Debug, Default)]
struct Event {
    name: String,
    data: Value,
}

/// Stream of events.
struct Tail {
    response: reqwest::Response,
    text: String,
    last_id: String,
}

impl Tail {
    async fn open(node: &RunningEdge, last_id: Option<&str>) -> Self {
        let request = node.api(Method::GET, &path("tail&lines=0")).header("accept", "text/event-stream");
        let request = match last_id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Self { response, text: String::new(), last_id: String::new() }
    }

    fn is_resumed(&self) -> Option<&str> {
        self.response.headers().get("devanture-logs-resumed").map(|value| value.to_str().unwrap())
    }

    /// Next event with a name.
    async fn next(&mut self) -> Event {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut event = Event::default();
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("event", name)) => event.name = name.to_owned(),
                        Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                        Some(("id", id)) => self.last_id = id.to_owned(),
                        _ => {}
                    }
                }
                self.text = rest.to_owned();
                if !event.name.is_empty() {
                    return event;
                }
                continue;
            }
            let chunk = tokio::time::timeout(EVENT_MAX, self.response.chunk()).await.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
        }
    }

    /// Next line: target and node.
    async fn line(&mut self) -> (String, String) {
        let event = self.next().await;
        assert_eq!(event.name, "line", "{event:?}");
        let text = |name: &str| event.data[name].as_str().unwrap().to_owned();
        (text("target"), text("node"))
    }
}

fn of_node(target: &str, node: &str) -> (String, String) {
    (target.to_owned(), node.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_all_nodes_are_shown_by_any_of_them_with_the_name_of_the_node() {
    if !is_installed() {
        return;
    }
    let world = world(3).await;
    push(&world.nodes[0], 1).await;
    for (index, node) in world.nodes.iter().enumerate() {
        for round in 0..3 {
            visit(node, &format!("/of-{index}-{round}")).await;
        }
    }
    let expected: BTreeSet<_> =
        (0..9).map(|n| of_node(&format!("/of-{}-{}", n / 3, n % 3), &format!("edge-{}", n / 3 + 1))).collect();
    for node in &world.nodes {
        let all = async || held(node, "path=/*").await.into_iter().collect::<BTreeSet<_>>();
        comes("all lines are there", async || all().await.is_superset(&expected)).await;
    }
    // Lines are ordered by time, and the limit applies to all nodes together.
    let last = held(&world.nodes[1], "lines=2").await;
    assert_eq!(last, [of_node("/of-2-1", "edge-3"), of_node("/of-2-2", "edge-3")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_goes_on_where_a_node_is_gone_and_where_the_reader_comes_again() {
    if !is_installed() {
        return;
    }
    let mut world = world(3).await;
    push(&world.nodes[0], 1).await;
    let mut tail = Tail::open(&world.nodes[0], None).await;
    for (index, node) in world.nodes.iter().enumerate() {
        visit(node, "/seen").await;
        assert_eq!(tail.line().await, of_node("/seen", &format!("edge-{}", index + 1)));
    }

    // After a disconnect, the client receives the lines of all nodes since, each line once, by another node as well.
    let id = std::mem::take(&mut tail.last_id);
    drop(tail);
    for node in &world.nodes {
        visit(node, "/missed").await;
    }
    let one_each: BTreeSet<_> = (1..=3).map(|n| of_node("/missed", &format!("edge-{n}"))).collect();
    let all = async || held(&world.nodes[0], "path=/missed").await.len() == 3;
    comes("the nodes have logged it", all).await;
    let mut tail = Tail::open(&world.nodes[1], Some(&id)).await;
    assert_eq!(tail.is_resumed(), Some("true"));
    let mut came = BTreeSet::new();
    for _ in 0..3 {
        came.insert(tail.line().await);
    }
    assert_eq!(came, one_each);

    // The stream names a lost node and continues.
    let launch = world.nodes[2].kill();
    let gone = tail.next().await;
    assert_eq!((gone.name.as_str(), gone.data["node"].as_str()), ("unavailable", Some("edge-3")), "{gone:?}");
    visit(&world.nodes[0], "/goes-on").await;
    assert_eq!(tail.line().await, of_node("/goes-on", "edge-1"));

    // The stream follows the node again after the restart.
    let back = world.nodes.pop().unwrap().started_again(launch).await;
    eventually("the node is followed again", async || {
        visit(&back, "/back").await;
        tokio::time::timeout(Duration::from_secs(1), tail.line())
            .await
            .is_ok_and(|line| line == of_node("/back", "edge-3"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_is_named_and_holds_up_nobody() {
    if !is_installed() {
        return;
    }
    let world = world(2).await;
    push(&world.nodes[0], 1).await;
    visit(&world.nodes[0], "/here").await;
    comes("it is logged", async || held(&world.nodes[0], "path=/here").await.len() == 1).await;
    world.nodes[1].process().suspend();
    let mut tail = Tail::open(&world.nodes[0], None).await;
    let silent = tail.next().await;
    assert_eq!((silent.name.as_str(), silent.data["node"].as_str()), ("unavailable", Some("edge-2")), "{silent:?}");
    visit(&world.nodes[0], "/still").await;
    assert_eq!(tail.line().await, of_node("/still", "edge-1"));
    world.nodes[1].process().resume();
}
