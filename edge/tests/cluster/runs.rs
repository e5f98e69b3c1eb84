//! One-off commands in a cluster: run on the requested node, independent of the instances there.

use std::time::{Duration, Instant};

use bytes::Bytes;
use devanture_config::api::{RunEnd, RunExit, RunRequest};
use devanture_config::problem::{Code, Problem};
use devanture_config::run_stream::{ALIVE_S, ClientFrame, EdgeFrame, Frame as _, MEDIA_TYPE, Reader};
use futures_util::stream;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::instances::{backend, nodes_of};
use super::world::{APP, World, comes, is_installed};
use crate::support::{RunningEdge, got};

/// Longest wait for the permit of an ended command.
const PLACE_MAX: Duration = Duration::from_secs(60);
/// Longest duration of a command, from the request to the end of the response.
const COMMAND_MAX: Duration = Duration::from_secs(280);

/// Running command, ended on drop.
pub(super) struct Command {
    response: reqwest::Response,
    reader: Reader,
    _input: mpsc::Sender<Bytes>,
}

impl Command {
    /// Runs a script by a shell on a node.
    pub(super) async fn begin(node: &RunningEdge, environment: &str, script: &str) -> Result<Self, Problem> {
        Self::begin_at(node, &format!("environments/{environment}/run"), script).await
    }

    /// Runs a script by a shell, by a request to `path` of the app.
    async fn begin_at(node: &RunningEdge, path: &str, script: &str) -> Result<Self, Problem> {
        let command = ["sh", "-c", script].map(str::to_owned).into();
        let request = RunRequest { command, terminal: None, term: None, timeout_ms: None };
        let (input, frames) = mpsc::channel(1);
        input.send(Bytes::from(ClientFrame::Begin(request).bytes().unwrap())).await.unwrap();
        let frames = stream::unfold(frames, async |mut frames: mpsc::Receiver<Bytes>| {
            let frame = match timeout(Duration::from_secs(ALIVE_S), frames.recv()).await {
                Ok(frame) => frame?,
                // A silent client counts as disconnected.
                Err(_elapsed) => Bytes::from(ClientFrame::Alive.bytes().unwrap()),
            };
            Some((Ok::<_, std::io::Error>(frame), frames))
        });
        let request = node.api(Method::POST, &format!("/v1/apps/{APP}/{path}")).timeout(COMMAND_MAX);
        let request = request.header("content-type", MEDIA_TYPE).body(reqwest::Body::wrap_stream(frames));
        let response = request.send().await.unwrap();
        if response.status() != StatusCode::OK {
            return Err(response.json().await.unwrap());
        }
        Ok(Self { response, reader: Reader::default(), _input: input })
    }

    /// Like [`Command::begin`], but retries: the permit of an ended command is free after a short delay.
    async fn begin_at_last(node: &RunningEdge, environment: &str, script: &str) -> Self {
        let until = Instant::now() + PLACE_MAX;
        loop {
            match Self::begin(node, environment, script).await {
                Err(problem) if problem.code == Code::Busy && Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                begun => return begun.unwrap(),
            }
        }
    }

    async fn next(&mut self) -> EdgeFrame {
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                return frame;
            }
            self.reader.push(&self.response.chunk().await.unwrap().unwrap());
        }
    }

    /// Waits for the first output.
    async fn begun(&mut self) -> String {
        loop {
            if let EdgeFrame::Stdout(bytes) = self.next().await {
                return String::from_utf8(bytes).unwrap();
            }
        }
    }

    /// Remaining output and the end of the command.
    pub(super) async fn end(mut self) -> (String, RunEnd) {
        let mut output = Vec::new();
        loop {
            match self.next().await {
                EdgeFrame::Stdout(bytes) => output.extend(bytes),
                EdgeFrame::Ended(end) => return (String::from_utf8(output).unwrap(), *end),
                EdgeFrame::Stderr(_) | EdgeFrame::Taken(_) | EdgeFrame::Alive => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_on_the_node_that_is_asked_and_others_neither_count_nor_keep_it() {
    if !is_installed() {
        return;
    }
    // An app gets one of two free permits.
    let world = World::start_to_stay(3, 1, |_, setup| setup.with_runner().with_limit("runs_max", 2)).await;
    let [one, two, three] = &world.nodes[..] else { panic!() };
    for environment in ["prod", "staging"] {
        let pushed = one.push_backend(one.admin_token(), (APP, environment), &backend(1, 1)).await;
        pushed.unwrap_or_else(|problem| panic!("{problem:#?}"));
    }
    // The list omits a node that does not answer in time.
    comes("the instance is listed", async || nodes_of(one).await.len() == 1).await;
    let running = nodes_of(one).await;
    let without = world.nodes.iter().find(|node| !running.contains(&node.file().node)).unwrap();
    let script = "echo $DEVANTURE_NODE; ls server.js; echo kept > data/kept; exit 7";
    let (output, end) = Command::begin(without, "prod", script).await.unwrap().end().await;
    assert_eq!(output, format!("{}\nserver.js\n", without.file().node));
    assert_eq!(end.exit, RunExit::Code(7));

    let mut commands = Vec::new();
    for node in [one, two] {
        let mut command = Command::begin_at_last(node, "staging", "echo $DEVANTURE_NODE; exec sleep 600").await;
        assert_eq!(command.begun().await, format!("{}\n", node.file().node));
        commands.push(command);
    }
    let refused = Command::begin(one, "staging", "true").await.err().unwrap();
    assert_eq!(refused.code, Code::Busy, "{refused:?}");
    assert!(refused.detail.contains("of this node"), "{}", refused.detail);
    // Deletion through a third node ends the commands on all nodes.
    let deleted = got(three.api(Method::DELETE, &format!("/v1/apps/{APP}/environments/staging"))).await;
    assert!(deleted.status.is_success(), "{}", deleted.text());
    for command in commands {
        let (_, end) = command.end().await;
        let RunExit::Problem(problem) = end.exit else { panic!("{end:?}") };
        assert_eq!(problem.code, Code::RunEnded);
    }

    let by_node = async |action: &str| {
        let audit: Value = got(three.api(Method::GET, "/v1/audit?app=shop")).await.json();
        let entries = audit["entries"].as_array().unwrap().iter().filter(|entry| entry["action"] == action);
        let mut nodes: Vec<String> = entries.map(|entry| entry["node"].as_str().unwrap().to_owned()).collect();
        nodes.sort_unstable();
        nodes
    };
    let mut asked = ["edge-1", "edge-2", without.file().node.as_str()];
    asked.sort_unstable();
    assert_eq!(by_node("run").await, asked);
    comes("the ends are recorded, too", async || by_node("run_ended").await == asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_on_the_node_that_its_request_names_whichever_is_asked() {
    if !is_installed() {
        return;
    }
    let world = World::start_to_stay(2, 1, |_, setup| setup.with_runner()).await;
    let one = &world.nodes[0];
    one.push_backend(one.admin_token(), (APP, "prod"), &backend(1, 1)).await.unwrap();
    for name in ["edge-1", "edge-2"] {
        let path = format!("environments/prod/run?node={name}");
        let (output, end) = Command::begin_at(one, &path, "echo $DEVANTURE_NODE; exit 7").await.unwrap().end().await;
        assert_eq!((output, end.exit), (format!("{name}\n"), RunExit::Code(7)));
    }
    // Output arrives while written, and the command ends with the client.
    let mut command =
        Command::begin_at(one, "environments/prod/run?node=edge-2", "echo on; exec sleep 600").await.unwrap();
    assert_eq!(command.begun().await, "on\n");
    drop(command);
    let ends = async || {
        let audit: Value = got(one.api(Method::GET, "/v1/audit?app=shop")).await.json();
        let entries = audit["entries"].as_array().unwrap().iter();
        entries.filter(|entry| entry["action"] == "run_ended" && entry["node"] == "edge-2").count()
    };
    comes("it is ended with its client", async || ends().await == 2).await;
    let refused = Command::begin_at(one, "environments/prod/run?node=edge-3", "true").await.err().unwrap();
    assert_eq!(refused.code, Code::NotFound, "{refused:?}");
}
