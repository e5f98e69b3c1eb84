//! Time limits of a replaced edge for running requests, and earlier ends.

use futures_util::StreamExt as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::edge::{Edge, edge};
use crate::support::managed::{Project, eventually};
use crate::support::websocket;

const HOST: &str = "game.localhost";
/// Bytes of a file larger than all socket buffers.
const LARGE_BYTES: usize = 24 * 1024 * 1024;

/// Sets the drain time of a running edge for requests, and for all else without a time limit of its own.
pub(super) async fn drain_within(edge: &Edge, milliseconds: u64) {
    let path = edge.folder.path().join("edge.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("drain_timeout_ms = {milliseconds}\n{config}")).unwrap();
    edge.hang_up();
    eventually("the reload", async || edge.log().contains("\"applied\":\"drain_timeout_ms\"").then_some(())).await;
}

/// Waits until `text` is in the log so often.
async fn logged(edge: &Edge, text: &str, times: usize) {
    eventually(text, async || (edge.log().matches(text).count() >= times).then_some(())).await;
}

/// A download with the first bytes received.
struct Download {
    answer: reqwest::Response,
    read: usize,
}

impl Download {
    async fn begin(edge: &Edge, http2: bool) -> Self {
        let mut answer = edge.client(http2).get(edge.url(HOST, "/large.txt")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let read = answer.chunk().await.unwrap().unwrap().len();
        Self { answer, read }
    }

    /// Returns the number of received bytes, and true for a broken download.
    async fn rest(mut self) -> (usize, bool) {
        loop {
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.read += chunk.len(),
                Ok(None) => return (self.read, false),
                Err(_) => return (self.read, true),
            }
        }
    }
}

/// An edge with a site that has a large file.
fn with_large_file() -> Edge {
    let edge = edge().start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "page").unwrap();
    std::fs::write(folder.path().join("large.txt"), "0123456789abcdef".repeat(LARGE_BYTES / 16)).unwrap();
    edge.push("game", folder.path());
    edge
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_and_a_download_end_whole_long_after_the_time_of_everything_else() {
    let mut edge = edge().with_runner().start();
    drain_within(&edge, 400).await;
    let project = Project::new("game", "one", "");
    project.write("www/large.txt", &"0123456789abcdef".repeat(LARGE_BYTES / 16));
    project.push(&edge);

    for http2 in [false, true] {
        let client = || edge.client(http2);
        let slow = tokio::spawn(client().get(edge.url(HOST, "/api/slow?ms=600000")).send());
        let download = Download::begin(&edge, http2).await;
        let mut socket = websocket::open(&edge.client(false), &edge.url(HOST, "/api/ticks")).await;
        assert!(socket.next().await.unwrap().unwrap().is_text());
        let (go_on, goes_on) = tokio::sync::oneshot::channel::<()>();
        let (sent, has_sent) = tokio::sync::oneshot::channel::<()>();
        let body = futures_util::stream::unfold(
            (0, Some(goes_on), Some(sent)),
            |(number, mut goes_on, mut sent)| async move {
                if number == 1 {
                    sent.take()?.send(()).ok();
                    goes_on.take()?.await.ok();
                }
                (number < 2).then(|| (Ok::<_, std::io::Error>("12345"), (number + 1, goes_on, sent)))
            },
        );
        let upload = client().post(edge.url(HOST, "/api/who")).header("content-length", "10");
        let upload = tokio::spawn(upload.body(reqwest::Body::wrap_stream(body)).send());
        has_sent.await.unwrap();
        eventually("three requests at the backend", async || {
            let metrics = edge.api("GET", "/metrics", None).await.1;
            let in_flight = |line: &&str| line.starts_with("devanture_upstream_requests{") && line.ends_with(" 3");
            metrics.as_str().unwrap().lines().find(in_flight).map(|_line| ())
        })
        .await;

        let old = edge.take_over_and_leave_draining();
        let Some(Ok(Message::Close(Some(close)))) = socket.next().await else { panic!("it is not closed in order") };
        assert_eq!(close.code, CloseCode::Away);
        assert!(slow.await.unwrap().is_err(), "the time of requests is over");
        // New requests go to the next edge.
        assert_eq!(edge.client(http2).get(edge.url(HOST, "/")).send().await.unwrap().status(), 200);
        go_on.send(()).unwrap();
        assert_eq!(upload.await.unwrap().unwrap().status(), 200);
        assert_eq!(download.rest().await, (LARGE_BYTES, false));
        drop(socket);
        assert!(old.ended().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_over_two_takeovers() {
    let mut edge = with_large_file();
    for http2 in [false, true] {
        let download = Download::begin(&edge, http2).await;
        let first = edge.take_over_and_leave_draining();
        let second = edge.take_over_and_leave_draining();
        edge.push("other", with_page().path());
        assert_eq!(download.rest().await, (LARGE_BYTES, false));
        assert!(first.ended().success() && second.ended().success());
    }
}

fn with_page() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "page").unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_has_a_draining_edge_end_like_one_that_nobody_takes_over_from() {
    let mut edge = with_large_file();
    drain_within(&edge, 200).await;
    let download = Download::begin(&edge, false).await;
    let mut old = edge.take_over_and_leave_draining();
    logged(&edge, "\"draining\"", 1).await;
    assert!(old.is_running());
    old.terminate();
    assert!(old.ended().success());
    let (read, breaks_off) = download.rest().await;
    assert!(breaks_off && read < LARGE_BYTES, "{read}");
    assert!(edge.log().contains("the drain ends sooner"), "{}", edge.log());
    // The serving edge continues.
    assert_eq!(edge.client(true).get(edge.url(HOST, "/")).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_signal_ends_a_drain_at_once() {
    for is_taken_over in [false, true] {
        let mut edge = with_large_file();
        // Longer than this test may take, and less than the time limit of a download in a takeover.
        drain_within(&edge, 3_000_000).await;
        let download = Download::begin(&edge, false).await;
        let ended = if is_taken_over {
            let old = edge.take_over_and_leave_draining();
            logged(&edge, "\"draining\"", 1).await;
            old.terminate();
            logged(&edge, "the drain ends sooner", 1).await;
            old.terminate();
            old.ended()
        } else {
            edge.begin_to_terminate();
            logged(&edge, "\"draining\"", 1).await;
            edge.terminate()
        };
        assert!(ended.success());
        assert!(edge.log().contains("the drain ends at once"), "{}", edge.log());
        assert!(download.rest().await.1, "it breaks off");
    }
}

/// As with a stopped service: the manager kills the remaining processes once the main process ends.
#[tokio::test(flavor = "multi_thread")]
async fn the_edge_that_serves_ends_after_those_that_drain_and_has_them_end_sooner() {
    let mut edge = with_large_file();
    drain_within(&edge, 200).await;
    let download = Download::begin(&edge, false).await;
    let mut first = edge.take_over_and_leave_draining();
    let mut second = edge.take_over_and_leave_draining();
    logged(&edge, "\"draining\"", 2).await;
    assert!(first.is_running() && second.is_running());
    assert!(edge.terminate().success());
    assert!(first.ended().success() && second.ended().success());
    assert!(download.rest().await.1, "it breaks off");
}
