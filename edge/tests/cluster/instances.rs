//! Backend instances distributed over cluster nodes: real Node.js processes on real nodes.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use devanture_config::api::{DeployReport, InstanceList, InstanceState, InstanceStatus};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::world::{APP, HOST, World, comes, is_installed, visitor_pause};
use crate::support::backends::Backend;
use crate::support::{RunningEdge, Setup, got, try_got};
use crate::wire;

/// Path of the instance list.
const INSTANCES: &str = "/v1/apps/shop/environments/prod/instances";

/// Reports the node; streams events until the visitor disconnects; echoes bytes over an upgraded connection.
const SERVER: &str = r"
const who = { node: process.env.DEVANTURE_NODE, pid: process.pid, build: BUILD };
const server = require('http').createServer((request, answer) => {
  if (request.url !== '/api/events') return answer.end(JSON.stringify(who));
  answer.writeHead(200, { 'content-type': 'text/event-stream' });
  let number = 0;
  const timer = setInterval(() => answer.write(`data: ${number++}\n\n`), 20);
  answer.on('close', () => clearInterval(timer));
});
server.on('upgrade', (request, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n');
  socket.on('data', (bytes) => socket.write(bytes));
  socket.on('end', () => socket.end());
  socket.on('error', () => {});
});
server.listen(+process.env.PORT, '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
";

/// Backend of a build with a number of instances.
pub(super) fn backend(build: usize, instances: impl Into<Value>) -> Backend {
    let backend = Backend::new(&format!("page {build}")).with("instances", instances);
    backend.with_file("server.js", &SERVER.replace("BUILD", &build.to_string()), false)
}

pub(super) async fn start(nodes: usize) -> World {
    World::start_with(nodes, 1, |_, setup: Setup| setup.with_runner()).await
}

pub(super) async fn push(node: &RunningEdge, backend: &Backend) -> DeployReport {
    let pushed = node.push_backend(node.admin_token(), (APP, "prod"), backend).await;
    pushed.unwrap_or_else(|problem| panic!("{problem:#?}"))
}

/// Healthy instances of all nodes, as listed by one node.
pub(super) async fn healthy(node: &RunningEdge) -> Vec<InstanceStatus> {
    let mut list = got(node.api(Method::GET, INSTANCES)).await.json::<InstanceList>().instances;
    list.retain(|one| one.state == InstanceState::Healthy);
    list
}

/// Nodes of the healthy instances, one entry per instance, sorted by name.
pub(super) async fn nodes_of(node: &RunningEdge) -> Vec<String> {
    let mut nodes: Vec<String> = healthy(node).await.into_iter().map(|one| one.node).collect();
    nodes.sort();
    nodes
}

async fn scale(node: &RunningEdge, web: impl Into<Value>) {
    let scaled = got(node.api(Method::PATCH, INSTANCES).json(&json!({ "processes": { "web": web.into() } }))).await;
    assert_eq!(scaled.status, StatusCode::OK, "{}", scaled.text());
}

/// Node of the instance that answers a visitor of `node`.
async fn answering(node: &RunningEdge) -> String {
    let got = got(node.visit(Method::GET, HOST, "/api/who")).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.text());
    let who: Value = serde_json::from_slice(&got.body).unwrap();
    who["node"].as_str().unwrap().to_owned()
}

/// Concurrent visitors of the backend through several nodes, until stopped.
pub(super) struct BackendVisitors {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl BackendVisitors {
    pub(super) fn of(nodes: &[&RunningEdge]) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = nodes.iter().map(|node| {
            let (stop, calls, client, port) =
                (Arc::clone(&stop), Arc::clone(&calls), node.client(), node.https().port());
            tokio::spawn(async move {
                let mut faults = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match try_got(client.get(format!("https://{HOST}:{port}/api/who"))).await {
                        Ok(got) if got.status == StatusCode::OK => {}
                        Ok(got) => faults.push(format!("{} {}", got.status, got.text())),
                        Err(error) => faults.push(error.to_string()),
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(visitor_pause()).await;
                }
                faults
            })
        });
        Self { tasks: tasks.collect(), stop, calls }
    }

    /// Stops the visitors; fails if a request failed.
    pub(super) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            assert_eq!(task.await.unwrap(), Vec::<String>::new());
        }
        assert!(self.calls.load(Ordering::Relaxed) > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_are_spread_over_the_nodes_and_every_node_answers() {
    if !is_installed() {
        return;
    }
    let world = start(3).await;
    push(&world.nodes[0], &backend(1, 2)).await;
    let running = nodes_of(&world.nodes[0]).await;
    assert_eq!((running.len(), running.iter().collect::<BTreeSet<_>>().len()), (2, 2), "{running:?}");
    let mut without = None;
    for (index, node) in world.nodes.iter().enumerate() {
        assert_eq!(nodes_of(node).await, running, "all nodes list the same");
        let (name, by) = (format!("edge-{}", index + 1), answering(node).await);
        if running.contains(&name) {
            assert_eq!(by, name, "an instance of its own goes first");
        } else {
            assert!(running.contains(&by), "{by}");
            without = Some(node);
        }
    }
    let without = without.unwrap();
    let mut events = without.visit(Method::GET, HOST, "/api/events").send().await.unwrap();
    let mut read = String::new();
    while !read.contains("data: 20\n\n") {
        read.push_str(std::str::from_utf8(&events.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert!(read.starts_with("data: 0\n\ndata: 1\n\n"), "{read}");
    echoes(without).await;
}

/// Upgrades a connection through `node` and lets the backend echo bytes.
async fn echoes(node: &RunningEdge) {
    let mut stream = wire::connect(node, HOST, "http/1.1").await;
    let head = format!("GET /api/echo HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
    wire::write(&mut stream, head.as_bytes()).await;
    let until = |end: &'static str| move |read: &[u8]| String::from_utf8_lossy(read).ends_with(end);
    let answer = read_until(&mut stream, until("\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    for word in ["one", "two", "three"] {
        wire::write(&mut stream, word.as_bytes()).await;
        assert_eq!(read_until(&mut stream, until(word)).await, word);
    }
}

async fn read_until(stream: &mut (impl tokio::io::AsyncRead + Unpin), is_whole: impl Fn(&[u8]) -> bool) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut read = Vec::new();
    while !is_whole(&read) {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "it ends: {}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_node_ran_is_started_by_others_and_visitors_see_no_failure() {
    if !is_installed() {
        return;
    }
    let mut world = start(3).await;
    push(&world.nodes[0], &backend(1, 2)).await;
    let running = nodes_of(&world.nodes[0]).await;
    let killed = (0..3).find(|index| running.contains(&format!("edge-{}", index + 1))).unwrap();
    let mut killed = world.nodes.remove(killed);
    let callers = BackendVisitors::of(&world.nodes.iter().collect::<Vec<_>>());
    let launch = killed.kill();
    comes("another node runs it", async || {
        let now = nodes_of(&world.nodes[0]).await;
        now.len() == 2 && now.iter().collect::<BTreeSet<_>>().len() == 2
    })
    .await;
    // The restarted node gets a share again, and the substitute instances end once the new instances answer.
    world.nodes.push(killed.started_again(launch).await);
    comes("all is as it was", async || nodes_of(&world.nodes[0]).await == running).await;
    callers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_restarts_costs_visitors_of_others_nothing_and_moves_nothing() {
    if !is_installed() {
        return;
    }
    let mut world = start(3).await;
    push(&world.nodes[0], &backend(1, 2)).await;
    let running = nodes_of(&world.nodes[0]).await;
    let restarted = (0..3).find(|index| running.contains(&format!("edge-{}", index + 1))).unwrap();
    let restarted = world.nodes.remove(restarted);
    let callers = BackendVisitors::of(&world.nodes.iter().collect::<Vec<_>>());
    let stayed = |list: Vec<InstanceStatus>, name: &str| {
        list.into_iter().filter(|one| one.node != name).map(|one| (one.node, one.pid)).collect::<Vec<_>>()
    };
    let name = restarted.file().node.clone();
    let before = stayed(healthy(&world.nodes[0]).await, &name);
    world.nodes.push(restarted.restart().await);
    comes("all is as it was", async || nodes_of(&world.nodes[0]).await == running).await;
    assert_eq!(stayed(healthy(&world.nodes[0]).await, &name), before, "the same process");
    callers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_takes_over_a_node_goes_on_with_its_instances_for_other_nodes() {
    if !is_installed() {
        return;
    }
    let mut world = start(2).await;
    push(&world.nodes[0], &backend(1, 1)).await;
    let before = healthy(&world.nodes[0]).await;
    let running = world.nodes.iter().position(|node| node.file().node == before[0].node).unwrap();
    let running = world.nodes.remove(running);
    let callers = BackendVisitors::of(&[&world.nodes[0]]);
    world.nodes.push(running.taken_over().await);
    assert_eq!(answering(&world.nodes[0]).await, before[0].node);
    callers.stop().await;
    assert_eq!(healthy(&world.nodes[1]).await[0].pid, before[0].pid, "the same process");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_breaks_on_another_node_is_taken_back_by_the_one_that_was_pushed_to() {
    if !is_installed() {
        return;
    }
    let soon = |_, setup: Setup| setup.with_runner().with_limit("instance_restart_ms_min", 50);
    let world = World::start_with(2, 1, soon).await;
    let well = push(&world.nodes[0], &backend(1, 1)).await.version;
    let running = nodes_of(&world.nodes[0]).await;
    let without = world.nodes.iter().find(|node| !running.contains(&node.file().node)).unwrap();
    // The instance runs as long as the port is open.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = format!("require('net').connect({}, '127.0.0.1')", listener.local_addr().unwrap().port());
    let ends = "on('error', () => process.exit(1)).on('close', () => process.exit(1))";
    let code = format!("{connect}.{ends};{}", SERVER.replace("BUILD", "2"));
    let breaks = backend(2, 1).with_file("server.js", &code, false);
    push(without, &breaks).await;
    drop(listener);
    comes("the version before is live again", async || without.live(APP).await == Some(well)).await;
    world.agrees_on(well).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_scaled_in_all_or_to_one_on_each_node() {
    if !is_installed() {
        return;
    }
    let world = start(2).await;
    push(&world.nodes[0], &backend(1, 1)).await;
    let callers = BackendVisitors::of(&world.nodes.iter().collect::<Vec<_>>());
    assert_eq!(nodes_of(&world.nodes[0]).await.len(), 1);
    scale(&world.nodes[0], 3).await;
    // Once the request is answered, the instances of both nodes are healthy.
    let three = nodes_of(&world.nodes[1]).await;
    assert_eq!((three.len(), three.iter().collect::<BTreeSet<_>>().len()), (3, 2), "{three:?}");
    scale(&world.nodes[1], "all").await;
    comes("one runs on each node", async || nodes_of(&world.nodes[0]).await == ["edge-1", "edge-2"]).await;
    scale(&world.nodes[0], 1).await;
    comes("one runs", async || nodes_of(&world.nodes[0]).await.len() == 1).await;
    let restarted = got(world.nodes[0].api(Method::POST, &format!("{INSTANCES}/restart"))).await;
    assert_eq!(restarted.status, StatusCode::OK, "{}", restarted.text());
    callers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_replaces_the_instances_of_all_nodes_without_a_failure() {
    if !is_installed() {
        return;
    }
    let world = start(3).await;
    push(&world.nodes[0], &backend(0, 2)).await;
    let callers = BackendVisitors::of(&world.nodes.iter().collect::<Vec<_>>());
    for build in 1..=4 {
        let report = push(&world.nodes[build % 3], &backend(build, 2)).await;
        world.agrees_on(report.version).await;
    }
    comes("nothing is left of those before", async || healthy(&world.nodes[0]).await.len() == 2).await;
    callers.stop().await;
}

/// The ending process has handed over the instances and refuses a change; the successor applies the change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_are_changed_without_a_failure_while_a_node_is_taken_over() {
    if !is_installed() {
        return;
    }
    let mut world = start(2).await;
    push(&world.nodes[0], &backend(1, "all")).await;
    let taken_over = world.nodes.remove(1);
    let one = &world.nodes[0];
    let is_over = AtomicBool::new(false);
    let changing = async {
        let mut counts = [2, 4].into_iter().cycle();
        let mut changes = 0;
        while changes < 3 || !is_over.load(Ordering::Relaxed) {
            scale(one, counts.next().unwrap()).await;
            let restarted = got(one.api(Method::POST, &format!("{INSTANCES}/restart"))).await;
            assert_eq!(restarted.status, StatusCode::OK, "{}", restarted.text());
            changes += 1;
        }
    };
    let taking_over = async {
        let taken_over = taken_over.taken_over().await;
        is_over.store(true, Ordering::Relaxed);
        taken_over
    };
    let (_two, ()) = tokio::join!(taking_over, changing);
    scale(one, 3).await;
    comes("both run them", async || nodes_of(one).await.iter().collect::<BTreeSet<_>>().len() == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_count_is_answered_once_slow_instances_of_other_nodes_are_healthy() {
    if !is_installed() {
        return;
    }
    let world = start(2).await;
    // The instances do not listen until then.
    let listens = "server.listen(+process.env.PORT, '127.0.0.1');";
    let code = SERVER.replace("BUILD", "1").replace(listens, &format!("setTimeout(() => {{ {listens} }}, 2_000);"));
    assert!(code.contains("setTimeout(() => {"));
    push(&world.nodes[0], &backend(1, 1).with_file("server.js", &code, false)).await;
    let running = nodes_of(&world.nodes[0]).await;
    let by = world.nodes.iter().find(|node| running.contains(&node.file().node)).unwrap();
    scale(by, "all").await;
    assert_eq!(nodes_of(by).await, ["edge-1", "edge-2"]);
}
